"""Sets of blocks: what resetting or keeping them does, and what that is compared with."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paradox.errors import DataError
from paradox.mechanisms.tables.pairs import Groups
from paradox.mechanisms.tables.recovery import Curve, curve
from paradox.stats.bootstrap import Resampling
from paradox.stats.layers import TIE, label_test

CONTRASTS = ("exposed", "twin", "difference")
# Standard normal: 80 % power, and two-sided or one-sided 5 %.
POWER, TWO_SIDED, ONE_SIDED = 0.8416, 1.9600, 1.6449
Array = NDArray[np.float64]


@dataclass(frozen=True)
class How:
    """How everything is tested."""

    groups: Groups
    resampling: Resampling
    permutations: int
    margin_share: float
    norm_tolerance: float


@dataclass(frozen=True)
class Sets:
    """Progress of sets of blocks.

    `names` are those of the pairs; `layers`, `blocks` and `norms` are of each set. `change`
    (contrast -> (pairs, sets, seeds)) is not turned; `gap` is contrast -> (pairs, seeds).
    """

    names: list[str]
    layers: list[int]
    blocks: list[str]
    norms: Array
    change: dict[str, Array]
    gap: dict[str, Array]

    def sign(self, contrast: str) -> float:
        """Return the direction from target to source."""
        return 1.0 if self.gap[contrast].mean() >= 0 else -1.0

    def progress(self, contrast: str) -> Array:
        """Return changes towards the source."""
        return self.sign(contrast) * self.change[contrast]

    def relabelled(self, swap: NDArray[np.bool_]) -> Sets:
        """Return the sets with exposed item and twin swapped in these pairs, for error rates."""

        def swapped(by_contrast: dict[str, Array]) -> dict[str, Array]:
            one, other = by_contrast["exposed"], by_contrast["twin"]
            where = swap.reshape(-1, *[1] * (one.ndim - 1))
            return contrasts(np.where(where, other, one), np.where(where, one, other))

        return replace(self, change=swapped(self.change), gap=swapped(self.gap))

    def joined(self, other: Sets) -> Sets:
        """Return these sets and others of the same pairs."""
        change = {
            name: np.concatenate([values, other.change[name]], axis=1)
            for name, values in self.change.items()
        }
        norms = np.concatenate([self.norms, other.norms])
        layers, blocks = self.layers + other.layers, self.blocks + other.blocks
        return replace(self, layers=layers, blocks=blocks, norms=norms, change=change)


def contrasts(exposed: Array, twin: Array) -> dict[str, Array]:
    """Return both sides and their difference by name."""
    return {"exposed": exposed, "twin": twin, "difference": exposed - twin}


def read_sets(rows: pd.DataFrame, measure: str, groups: Groups) -> Sets:
    """Return a component's sets by pair, as in the groups; a `DataError` without whole pairs."""
    component: Curve = curve(rows, measure, str(rows["component"].iloc[0]))
    place = {name: row for row, name in enumerate(component.items)}
    pairs = [
        (place[one], place[other], pair)
        for one, other, pair in zip(groups.exposed, groups.twin, groups.pairs or [], strict=False)
        if one in place and other in place
    ]
    if not pairs:
        raise DataError(f"{rows['component'].iloc[0]}: the table has no whole pairs.")
    exposed, twin, names = map(list, zip(*pairs, strict=True))
    layers = rows.groupby("layer")
    return Sets(
        names,
        component.layers,
        layers["blocks"].first().astype(str).tolist(),
        layers["norm"].mean().to_numpy(),
        contrasts(component.change[exposed], component.change[twin]),
        contrasts(component.gap[exposed], component.gap[twin]),
    )


# --- which sets, and how they are tested ---


def nearest(blocks: int, widths: list[int]) -> int:
    """Return the width nearest to the published 3 of 28 blocks."""
    return min(widths, key=lambda width: abs(width - 3 * blocks / 28))


def sides(blocks: int, width: int) -> tuple[int, int] | None:
    """Return the first blocks of the two windows on both sides of depth 3/4 (21 of 28).

    >>> sides(28, 3), sides(6, 1), sides(30, 3), sides(3, 3)
    ((18, 21), (4, 5), (20, 23), None)
    """
    edge = min(int(0.75 * blocks + 0.5), blocks - width)
    return (edge - width, edge) if edge >= width else None


def detectable(values: Array, quantile: float) -> float:
    """Return the mean that is found in 80 % of studies with as many pairs, the seeds given.

    `values` have the shape (pairs, seeds); the test rejects at this `quantile` of the standard
    normal distribution.
    """
    pairs = values.mean(axis=1)
    if len(pairs) < 2:
        return float("nan")
    return float((quantile + POWER) * pairs.std(ddof=1) / math.sqrt(len(pairs)))


def above_zero(values: Array, settings: How) -> float:
    """Return the one-sided p-value that a mean over pairs is above zero, by swapping signs.

    For exposed minus twin this swaps their labels.
    """
    pairs = values.mean(axis=1, keepdims=True)
    both = np.concatenate([pairs, np.zeros_like(pairs)])
    names = [f"{n}" for n in range(len(pairs))] * 2
    labels = np.arange(len(both)) < len(pairs)
    options: dict[str, Any] = {"permutations": settings.permutations, "two_sided": False}
    return label_test(both, labels, settings.resampling.seed, pairs=names, **options).overall


def best_of(values: Array, size: int, value: float) -> float:
    """Return the chance that the best of `size` values, drawn without replacement, is at least so.

    >>> best_of(np.arange(20), 4, 19), best_of(np.arange(6), 6, 5), best_of(np.arange(20), 1, 18)
    (0.2, 1.0, 0.1)
    """
    count = len(values)
    below = int((values < value - TIE).sum())
    return round(1 - math.comb(below, size) / math.comb(count, size), 12)
