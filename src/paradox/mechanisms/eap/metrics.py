"""Measures of edge scores W, item by item, over E real edges; |W| is a score's size.

Measures of all items together are a value per item whose mean is exactly the pooled measure and
whose spread is that of its influence function, so that one bootstrap over items serves all: minus
the mean log-share of the pooled histogram over an item's own scores (entropy), and twice one minus
the item's mean correlation with the others, minus the diversity. ``_published`` is the paper's as
far as it can be recovered, with about as many structural zeros as edges; the others were fixed
before. Histograms have 256 equal bins (or as many as a name ends in) from 0 to the largest |W| of
both models, the published one to the model's own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from paradox.mechanisms.eap.graph import Graph

Array = NDArray[np.float64]
BINS, OTHER_BINS = 256, (64, 1024)
EPSILON = 1e-12
# Those that depend on the other items.
POOLED = ("complexity", "complexity_published", "diversity")
NODES = "node_entropy"  # of an item, beside `measures`, which know no graph
LEAST = 4  # items


def single(scores: Array, loss: Array, gradient: Array) -> dict[str, Array]:
    """Return the measures of each item by itself.

    `scores` have the shape (items, edges); `loss` (nats) and `gradient` (its norm at all
    destinations) the shape (items,).
    """
    size = np.abs(scores)
    edges, total = scores.shape[1], size.sum(1)
    whole = np.pad(scores, ((0, 0), (0, edges - 1)))  # 2 E - 1 entries
    share = size / total[:, None]
    order = np.sort(size, axis=1) @ (2.0 * np.arange(1, edges + 1) - edges - 1)
    return {
        "intensity": size.mean(1),
        "intensity_published": total / whole.shape[1],
        "kurtosis": kurtosis(scores),
        "kurtosis_published": kurtosis(whole),
        "kurtosis_absolute": kurtosis(size),
        "evenness": entropy(share) / np.log(edges),
        "participation": total**2 / (edges * (scores**2).sum(1)),
        "gini": order / (edges * total),
        "loss": loss,
        "gradient": gradient,
        "intensity_per_loss": size.mean(1) / loss,
        "intensity_per_gradient": size.mean(1) / gradient,
    }


def pooled(scores: Array, top: float) -> dict[str, Array]:
    """Return `POOLED`, values per item whose mean is the measure of all; bins end at `top`."""
    size = np.abs(scores)
    return {
        "complexity": complexity(size, BINS, top),
        "complexity_published": complexity(size, BINS, float(size.max()), size.shape[1] - 1),
        "diversity": diversity(scores),
    }


def measures(scores: Array, loss: Array, gradient: Array, top: float) -> dict[str, Array]:
    """Return all measures, each of shape (items,)."""
    values = single(scores, loss, gradient) | pooled(scores, top)
    values["complexity_share"] = values["complexity"] / np.log(BINS)
    for bins in OTHER_BINS:
        values[f"complexity_{bins}"] = complexity(np.abs(scores), bins, top)
    return values


def entropy(shares: Array) -> Array:
    """Return the entropy of each row in nats.

    >>> float(entropy(np.array([[0.5, 0.5, 0.0]]))[0].round(6))
    0.693147
    """
    return -(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(-1)


def kurtosis(values: Array) -> Array:
    """Return the excess kurtosis of each row (biased moments; 0 for a normal distribution)."""
    centred = values - values.mean(1, keepdims=True)
    square = centred**2
    return (square**2).mean(1) / square.mean(1) ** 2 - 3


def complexity(size: Array, bins: int, top: float, zeros: int = 0) -> Array:
    """Return a value per item whose mean is the entropy (nats) of the pooled histogram.

    `size` is |W| of shape (items, edges), in equal `bins` from 0 to `top`; beside its edges each
    item has so many `zeros`.
    """
    places = _bins(size, bins, top)
    counts = np.bincount(places.ravel(), minlength=bins).astype(float)
    counts[0] += zeros * len(size)
    logs = np.log(counts / counts.sum() + EPSILON)
    return -(logs[places].sum(1) + zeros * logs[0]) / (size.shape[1] + zeros)


def diversity(scores: Array) -> Array:
    """Return a value per item whose mean is 1 - the mean correlation over pairs of items."""
    unit = _units(scores)
    each = 1 - (unit @ unit.sum(0) - 1) / (len(scores) - 1)
    return 2 * each - each.mean()


def output_entropy(scores: Array, graph: Graph) -> Array:
    """Return the entropy (nats) of each source's edges, shape (items, sources)."""
    matrix = np.zeros((len(scores), *graph.real.shape))
    matrix[:, graph.real] = np.abs(scores)
    return entropy(matrix / np.maximum(matrix.sum(-1, keepdims=True), EPSILON))


def node_entropy(scores: Array, graph: Graph) -> Array:
    """Return the mean entropy (nats) of the sources that have several edges, shape (items,)."""
    return output_entropy(scores, graph)[:, graph.real.sum(1) > 1].mean(1)


def swapped(before: Array, after: Array, signs: Array, top: float) -> Array:
    """Return the changes of `POOLED` with base and after swapped, shape (relabellings, measures).

    Everything is computed anew for each relabelling, the model's own range of the published entropy
    among it, so that a test against these is exact. `before` and `after` are scores of shape
    (items, edges); `signs` have the shape (relabellings, items), -1 swaps.
    """
    sizes = np.abs(before), np.abs(after)
    changes = [
        _gap(*(_counts(size, top) for size in sizes), signs),
        _published(*sizes, signs, before.shape[1] - 1),
        _mixing(_units(before), _units(after), signs),
    ]
    return np.stack(changes, 1)


def _counts(size: Array, top: float) -> Array:
    """Return each item's histogram."""
    places = np.arange(len(size))[:, None] * BINS + _bins(size, BINS, top)
    return np.bincount(places.ravel(), minlength=len(size) * BINS).reshape(-1, BINS) * 1.0


def _bins(size: Array, bins: int, top: float) -> NDArray[np.int64]:
    return np.minimum((size * (bins / max(top, EPSILON))).astype(int), bins - 1)


def _entropy_of(counts: Array) -> Array:
    shares = counts / counts.sum(-1, keepdims=True)
    return -(shares * np.log(shares + EPSILON)).sum(-1)


def _gap(before: Array, after: Array, signs: Array) -> Array:
    total, moved = (before + after).sum(0), signs @ (after - before)
    return _entropy_of((total + moved) / 2) - _entropy_of((total - moved) / 2)


def _published(before: Array, after: Array, signs: Array, zeros: int) -> Array:
    """Return changes of the entropy up to each model's own largest score."""
    most = before.max(1), after.max(1)
    sides = []
    for sign in (1, -1):
        tops = np.where(sign * signs > 0, most[1], most[0]).max(1)
        entropies = np.zeros(len(signs))
        # The largest score belongs to one of few items: few ranges occur.
        for top in np.unique(tops):
            here = tops == top
            one, other = _counts(before, top), _counts(after, top)
            counts = ((one + other).sum(0) + sign * signs[here] @ (other - one)) / 2
            counts[:, 0] += zeros * len(before)
            entropies[here] = _entropy_of(counts)
        sides.append(entropies)
    return sides[0] - sides[1]


def _units(scores: Array) -> Array:
    centred = scores - scores.mean(1, keepdims=True)
    return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), EPSILON)


def _mixing(before: Array, after: Array, signs: Array) -> Array:
    total, moved = (before + after).sum(0), signs @ (after - before)
    pairs = len(before) * (len(before) - 1)
    return -(((total + moved) ** 2).sum(1) - ((total - moved) ** 2).sum(1)) / (4 * pairs)
