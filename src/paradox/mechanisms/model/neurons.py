"""Single MLP neurons: how much each works for recall, sets of them, and scaling them.

A neuron is an input coordinate of a block's ``down_proj``; scaling it by alpha multiplies its
activation. Its signed *attribution* is activation x gradient of the gold answer's log odds, log p -
log(1 - p), summed over the scaled positions: the derivative of these log odds by alpha at 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paradox.errors import DataError
from paradox.mechanisms.model.access import KEY, Access, Node
from paradox.mechanisms.model.norms import wide
from paradox.mechanisms.model.recalls import Batch, Recall, batches
from paradox.mechanisms.model.rerun import counted, first_changed
from paradox.mechanisms.model.traces import Trace, trace
from paradox.mechanisms.tables.pairs import Array
from paradox.seeds import Key, keyed_rng

# Most floats of one intermediate tensor; a few are alive at a time.
CHUNK = 2**20
MEASURES = ("logp", "odds", "correct")


@dataclass(frozen=True)
class Profile:
    """What the neurons do on some prompts."""

    attribution: Array  # shape (items, layers, neurons), summed over the scaled positions, nats
    activity: Array  # mean |activation| at these positions, shape (layers, neurons)
    norms: Array  # length of what one unit of activation writes, shape (layers, neurons)


def scores(logits: Tensor, batch: Batch) -> Tensor:
    """Return `MEASURES` of the gold answer on the first axis: means over its tokens, and all right.

    ``odds`` are log odds, which do not saturate; ``correct``: whether greedy decoding would give
    it.
    `logits`: where the answer is predicted: (..., rows, answer tokens, vocabulary).
    """
    logits = wide(logits)
    gold = batch.gold.expand(logits.shape[:-1])[..., None]
    gold_logits = logits.gather(-1, gold)[..., 0]
    # The others by themselves: 1 - p would cancel.
    others = logits.scatter(-1, gold, -torch.inf).logsumexp(-1)
    count = batch.real.sum(-1)
    parts = (gold_logits - torch.logaddexp(gold_logits, others), gold_logits - others)
    means = [torch.where(batch.real, part, 0).double().sum(-1) / count for part in parts]
    first = (logits.argmax(-1) == gold[..., 0]) | ~batch.real
    return torch.stack([*means, first.all(-1).double()])


def scaled(batch: Batch, where: str) -> Tensor:
    """Return the mask of scaled positions, shape (rows, tokens)."""
    columns = torch.arange(batch.ids.shape[1], device=batch.ids.device)
    return counted(batch) & (columns >= first_changed(batch, where))


# --- reading ------------------------------------------------------------------------------


def profile(access: Access, prompts: Sequence[Recall], size: int, where: str) -> Profile:
    """Return attribution and activity of every neuron for the answers, `size` prompts at a time."""
    nodes = access.nodes(KEY)
    width = access.blocks[0].mlp.down_proj.weight.shape[1]
    attribution = np.zeros((len(prompts), len(nodes), width))
    total, tokens = np.zeros((len(nodes), width)), 0.0
    for batch in batches(prompts, size, access.model.device):
        predicted = batch.ids.shape[1] - batch.at
        with torch.enable_grad(), access.capture(nodes) as captured:
            logits = access.model(**batch.inputs, use_cache=False, logits_to_keep=predicted).logits
            values = [captured[node] for node in nodes]
            odds = scores(logits, batch)[MEASURES.index("odds")].sum()
            gradients = torch.autograd.grad(odds, values)
        mask = scaled(batch, where)[..., None]
        for layer, (value, gradient) in enumerate(zip(values, gradients, strict=True)):
            held = torch.where(mask, value.detach().float(), 0)
            product = (held * gradient.float()).sum(1)
            attribution[batch.rows, layer] = product.double().cpu().numpy()
            total[layer] += held.abs().sum((0, 1)).double().cpu().numpy()
        tokens += float(mask.sum())
    norms = [block.mlp.down_proj.weight.detach().float().norm(dim=0) for block in access.blocks]
    return Profile(attribution, total / tokens, torch.stack(norms).double().cpu().numpy())


# --- sets ---------------------------------------------------------------------------------


def strongest(gap: Array, count: int) -> NDArray[np.int64]:
    """Return the `count` neurons of each layer with the largest attribution, shape (layers, count).

    `gap`: attribution, exposed minus twins, shape (layers, neurons).
    """
    if not 0 < count <= gap.shape[1] // 2:
        raise DataError(
            f"neurons: {count} found, allowed 1 to {gap.shape[1] // 2} (half of a layer's "
            f"{gap.shape[1]}: the others are what random sets are drawn from)."
        )
    return np.argsort(-gap, axis=1, kind="stable")[:, :count]


def matched(
    chosen: Sequence[NDArray[np.int64]], activity: Profile, draws: int, nearest: int, *key: Key
) -> list[NDArray[np.int64]]:
    """Return random sets of other neurons that resemble the chosen ones, per layer (draws, count).

    Each chosen neuron is replaced by one of the `nearest` others of its layer that no earlier
    replacement of the set took, by the logarithms of mean |activation| and of the length of what it
    writes, both in standard deviations of the layer. `chosen`: of each layer, at most half.
    """
    layers = []
    for layer, neurons in enumerate(chosen):
        traits = np.log(np.stack([activity.activity[layer], activity.norms[layer]]).clip(min=1e-12))
        traits = traits / np.maximum(traits.std(axis=1, keepdims=True), 1e-12)
        apart = ((traits[:, neurons, None] - traits[:, None, :]) ** 2).sum(axis=0)
        apart[:, neurons] = np.inf
        others = apart.shape[1] - len(neurons)
        order = np.argsort(apart, axis=1, kind="stable")[:, :others].tolist()
        rng = keyed_rng("matched neurons", *key, layer)
        sets = np.zeros((draws, len(neurons)), dtype=np.int64)
        for draw in range(draws):
            taken: set[int] = set()
            for place in rng.permutation(len(neurons)):
                pool = list(islice((n for n in order[place] if n not in taken), nearest))
                sets[draw, place] = pool[int(rng.integers(len(pool)))]
                taken.add(int(sets[draw, place]))
        layers.append(sets)
    return layers


# --- scaling ------------------------------------------------------------------------------


@contextmanager
def scaling(
    access: Access, factors: Mapping[int, Tensor], where: Tensor | None = None
) -> Iterator[None]:
    """Scale neurons in every forward pass inside the context.

    `factors`: block -> alpha of its neurons: (neurons,), or (rows, 1, neurons) when rows differ.
    `where`: mask (rows, tokens) of what is scaled; None means all.
    """
    with access.patch(
        {Node(KEY, block): (lambda key, by=by: key * by) for block, by in factors.items()}, where
    ):
        yield


@torch.no_grad()
def sweep(
    access: Access,
    prompts: Sequence[Recall],
    sets: NDArray[np.int64],
    doses: Sequence[float],
    size: int,
    where: str,
    chunk: int = CHUNK,
) -> Array:
    """Return `MEASURES` under every set and alpha: (measures, layers, sets, doses, items).

    `sets`: neurons, shape (layers, sets, count). Sets and alphas are rows of one batch that starts
    at the scaled block and token; alpha 1 is not run: its values are the clean run's, to the bit.
    """
    values = np.zeros((len(MEASURES), *sets.shape[:2], len(doses), len(prompts)))
    for batch in batches(prompts, size, access.model.device):
        values[..., batch.rows] = _swept(access, batch, sets, doses, where, chunk).cpu().numpy()
    return values


def _swept(
    access: Access,
    batch: Batch,
    sets: NDArray[np.int64],
    doses: Sequence[float],
    where: str,
    chunk: int,
) -> Tensor:
    blocks, device = access.blocks, batch.ids.device
    with access.capture(access.nodes(KEY)) as keys:
        clean = trace(access, batch.ids, batch.mask)
    start = max(first_changed(batch, where), int(counted(batch).any(0).nonzero()[0]))
    start = min(start, batch.at)
    mask = scaled(batch, where)[:, start:, None]
    wanted = torch.arange(batch.at - start, batch.ids.shape[1] - start, device=device)
    usual = scores(access.logits(clean.residual[-1][:, batch.at :]), batch)
    measured = usual[:, None, None, None].repeat(1, *sets.shape[:2], len(doses), 1)
    moved = [place for place, dose in enumerate(doses) if dose != 1]
    rows, tokens, width = len(batch.rows), mask.shape[1], blocks[0].mlp.down_proj.weight.shape[1]
    together = max(1, chunk // (rows * tokens * width))
    for block, parts in enumerate(blocks):
        down, key = parts.mlp.down_proj, keys[Node(KEY, block)][:, start:]
        members = torch.as_tensor(sets[block], device=device)
        middle = clean.middle(block)[:, start:]
        plain, held = down(key), torch.where(mask, key, 0)
        cells = [(one, place) for one in range(len(members)) for place in moved]
        for first in range(0, len(cells), together):
            part = cells[first : first + together]
            one, place = (list(side) for side in zip(*part, strict=True))
            added = {
                n: held[..., members[n]] @ down.weight[:, members[n]].T for n in dict.fromkeys(one)
            }
            writes = torch.stack([added[n] for n in one])
            by = torch.tensor([doses[n] - 1 for n in place], device=device).to(writes)
            residual = middle + parts.mlp_out(plain + by[:, None, None, None] * writes)
            logits = _onward(clean, block, residual.flatten(0, 1), start, wanted)
            measured[:, block, one, place] = scores(logits.unflatten(0, (len(part), rows)), batch)
    return measured


def _onward(clean: Trace, block: int, residual: Tensor, start: int, wanted: Tensor) -> Tensor:
    """Return the logits at `wanted` of changed runs, given the residuals after a block."""
    access = clean.access
    last = len(access.blocks) - 1
    items = torch.arange(len(clean.real), device=residual.device)
    items = items.repeat(len(residual) // len(items))
    if block == last:
        residual = residual[:, wanted]
    for number in range(block + 1, last + 1):
        read = wanted if number == last else None
        residual = clean.resume(number, residual, items, start, read)
    return access.logits(residual)
