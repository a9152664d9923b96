"""Activation patching: all blocks, position groups and kinds of nodes in few partial runs.

A *cell* is (kind, block, group of positions): in the *target* run, the node is replaced there by
`Values`, everything after it is computed anew, and metrics are read at the positions that predict
the answer. The result equals one whole forward pass per cell: cells start after their block and
reuse the clean run's keys and values, those of all blocks share one batch, and a cell that cannot
have an effect is not run and has the clean run's metrics, to the bit.

Metrics at each answer position: ``gold_logp`` (nats), ``logit_difference`` (gold minus foil),
``kl`` (clean, or another reference, to patched, nats) and ``correct`` (1 when gold is the first
choice). A *direct* effect changes the node for the final norm only, with all later nodes frozen at
the clean run (path patching of the path node -> logits).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from paradox.errors import problems
from paradox.mechanisms.model.access import ATTN_OUT, MLP_OUT
from paradox.mechanisms.model.architecture import AccessError
from paradox.mechanisms.model.traces import PATCHED, Trace, Values

METRICS = ("gold_logp", "logit_difference", "kl", "correct")
# Most floats in one intermediate tensor; a few such tensors are alive at a time.
CHUNK = 2**22


@dataclass(frozen=True)
class Answers:
    """What is scored."""

    # (A,) positions whose logits predict the answer's tokens, rising, the same for all items (pad
    # on the left so that answers end together).
    positions: Tensor
    # `gold`, `foil`: (B, A) tokens: the right answer, and the one to compare its logit with.
    gold: Tensor
    foil: Tensor
    # (B, A, V) logits that ``kl`` starts at, or None for those of the clean target run.
    reference: Tensor | None = None


@dataclass(frozen=True)
class Effects:
    """Metrics by name; an effect is ``patched - clean``."""

    clean: dict[str, Tensor]  # (B, A) of the clean target run
    patched: dict[str, Tensor]  # (kind, block, group, B, A), kinds in the order of `PATCHED`


def each_position(length: int) -> Tensor:
    """Return one group for each position: (length, length)."""
    return torch.eye(length, dtype=torch.bool)


def all_positions(length: int) -> Tensor:
    """Return the group of all positions: (1, length)."""
    return torch.ones(1, length, dtype=torch.bool)


def score(logits: Tensor, answers: Answers, clean: Tensor) -> dict[str, Tensor]:
    """Return the metrics (B, A) of `logits` (B, A, V); `clean` are those that ``kl`` starts at."""
    return _score(logits, answers.gold, answers.foil, clean.float().log_softmax(-1))


@torch.no_grad()
def total_effects(
    target: Trace, values: Values, answers: Answers, groups: Tensor, chunk: int = CHUNK
) -> Effects:
    """Return the metrics of every cell (kind, block, group), later nodes computed anew.

    `groups`: boolean (G, T), or (G, B, T) when items differ, see `each_position`, `all_positions`.
    `chunk`: bound on the floats of one intermediate tensor.
    """
    groups = _checked(target, values, answers, groups)
    effects = _unpatched(target, answers, groups)
    stop = int(answers.positions[-1]) + 1
    inside = groups & target.real & (torch.arange(groups.shape[-1], device=groups.device) < stop)
    changed = torch.stack([_changed(target, values, kind) for kind in PATCHED], 1)
    # In the last block only answer positions are read.
    read = torch.zeros_like(changed[0, 0, 0])
    read[answers.positions] = True
    changed[-1] &= read
    after = {kind: _after(target, values, kind) for kind in PATCHED}
    reference = _reference(target, answers).float().log_softmax(-1)
    width = target.access.blocks[0].mlp.down_proj.weight.shape[1]
    wide = stop * max(width, target.residual[0].shape[-1])
    rows = max(1, chunk // max(wide, len(answers.positions) * reference.shape[-1]))
    for number, group in enumerate(inside):
        cells = (changed & group).any(-1).nonzero()  # (block, kind, item), by block
        if not len(cells):
            continue
        start = int(group.any(0).nonzero()[0])
        scored = answers.positions >= start
        for part in cells.split(rows):
            logits = _run(target, after, part, group, start, answers.positions[scored])
            items = part[:, 2]
            gold, foil = answers.gold[items][:, scored], answers.foil[items][:, scored]
            metrics = _score(logits, gold, foil, reference[items][:, scored])
            for name, value in metrics.items():
                place = effects.patched[name][part[:, 1], part[:, 0], number, items]
                place[:, scored] = value
                effects.patched[name][part[:, 1], part[:, 0], number, items] = place
    return effects


@torch.no_grad()
def direct_effects(target: Trace, values: Values, answers: Answers, groups: Tensor) -> Effects:
    """Return the metrics of every cell when only the final norm sees the change.

    A node then acts on the logits of its own position alone. Parameters as in `total_effects`.
    """
    groups = _checked(target, values, answers, groups)
    effects = _unpatched(target, answers, groups)
    places = answers.positions
    final, reference = target.residual[-1][:, places], _reference(target, answers)
    # (G, B, A): whether the group holds the answer position itself.
    holds_answer = (groups & target.real)[:, :, places]
    for kind, name in enumerate(PATCHED):
        for block, (new, old) in enumerate(zip(values.of(name), _clean(target, name), strict=True)):
            change = new[:, places] - old[:, places]
            metrics = score(target.access.logits(final + change), answers, reference)
            for metric, value in metrics.items():
                cell = effects.patched[metric][kind, block]
                effects.patched[metric][kind, block] = torch.where(holds_answer, value, cell)
    return effects


# --- parts --------------------------------------------------------------------------------


def _run(
    target: Trace,
    after: dict[str, list[Tensor]],
    cells: Tensor,
    group: Tensor,
    start: int,
    positions: Tensor,
) -> Tensor:
    """Return the logits (cell, position) of some cells (block, kind, item), ordered by block."""
    stop, last = int(positions[-1]) + 1, len(target.access.blocks) - 1
    items, wanted = cells[:, 2], positions - start
    written, columns = group[:, start:stop, None], slice(start, stop)
    residual = target.residual[0].new_empty(len(cells), stop - start, target.residual[0].shape[-1])
    joins, counts = torch.unique_consecutive(cells[:, :2], dim=0, return_counts=True)
    begin = 0
    for (block, kind), count in zip(joins.tolist(), counts.tolist(), strict=True):
        part = slice(begin, begin + count)
        chosen = items[part]
        residual[part] = torch.where(
            written[chosen],
            after[PATCHED[kind]][block][chosen, columns],
            target.residual[block + 1][chosen, columns],
        )
        begin += count
    final = residual[:, wanted]
    blocks = cells[:, 0].tolist()
    for block in range(blocks[0] + 1, last + 1):
        rows = sum(entered < block for entered in blocks)
        if block < last:
            residual[:rows] = target.resume(block, residual[:rows], items[:rows], start)
        else:
            final[:rows] = target.resume(block, residual[:rows], items[:rows], start, wanted)
    return target.access.logits(final)


def _after(target: Trace, values: Values, kind: str) -> list[Tensor]:
    """Return the residual after each block when the node is replaced at every position."""
    written = values.of(kind)
    if kind == ATTN_OUT:
        middles = [old + new for old, new in zip(target.residual, written, strict=False)]
        both = zip(middles, target.access.blocks, strict=True)
        return [middle + block.feed_forward(middle) for middle, block in both]
    if kind == MLP_OUT:
        return [target.middle(block) + new for block, new in enumerate(written)]
    return written


def _clean(target: Trace, kind: str) -> list[Tensor]:
    """Return what stands in the clean run where values of this kind are written."""
    if kind == ATTN_OUT:
        return target.attention
    return target.mlp if kind == MLP_OUT else target.residual[1:]


def _changed(target: Trace, values: Values, kind: str) -> Tensor:
    pairs = zip(values.of(kind), _clean(target, kind), strict=True)
    return torch.stack([(new != old).any(-1) for new, old in pairs])


def _answer_logits(target: Trace, answers: Answers) -> Tensor:
    return target.access.logits(target.residual[-1][:, answers.positions])


def _reference(target: Trace, answers: Answers) -> Tensor:
    return _answer_logits(target, answers) if answers.reference is None else answers.reference


def _score(logits: Tensor, gold: Tensor, foil: Tensor, clean: Tensor) -> dict[str, Tensor]:
    """Return the metrics; `clean` are log-probabilities."""
    logits = logits.float()
    logp = logits.log_softmax(-1)
    pair = logits.gather(-1, torch.stack([gold, foil], -1))
    return {
        "gold_logp": logp.gather(-1, gold[..., None]).squeeze(-1),
        "logit_difference": pair[..., 0] - pair[..., 1],
        # Rounding can take a divergence that is zero just below it.
        "kl": (clean.exp() * (clean - logp)).sum(-1).clamp(min=0),
        "correct": (logits.argmax(-1) == gold).float(),
    }


def _unpatched(target: Trace, answers: Answers, groups: Tensor) -> Effects:
    clean = score(_answer_logits(target, answers), answers, _reference(target, answers))
    cells = len(PATCHED), len(target.access.blocks), len(groups)
    patched = {name: value.expand(*cells, *value.shape).clone() for name, value in clean.items()}
    return Effects(clean, patched)


def _checked(target: Trace, values: Values, answers: Answers, groups: Tensor) -> Tensor:
    """Return groups as (G, B, T) on the run's device; all shapes must fit."""
    residual, positions = target.residual[0], answers.positions
    items, length, _ = residual.shape
    faults = []
    for kind in PATCHED:
        shapes = {tuple(value.shape) for value in values.of(kind)}
        if shapes != {tuple(residual.shape)} or len(values.of(kind)) != len(target.access.blocks):
            faults.append(
                f"values of {kind}: {len(values.of(kind))} blocks of {sorted(shapes)}, the run "
                f"has {len(target.access.blocks)} of {tuple(residual.shape)}"
            )
    if groups.shape not in ((len(groups), length), (len(groups), items, length)):
        faults.append(
            f"groups: shape {tuple(groups.shape)}, allowed (G, {length}) or (G, {items}, {length})"
        )
    if positions.ndim != 1 or not len(positions) or bool((positions.diff() <= 0).any()):
        faults.append("answers: positions must be a list that rises")
    elif int(positions[0]) < 0 or int(positions[-1]) >= length:
        faults.append(f"answers: positions {positions.tolist()}, allowed 0 to {length - 1}")
    for name, tokens in (("gold", answers.gold), ("foil", answers.foil)):
        if tokens.shape != (items, len(positions)):
            faults.append(
                f"answers: {name} has shape {tuple(tokens.shape)}, allowed "
                f"{(items, len(positions))}"
            )
    if answers.reference is not None and answers.reference.shape[:2] != answers.gold.shape:
        faults.append(
            f"answers: reference has shape {tuple(answers.reference.shape)}, allowed "
            f"{(*answers.gold.shape, 'vocabulary')}"
        )
    if faults:
        raise AccessError(problems("Patching: these do not fit the run.", faults))
    groups = groups.to(residual.device)
    return groups if groups.ndim == 3 else groups[:, None].expand(-1, items, -1)
