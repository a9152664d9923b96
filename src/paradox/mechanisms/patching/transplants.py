"""What patching one run into another does to recall, cell by cell, beside its nulls.

A `Swap` is one item's pair of runs: the *target* run is patched and scored, the *source* run is
where states come from. A component is written ``kind:positions:direction:effect:source``.

=========== =====================================================================================
kind        ``attn_out``, ``mlp_out``, ``resid_post`` (see `paradox.mechanisms.model.access`)
positions   ``prompt`` (before the scaffold), ``final`` (scaffold and the position that predicts
            the first answer token), ``answer`` (all positions that predict the answer; left out
            where it is ``final`` for every item) and ``all``
direction   ``denoise`` (knowing source into unknowing target), ``noise`` (the reverse)
effect      ``total`` (later nodes computed anew) or ``direct`` (only the final norm sees it)
source      ``states`` of the source run; ``weights``: what the source model's attention or MLP
            makes of the target's own states; nulls: ``states_noise`` and ``weights_noise`` move
            every token as far in a random direction, ``other`` writes the states of another item
            of the same group, ``shift`` adds that item's difference between source and target
=========== =====================================================================================

Measures, given the scaffold: those of `paradox.mechanisms.patching.engine`, means over the answer's
tokens (``logit_difference``: the first; ``correct``: all; ``kl``: from the unpatched source run's
distribution); and ``mode_logp``, mean over the scaffold's tokens after the prompt.

Items are aligned by the distance from the answer; a donor for ``other`` and ``shift`` has a prompt
of the same length if there is one, and positions that it does not have are left as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from paradox.errors import DataError
from paradox.mechanisms.model.access import Access
from paradox.mechanisms.model.recalls import Recall, batches
from paradox.mechanisms.model.traces import PATCHED, Trace, Values, states, trace, weights
from paradox.mechanisms.patching.engine import (
    METRICS,
    Answers,
    all_positions,
    direct_effects,
    score,
    total_effects,
)
from paradox.mechanisms.tables.pairs import item_rows
from paradox.mechanisms.tables.words import (
    ALL,
    ANSWER,
    FINAL,
    OTHER,
    PROMPT,
    SHIFT,
    STATES,
    STATES_NOISE,
    WEIGHTS,
    WEIGHTS_NOISE,
)
from paradox.progress import Progress
from paradox.seeds import keyed_rng

MEASURES = (*METRICS, "mode_logp")
DENOISE, NOISE = "denoise", "noise"
TOTAL, DIRECT = "total", "direct"
Array = np.ndarray
Cell = tuple[str, str, str, str]


@dataclass(frozen=True)
class Swap:
    """The two runs of one item."""

    # `target`, `source`: prompts of the target and the source run, both with the answer that is
    # scored.
    target: Recall
    source: Recall
    group: str  # the item's group, in which its donor is looked for
    # How many tokens, the last of the prompt, belong to the scaffold (in both prompts).
    scaffold: int

    @property
    def aligned(self) -> bool:
        """Whether every position of one prompt has its like in the other."""
        return len(self.target.prompt) == len(self.source.prompt)


@dataclass(frozen=True)
class Measured:
    """Values (in the order of `MEASURES`) of patched and unpatched runs."""

    # (kind, positions, effect, source) -> (measures, blocks, items); not a number where the two
    # prompts of an item do not fit.
    cells: dict[Cell, Array]
    # `target`, `source`: unpatched, (measures, items).
    target: Array
    source: Array


def donors(swaps: Sequence[Swap], seed: int) -> list[int]:
    """Return another swap of the same group for each, keyed by item.

    Raises `DataError` when an item is alone in its group.
    """
    chosen = []
    for number, swap in enumerate(swaps):
        pool = [n for n, s in enumerate(swaps) if s.group == swap.group and n != number]
        if not pool:
            raise DataError(f"item {swap.target.item!r} is the only one of group {swap.group!r}.")
        pool.sort(key=lambda n: swaps[n].target.item)
        drawn = keyed_rng(seed, "donor", swap.target.item).permutation(pool)
        length = len(swap.target.prompt)
        chosen.append(int(min(drawn, key=lambda n: abs(len(swaps[n].target.prompt) - length))))
    return chosen


@torch.no_grad()
def measure(
    target: Access,
    source: Access,
    swaps: Sequence[Swap],
    settings: Mapping[str, Any],
    seed: int,
    progress: Progress | None = None,
) -> Measured:
    """Patch every swap: target model and source model may be the same one.

    `settings`: ``kinds``, ``positions``, ``sources`` (see the module's table) and ``batch_size``.
    `seed`: keys donors and random directions.
    """
    alone = all(swap.scaffold == 1 == len(swap.target.gold) for swap in swaps)
    positions = [p for p in settings["positions"] if not (p == ANSWER and alone)]
    sources, batch_size = settings["sources"], settings["batch_size"]
    blocks, items = len(target.blocks), len(swaps)
    cells: dict[Cell, Array] = {}
    unpatched = np.zeros((2, len(MEASURES), items), dtype=np.float32)
    other = donors(swaps, seed)
    order = sorted(range(items), key=lambda n: len(swaps[n].target.prompt))
    for start in range(0, items, batch_size):
        rows = order[start : start + batch_size]
        runs = _Runs(target, source, [swaps[n] for n in rows], [swaps[other[n]] for n in rows])
        for number, run in enumerate((runs.target, runs.source)):
            unpatched[number, :, rows] = runs.reduced(runs.unpatched(run)).T
        for name, values in runs.values(sources, seed):
            chosen = runs.only(values, settings["kinds"])
            for effect, places, reduced in runs.effects(chosen, positions):
                for kind, place in product(settings["kinds"], range(len(places))):
                    cell = (kind, places[place], effect, name)
                    if cell not in cells:
                        shape = len(MEASURES), blocks, items
                        cells[cell] = np.full(shape, np.nan, dtype=np.float32)
                    cells[cell][:, :, rows] = reduced[:, PATCHED.index(kind), :, place]
        if progress:
            progress("items", start + len(rows), items)
    apart = [n for n, swap in enumerate(swaps) if not swap.aligned]
    for (_, place, effect, _), values in cells.items():
        if place in (PROMPT, ALL) and effect == TOTAL:
            values[:, :, apart] = np.nan
    return Measured(cells, *unpatched)


class _Runs:
    """The runs of one batch and what is scored in them."""

    def __init__(
        self, target: Access, source: Access, swaps: list[Swap], others: list[Swap]
    ) -> None:
        self._source_model = source
        self._swaps = swaps
        # The answer follows donors' prompts, too, so that positions after `at` have their like.
        with_gold = [(o, s.target.gold) for o, s in zip(others, swaps, strict=True)]
        texts = [
            [swap.target for swap in swaps],
            [swap.source for swap in swaps],
            [replace(o.target, gold=gold) for o, gold in with_gold],
            [replace(o.source, gold=gold) for o, gold in with_gold],
        ]
        every = [recall for prompts in texts for recall in prompts]
        (batch,) = batches(every, len(every), target.model.device)
        parts = torch.tensor(batch.rows).argsort().view(len(texts), -1)
        models = (target, source, target, source)
        self.target, self.source, self._other_target, self._other_source = (
            trace(model, batch.ids[part], batch.mask[part])
            for model, part in zip(models, parts, strict=True)
        )
        self._at, first, device = batch.at, parts[0], batch.ids.device
        self._scaffold = torch.tensor([swap.scaffold for swap in swaps], device=device)[:, None]
        # What is scored: the scaffold, then the answer; shorter scaffolds are padded on the left.
        self._split = int(self._scaffold.max())
        scaffold = batch.ids[first, self._at + 1 - self._split : self._at + 1]
        gold = torch.cat([scaffold, batch.gold[first]], 1)
        places = torch.arange(gold.shape[1], device=device) + self._at - self._split
        written = torch.arange(self._split, device=device) >= self._split - self._scaffold
        self._real = torch.cat([written, batch.real[first]], 1)
        foil = batch.control[first][:, None].expand_as(gold)
        reference = source.logits(self.source.residual[-1][:, places])
        self._answers = Answers(places, gold, foil, reference)

    def unpatched(self, run: Trace) -> dict[str, Tensor]:
        """Return the metrics (items, scored tokens) of a run as it is."""
        logits = run.access.logits(run.residual[-1][:, self._answers.positions])
        assert self._answers.reference is not None
        return score(logits, self._answers, self._answers.reference)

    def values(self, sources: Sequence[str], seed: int) -> Iterator[tuple[str, Values]]:
        """Yield what each source writes."""
        target = states(self.target)
        real = self.source.real & self.target.real
        makers: dict[str, Callable[[], Values]] = {
            STATES: lambda: _kept(states(self.source), target, real),
            WEIGHTS: lambda: weights(self._source_model, self.target),
        }
        written = {name: make() for name, make in makers.items() if name in sources}
        yield from written.items()
        directions = self._directions(seed)
        for name, null in ((STATES, STATES_NOISE), (WEIGHTS, WEIGHTS_NOISE)):
            if null in sources:
                yield null, _moved(target, written[name], directions)
        others = states(self._other_source)
        if OTHER in sources:
            yield OTHER, _kept(others, target, self._other_source.real)
        if SHIFT in sources:
            change = _each(lambda o, s, t: o + (s - t), target, others, states(self._other_target))
            yield SHIFT, _kept(change, target, self._other_source.real & self._other_target.real)

    def only(self, values: Values, kinds: Sequence[str]) -> Values:
        """Return the values of some kinds; what is written of others is what is there already."""
        target = states(self.target)
        return Values(*((values if kind in kinds else target).of(kind) for kind in PATCHED))

    def effects(
        self, values: Values, positions: Sequence[str]
    ) -> Iterator[tuple[str, Sequence[str], Array]]:
        """Yield effect, positions and values (measures, kinds, blocks, positions, items)."""
        groups = torch.stack([self._group(place) for place in positions])
        whole = all_positions(groups.shape[-1])
        total = total_effects(self.target, values, self._answers, groups)
        yield TOTAL, positions, self.reduced(total.patched)
        direct = direct_effects(self.target, values, self._answers, whole)
        yield DIRECT, (ALL,), self.reduced(direct.patched)

    def reduced(self, metrics: Mapping[str, Tensor]) -> Array:
        """Return `MEASURES`, shape (measures, ..., items), from what was found at each token."""
        scaffold, answer = slice(self._split), slice(self._split, None)

        def average(name: str, part: slice) -> Tensor:
            real = self._real[:, part]
            return torch.where(real, metrics[name][..., part], 0).sum(-1) / real.sum(-1)

        values = {
            "gold_logp": average("gold_logp", answer),
            "logit_difference": metrics["logit_difference"][..., self._split],
            "kl": average("kl", answer),
            "correct": torch.where(self._real, metrics["correct"], 1)[..., answer].amin(-1),
            "mode_logp": average("gold_logp", scaffold),
        }
        return torch.stack([values[name] for name in MEASURES]).cpu().numpy()

    def _group(self, positions: str) -> Tensor:
        """Return where positions of one name are, (items, tokens)."""
        real = self.target.real
        column = torch.arange(real.shape[1], device=real.device)
        first = self._at + 1 - self._scaffold
        return (
            real
            & {
                PROMPT: column < first,
                FINAL: (column >= first) & (column <= self._at),
                ANSWER: (column >= self._at).expand_as(real),
                ALL: real,
            }[positions]
        )

    def _directions(self, seed: int) -> list[Tensor]:
        """Return random unit vectors (items, tokens, width) per block, keyed by item."""
        shape = self.target.residual[0].shape
        blocks = len(self.target.attention)
        drawn = torch.zeros(blocks, *shape)
        real = self.target.real.cpu()
        for row, swap in enumerate(self._swaps):
            rng = keyed_rng(seed, "patch direction", swap.target.item)
            size = blocks, int(real[row].sum()), shape[-1]
            drawn[:, row, real[row]] = torch.from_numpy(rng.standard_normal(size, np.float32))
        lengths = drawn.norm(dim=-1, keepdim=True).clamp(min=1e-30)
        return list((drawn / lengths).to(self.target.residual[0]))


def _each(make: Callable[..., Tensor], *values: Values) -> Values:
    """Apply a function to every kind and block."""
    return Values(
        *(
            [make(*parts) for parts in zip(*(v.of(kind) for v in values), strict=True)]
            for kind in PATCHED
        )
    )


def _kept(new: Values, target: Values, real: Tensor) -> Values:
    """Return `new` where `real`, and the target's own states elsewhere."""
    return _each(lambda one, two: torch.where(real[..., None], one, two), new, target)


def _moved(target: Values, new: Values, directions: list[Tensor]) -> Values:
    """Return the target's own states moved as far as `new` is away, in random directions."""

    def moved(old: Tensor, one: Tensor, direction: Tensor) -> Tensor:
        return old + (one - old).norm(dim=-1, keepdim=True) * direction

    return _each(moved, target, new, Values(directions, directions, directions))


def rows(items: pd.DataFrame, measured: Measured, direction: str) -> pd.DataFrame:
    """Return a row per item, component (that the item has) and layer.

    Columns of each measure: ``_change`` (patched minus unpatched target run), and the unpatched
    runs ``_target`` and ``_source``.
    """
    tables = []
    for (kind, positions, effect, source), values in measured.cells.items():
        columns: dict[str, Any] = {}
        for number, name in enumerate(MEASURES):
            target, wanted = (
                np.broadcast_to(run[number], values[number].shape)
                for run in (measured.target, measured.source)
            )
            columns[f"{name}_change"] = values[number] - target
            columns |= {f"{name}_target": target, f"{name}_source": wanted}
        component = ":".join((kind, positions, direction, effect, source))
        table = item_rows(items, component, range(values.shape[1]), columns)
        tables.append(table.dropna(subset=[f"{MEASURES[0]}_change"]))
    return pd.concat(tables, ignore_index=True)
