"""Tests of claims about layers: where an effect is, whether it peaks, whether it is nowhere.

A curve over layers always has a largest value; "the effect is at layer l" must beat the largest of
a curve of nothing. Nothing is made by permuting labels, within pairs where items come in pairs.
Every layer sees the same relabelling, so layers may be as correlated as they are.

A curve outside its band (`low`, `high`) at one layer that was named beforehand is news; at a layer
found by looking, only `corrected` counts, or a test on other items. `overall` asks whether there is
an effect at any layer.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paradox.seeds import Key, keyed_rng
from paradox.stats.bootstrap import interval
from paradox.stats.crossed import Equivalence, Number

Array = NDArray[np.float64]
Names = Sequence[str]
# Sums of the same numbers in another order differ by rounding; they are ties.
TIE = 1e-9


@dataclass(frozen=True)
class LayerTest:
    """A curve over layers beside its null."""

    curve: Array  # the observed statistic per layer
    # The middle `level` of the null at each layer by itself
    low: Array
    high: Array
    # p-value per layer by itself, and against the null's largest layer (single-step max-T)
    p: Array
    corrected: Array
    overall: float  # the smallest corrected p-value
    # What the largest layer must pass, in null standard deviations from the null's mean
    threshold: float
    # The same per layer, in the curve's unit: the curve is outside of these exactly where
    # `corrected` is at most 1 - `level`
    max_low: Array
    max_high: Array
    relabellings: int  # how many were used
    exact: bool  # whether these are all there are

    @property
    def peak(self) -> int:
        """The layer that stands out most."""
        return int(np.argmin(self.corrected + 1e-6 * self.p - 1e-12 * np.abs(self.curve)))


def differences(values: ArrayLike, labels: ArrayLike, pairs: Names) -> tuple[Array, list[str]]:
    """Return labelled minus unlabelled item of every pair, shape (pairs, layers), and the pairs.

    A pair without exactly one item of each label is a `ValueError`.
    """
    matrix, chosen = check(values, labels)
    if len(pairs) != len(matrix):
        raise ValueError(f"{len(matrix)} items and {len(pairs)} names of pairs")
    rows: tuple[dict[str, int], dict[str, int]] = ({}, {})
    for row, (pair, label) in enumerate(zip(pairs, chosen, strict=True)):
        rows[int(label)][pair] = row
    names = list(dict.fromkeys(pairs))
    if not (len(rows[0]) == len(rows[1]) == len(names) and 2 * len(names) == len(matrix)):
        raise ValueError("every pair needs exactly one labelled and one unlabelled item")
    one, other = ([held[name] for name in names] for held in (rows[1], rows[0]))
    return matrix[one] - matrix[other], names


def check(values: ArrayLike, labels: ArrayLike) -> tuple[Array, NDArray[np.bool_]]:
    """Return values as (items, layers) and labels as booleans, or raise a `ValueError`."""
    matrix, chosen = np.asarray(values, dtype=np.float64), np.asarray(labels, dtype=bool)
    if matrix.ndim != 2 or chosen.shape != matrix.shape[:1]:
        raise ValueError(f"expected (items, layers) and (items,): {matrix.shape}, {chosen.shape}")
    if not np.isfinite(matrix).all() or chosen.all() or not chosen.any():
        raise ValueError("needed finite values and at least one item of each label")
    return matrix, chosen


def flips(pairs: int, most: int, *key: Key) -> tuple[Array, bool]:
    """Return signs of shape (relabellings, pairs), and whether these are all there are.

    All of them where there are at most `most`, else as many are drawn; `key` names the draw.
    """
    if pairs <= math.log2(most):
        return np.array(list(itertools.product([1.0, -1.0], repeat=pairs))), True
    return keyed_rng("flips", *key).integers(0, 2, (most, pairs)) * 2.0 - 1, False


def _weights(chosen: NDArray[np.bool_], most: int, *key: Key) -> tuple[Array, bool]:
    """Return weights that give the difference of means under each relabelling."""
    items, ones = len(chosen), int(chosen.sum())
    exact = math.comb(items, ones) <= most
    if exact:
        labels = np.zeros((math.comb(items, ones), items))
        for row, picked in enumerate(itertools.combinations(range(items), ones)):
            labels[row, list(picked)] = 1
    else:
        tiled = np.tile(chosen.astype(np.float64), (most, 1))
        labels = keyed_rng("labels", *key).permuted(tiled, axis=1)
    return labels / ones - (1 - labels) / (items - ones), exact


def max_test(
    observed: ArrayLike,
    null: ArrayLike,
    exact: bool = False,
    two_sided: bool = True,
    level: float = 0.95,
) -> LayerTest:
    """Compare a curve with curves of nothing, layer by layer and by the largest layer.

    Layers are put on one scale by the mean and standard deviation of the observed curve and the
    null together: a function of the whole set, so that p-values stay exact.

    Parameters
    ----------
    observed, null
        Shapes (layers,) and (relabellings, layers); each row is made as the observed curve was.
    exact
        Whether `null` is the whole set of relabellings, the observed one included.
    two_sided
        Else only large values count.
    """
    curve, drawn = np.asarray(observed, dtype=np.float64), np.asarray(null, dtype=np.float64)
    if drawn.ndim != 2 or curve.shape != drawn.shape[1:] or not len(drawn):
        raise ValueError(f"expected (layers,) and (n, layers): {curve.shape}, {drawn.shape}")
    pool = drawn if exact else np.vstack([curve, drawn])
    middle, spread = pool.mean(axis=0), pool.std(axis=0)
    spread[spread <= TIE * np.abs(pool).max(axis=0)] = 0  # a layer that never varies
    scale = np.where(spread > 0, spread, 1.0)
    moves = spread > 0
    size, observed_size = ((part - middle) / scale * moves for part in (pool, curve))
    if two_sided:
        size, observed_size = np.abs(size), np.abs(observed_size)
    top = size.max(axis=1)
    corrected = (top[:, None] >= observed_size - TIE).mean(axis=0)
    low, high = interval(pool, level)
    # Passed by so few of the pool that a p-value there is at most 1 - level.
    threshold = float(np.sort(top)[len(top) - 1 - math.floor((1 - level) * len(top) + TIE)])
    reach = threshold * spread
    return LayerTest(
        curve=curve,
        low=low,
        high=high,
        p=(size >= observed_size - TIE).mean(axis=0),
        corrected=corrected,
        overall=float(corrected.min()),
        threshold=threshold,
        max_low=middle - reach if two_sided else np.full_like(curve, -np.inf),
        max_high=middle + reach,
        relabellings=len(pool),
        exact=exact,
    )


def label_test(
    values: ArrayLike,
    labels: ArrayLike,
    *key: Key,
    pairs: Names | None = None,
    permutations: int = 2000,
    two_sided: bool = True,
    level: float = 0.95,
) -> LayerTest:
    """Test the difference of means between labelled and other items at every layer.

    Parameters
    ----------
    values, labels
        Shape (items, layers), and which items are labelled (exposed, say).
    key
        Names the draw of relabellings.
    pairs
        The pair of each item: labels are then swapped within pairs only.
    permutations
        Relabellings drawn; where there are fewer in all, all are used.
    """
    if pairs is None:
        matrix, chosen = check(values, labels)
        weights, exact = _weights(chosen, permutations, *key)
        curve = matrix[chosen].mean(axis=0) - matrix[~chosen].mean(axis=0)
    else:
        matrix, _ = differences(values, labels, pairs)
        signs, exact = flips(len(matrix), permutations, *key)
        curve, weights = matrix.mean(axis=0), signs / len(matrix)
    return max_test(curve, weights @ matrix, exact, two_sided, level)


def equivalent_everywhere(numbers: Number, margin: float) -> tuple[float, list[Equivalence]]:
    """Test that the numbers of all layers lie within +-`margin` (TOST).

    Return the largest p-value, which is that of the whole claim (an intersection needs no
    correction), and the test of each layer.
    """
    tests = [numbers[place].equivalence(margin) for place in range(numbers.value.size)]
    return max(test.p for test in tests), tests
