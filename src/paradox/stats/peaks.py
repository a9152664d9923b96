"""Claims about the one layer where a curve is highest, tested on items that did not choose it.

One half of the items chooses and the other half tests; halves are keyed by name.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression

from paradox.seeds import Key, keyed_uniform
from paradox.stats.bootstrap import Resampling, pigeonhole
from paradox.stats.layers import Array, LayerTest, Names, check, flips, label_test, max_test


@dataclass(frozen=True)
class HeldOut:
    """A layer chosen on one half of the items and tested on the other."""

    layer: int  # the layer that stood out most in the selection half
    # The statistic there in the selection half (too large, by selection) and in the test half
    selected: float
    value: float
    p: float  # of the test half


@dataclass(frozen=True)
class Peak:
    """Whether curves rise to a layer and decline after it."""

    layer: int  # where the mean curve of the selection half is highest
    # Test half: mean height of that layer above the first and above the last layers
    rise: float
    fall: float
    p: float  # the larger of the two one-sided p-values; 1 where the peak is one of the ends


@dataclass(frozen=True)
class Shape:
    """Least-squares fits of a curve (a description, not a test)."""

    fit: Array  # the best curve that rises and then declines
    # Shares of the variance over layers that `fit` and the best monotone one explain
    unimodal: float
    monotone: float


def half(names: Names, *key: Key) -> NDArray[np.bool_]:
    """Return which entries fall into the selection half; equal names stay together.

    A name's side depends on `key` and on which names there are, not on their order.
    """
    unique = sorted(set(names), key=lambda name: keyed_uniform("half", *key, name))
    chosen = set(unique[: len(unique) // 2])
    return np.array([name in chosen for name in names])


def held_out(
    values: ArrayLike,
    labels: ArrayLike,
    names: Names,
    *key: Key,
    paired: bool = True,
    permutations: int = 2000,
) -> HeldOut:
    """Choose a layer on one half of the items and test it, two-sided, on the other half.

    `names` say what stays together in a half: pairs (`paired`), or the items' names.
    """
    matrix, chosen = check(values, labels)
    first = half(names, *key)

    def test(rows: NDArray[np.bool_], layers: slice) -> LayerTest:
        pairs = [name for name, used in zip(names, rows, strict=True) if used]
        return label_test(
            matrix[rows, layers],
            chosen[rows],
            *key,
            pairs=pairs if paired else None,
            permutations=permutations,
        )

    selection = test(first, slice(None))
    layer = selection.peak
    other = test(~first, slice(layer, layer + 1))
    return HeldOut(layer, float(selection.curve[layer]), float(other.curve[0]), other.overall)


def peak_test(
    curves: ArrayLike, names: Names, *key: Key, ends: int = 1, permutations: int = 2000
) -> Peak:
    """Test that the mean curve rises to a peak and declines after it.

    One half of the items says where the peak is. In the other half that layer must be above the
    first `ends` layers and above the last ones; both must hold, so p is the larger of the two and
    needs no correction. A curve that only rises, or only falls, is rejected at most as often as the
    level says.

    `curves` has shape (items, layers), one per item (or per pair, see `differences`); equal `names`
    stay in one half.
    """
    matrix = np.asarray(curves, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] < 2 * ends + 1:
        raise ValueError(f"expected (items, at least {2 * ends + 1} layers): {matrix.shape}")
    first = half(names, *key)
    layer = int(matrix[first].mean(axis=0).argmax())
    rest = matrix[~first]
    above = [rest[:, layer] - rest[:, part].mean(axis=1) for part in _ends(ends)]
    sides = np.stack(above, axis=1)
    rise, fall = map(float, sides.mean(axis=0))
    if not ends <= layer < matrix.shape[1] - ends:
        return Peak(layer, rise, fall, 1.0)
    signs, exact = flips(len(rest), permutations, *key)
    result = max_test(sides.mean(axis=0), signs @ sides / len(rest), exact, two_sided=False)
    return Peak(layer, rise, fall, float(result.p.max()))


def _ends(ends: int) -> tuple[slice, slice]:
    return slice(None, ends), slice(-ends, None)


def shape(curve: ArrayLike) -> Shape:
    """Fit a curve by one that rises and then declines, and by a monotone one."""
    y = np.asarray(curve, dtype=np.float64)
    fits = [
        np.concatenate(
            [
                isotonic_regression(part, increasing=rising).x
                for part, rising in ((y[:cut], True), (y[cut:], False))
                if len(part)
            ]
        )
        for cut in range(len(y) + 1)
    ]
    errors = [float(((fit - y) ** 2).sum()) for fit in fits]
    # A cut at an end makes the fit monotone.
    total = float(((y - y.mean()) ** 2).sum()) or 1.0
    best = int(np.argmin(errors))
    return Shape(fits[best], 1 - errors[best] / total, 1 - min(errors[0], errors[-1]) / total)


def peak_shares(curves: ArrayLike, resampling: Resampling) -> Array:
    """Return how often each layer is the peak of the mean curve when items are resampled.

    `curves` has shape (items, layers); for a contrast of exposed and twin items see `differences`.
    """
    matrix = np.asarray(curves, dtype=np.float64)
    # One name and one number of items give one set of weights: the layers stay paired.
    draws = [pigeonhole({"items": column}, resampling)["items"] for column in matrix.T]
    peaks = np.stack(draws, axis=1).argmax(axis=1)
    return np.bincount(peaks, minlength=matrix.shape[1]) / len(peaks)
