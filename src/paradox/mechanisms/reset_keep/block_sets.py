"""Sets of blocks: what resetting or keeping them does, and what that is compared with."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paradox.errors import DataError
from paradox.mechanisms.tables.pairs import Groups
from paradox.mechanisms.tables.recovery import Curve, curve
from paradox.mechanisms.tables.verdict import ANCHOR, LATE, inside
from paradox.stats.crossed import Number, mean
from paradox.stats.layers import TIE

CONTRASTS = ("exposed", "twin", "difference")
Array = NDArray[np.float64]


@dataclass(frozen=True)
class How:
    """How everything is tested."""

    groups: Groups
    seed: int  # keys the halves of the pairs
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

    def distance(self, contrast: str = "exposed") -> Number:
        """Return the gap from target to source, over pairs and trainings."""
        return mean(self.gap[contrast], "pairs")

    def named(self, blocks: tuple[int, ...]) -> int:
        """Return the place of a set of blocks."""
        return self.blocks.index(" ".join(map(str, blocks)))

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


def over_pairs(values: Array) -> Number:
    """Return means over pairs and trainings of values of shape (pairs, sets, trainings)."""
    return mean(values.swapaxes(1, 2), "pairs")


def sides(blocks: int, widths: list[int]) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Return the last blocks of the published anchor and as many of the adapters after it.

    The windows are the widest that fit. None where no block lies at the anchor's depth.

    >>> sides(28, [1, 3]), sides(6, [1, 3]), sides(12, [1, 3]), sides(2, [1])
    (((18, 19, 20), (21, 22, 23)), ((3,), (4,)), ((8,), (9,)), None)
    """
    anchor, late = (np.flatnonzero(inside(blocks, window)).tolist() for window in (ANCHOR, LATE))
    width = max((n for n in widths if n <= min(len(anchor), len(late))), default=0)
    return (tuple(anchor[-width:]), tuple(late[:width])) if width else None


def best_of(values: Array, size: int, value: float) -> float:
    """Return the chance that the best of `size` values, drawn without replacement, is at least so.

    >>> best_of(np.arange(20), 4, 19), best_of(np.arange(6), 6, 5), best_of(np.arange(20), 1, 18)
    (0.2, 1.0, 0.1)
    """
    count = len(values)
    below = int((values < value - TIE).sum())
    return round(1 - math.comb(below, size) / math.comb(count, size), 12)
