"""Ratios of means over items, layer by layer: bootstrap, guard against small denominators, test.

Where the interval of the mean denominator holds zero, a ratio says nothing, whatever its interval:
ask `Drawn.clear_of_zero` first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from paradox.seeds import Key, keyed_rng
from paradox.stats.bootstrap import Resampling, interval, pigeonhole
from paradox.stats.layers import Array, LayerTest, Names, check, differences, flips, max_test


@dataclass(frozen=True)
class Drawn:
    """A number per layer with its bootstrap draws, to calculate with."""

    value: Array  # shape (layers,)
    draws: Array  # shape (resamples, layers)

    def __sub__(self, other: Drawn) -> Drawn:
        return Drawn(self.value - other.value, self.draws - other.draws)

    def __truediv__(self, other: Drawn) -> Drawn:
        # A resample may have no denominator; the caller has looked at the whole sample's.
        with np.errstate(divide="ignore", invalid="ignore"):
            return Drawn(self.value / other.value, self.draws / other.draws)

    def interval(self, level: float) -> tuple[Array, Array]:
        """Return the ends of the percentile interval."""
        return interval(self.draws, level)

    def clear_of_zero(self, level: float) -> bool:
        """Return whether the interval leaves out zero at every layer."""
        low, high = self.interval(level)
        return bool(((low > 0) | (high < 0)).all())


def drawn(values: ArrayLike, resampling: Resampling, group: str) -> Drawn:
    """Return the mean over items and seeds, shape of `values`: (items, layers, seeds).

    `group` names the items: two calls with one name and as many items draw the same items.
    """
    cube = np.asarray(values, dtype=np.float64)
    draws = [pigeonhole({group: cube[:, n]}, resampling)[group] for n in range(cube.shape[1])]
    return Drawn(cube.mean(axis=(0, 2)), np.stack(draws, axis=1))


def ratio_test(
    top: ArrayLike,
    bottom: ArrayLike,
    labels: ArrayLike,
    *key: Key,
    pairs: Names | None = None,
    permutations: int = 2000,
    level: float = 0.95,
) -> LayerTest | None:
    """Test the difference between the ratios of labelled and of other items at every layer.

    Numerators `top`, shape (items, layers), and denominators `bottom`, shape (items,), of an item
    are relabelled together; the rest is as in `paradox.stats.layers.label_test`. None where a
    denominator changes its sign under some relabelling: the null of the ratio is then without
    bounds, and nothing could be compared with it.
    """
    matrix, chosen = check(np.column_stack([np.asarray(top), np.asarray(bottom)]), labels)
    total = matrix.sum(axis=0)
    if pairs is not None:
        apart, _ = differences(matrix, chosen, pairs)
        signs, exact = flips(len(apart), permutations, *key)
        ones, one = (total + signs @ apart) / 2, (total + apart.sum(axis=0)) / 2
    else:
        exact = False
        tiled = np.tile(chosen.astype(np.float64), (permutations, 1))
        ones = keyed_rng("labels", *key).permuted(tiled, axis=1) @ matrix
        one = matrix[chosen].sum(axis=0)
    below = np.concatenate([[one[-1], total[-1] - one[-1]], ones[:, -1], total[-1] - ones[:, -1]])
    if below.min() <= 0 <= below.max():
        return None

    def contrast(sums: Array) -> Array:
        others = total - sums
        return sums[..., :-1] / sums[..., -1:] - others[..., :-1] / others[..., -1:]

    return max_test(contrast(one), contrast(ones), exact, level=level)
