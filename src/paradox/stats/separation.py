"""How far apart two groups of paired items are moved, in many dimensions, layer by layer.

Every pair has a difference d (of two vectors) per layer. The squared length of the mean of d grows
with noise; the U-statistic

    U = mean over pairs i, j with i not j of d_i . d_j

leaves out the products of a pair with itself, which is where noise enters. Its mean is the squared
length of the true mean difference, so it is negative half of the time where nothing separates the
groups. U is the sum of a *kernel* of shape (layers, pairs, pairs) with an empty diagonal; with the
labels swapped in some pairs (signs s) it is s' K s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from paradox.seeds import Key, keyed_rng
from paradox.stats.layers import LayerTest, flips, max_test

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
ALPHA = 0.05
LEAST = 2  # pairs of a part: those of one product
CHUNK = 8192


class Part(NamedTuple):
    """Differences within pairs, shape (pairs, layers, width), and the pairs that may be used.

    Several parts are several views of the same pairs (fits of a model, each with its own pairs
    held out): U is their mean.
    """

    differences: Array
    rows: Mask


def kernel(parts: Sequence[Part], chosen: Mask) -> Array:
    """Return the kernel of the chosen pairs, shape (layers, chosen, chosen).

    A part with fewer than `LEAST` of the chosen pairs is a `ValueError`.
    """
    place = np.cumsum(chosen) - 1
    size, layers = int(chosen.sum()), parts[0].differences.shape[1]
    total = np.zeros((layers, size, size))
    for part in parts:
        rows = part.rows & chosen
        count = int(rows.sum())
        if count < LEAST:
            raise ValueError(f"{count} pairs are too few; {LEAST} are needed")
        sides = part.differences[rows].swapaxes(0, 1)
        products = sides @ sides.swapaxes(1, 2)
        products[:, np.arange(count), np.arange(count)] = 0
        total[np.ix_(np.arange(layers), place[rows], place[rows])] += products / (
            count * (count - 1) * len(parts)
        )
    return total


def squared(kernels: Array) -> Array:
    """Return U per layer."""
    return kernels.sum(axis=(1, 2))


def relabelled(kernels: Array, signs: Array) -> Array:
    """Return U per relabelling and layer; `signs` of shape (relabellings, pairs)."""
    values = np.empty((len(signs), len(kernels)), dtype=kernels.dtype)
    for start in range(0, len(signs), CHUNK):
        part = slice(start, start + CHUNK)
        for layer, products in enumerate(kernels):
            values[part, layer] = ((signs[part] @ products) * signs[part]).sum(axis=1)
    return values


def pseudo_values(kernels: Array) -> Array:
    """Return the pairs' jackknife pseudo-values of U, shape (pairs, layers).

    Their mean is U, and the bootstrap of that mean has U's spread (to first order; resampling whole
    pairs would make products of a pair with its own copy). Fewer than 3 pairs are a `ValueError`.
    """
    if kernels.shape[1] < 3:
        raise ValueError(f"{kernels.shape[1]} pairs are too few to leave one out; 3 are needed")
    pairs = kernels.shape[1]
    whole = squared(kernels)
    without = (whole - 2 * kernels.sum(axis=2).T) * pairs / (pairs - 2)
    return pairs * whole - (pairs - 1) * without


def null(kernels: Array, permutations: int, *key: Key) -> tuple[Array, bool]:
    """Return U of relabelled pairs, shape (relabellings, layers), and whether these are all."""
    signs, exact = flips(kernels.shape[1], permutations, "separation", *key)
    return relabelled(kernels, signs), exact


def separation_test(kernels: Array, permutations: int, *key: Key) -> LayerTest:
    """Test that U is above 0 at some layer (one-sided, labels swapped within pairs)."""
    drawn, exact = null(kernels, permutations, *key)
    return max_test(squared(kernels), drawn, exact, two_sided=False)


def false_positives(kernels: Array, permutations: int, runs: int, *key: Key) -> int:
    """Return in how many of `runs` relabellings the test finds a layer, each as if it were data.

    Every run draws permutations of its own, so that runs are independent.
    """
    rng = keyed_rng("separation rates", *key)
    pairs, count = kernels.shape[1], 0
    kernels = kernels.astype(np.float32)  # twice as fast, and ranks do not need more
    for _ in range(runs):
        signs = rng.integers(0, 2, (permutations + 1, pairs), dtype=np.int8) * np.float32(2) - 1
        signs[1:] *= signs[0]
        drawn = relabelled(kernels, signs)
        count += max_test(drawn[0], drawn[1:], two_sided=False).overall <= ALPHA
    return count


def detections(kernels: Array, size: int, permutations: int, runs: int, *key: Key) -> int:
    """Return in how many of `runs` choices of `size` pairs the test finds a layer.

    Pairs are drawn without replacement: the product of a pair with its copy is noise.
    """
    count, pairs = 0, kernels.shape[1]
    for run in range(runs):
        rows = np.sort(keyed_rng("separation power", *key, size, run).permutation(pairs)[:size])
        # Up to a factor, which no test sees.
        chosen = kernels[np.ix_(np.arange(len(kernels)), rows, rows)]
        count += separation_test(chosen, permutations, *key, size, run).overall <= ALPHA
    return count


def root(squares: Array | float) -> Array:
    """Return a length for a squared one, negative where the square is.

    >>> root(np.array([4.0, -9.0])).tolist()
    [2.0, -3.0]
    """
    return np.sign(squares) * np.sqrt(np.abs(squares))
