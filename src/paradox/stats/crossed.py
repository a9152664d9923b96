"""Means over items crossed with replicates: interval, p-value and equivalence from one model.

A value is that of an item under a replicate (a training, or a base and what is trained on it):
y = mu + item + replicate + rest, items and replicates random. The variance of the mean is that of
a two-way random-effects analysis, its parts estimated by mean squares; the replicates' part never
counts as negative. Student's t with Satterthwaite's (1946) degrees of freedom gives interval, p
and equivalence, so they never contradict each other. With few replicates that differ, the interval
is wide because it has to be: three trainings say little about all trainings.

How to read: with one replicate (an untrained base, a single seed) interval and p are about other
items only. Differences and ratios of means are handled to first order (delta method).

All groups of one number share their replicates (one training gives the values of all groups);
their items are different ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Array = NDArray[np.float64]
LEVEL = 0.95
# Relative; differences of equal numbers differ from 0 by rounding.
TIE = 1e-12
# A spread between replicates that is underestimated gives both a small variance and many degrees of
# freedom. With this weight of the items' part in the latter, intervals cover .93 to .97 from three
# replicates on, whatever the spread (tests/test_crossed.py).
DAMPED = 0.8


@dataclass(frozen=True)
class Estimate:
    """A number with what the model says of it.

    Attributes
    ----------
    value, low, high
        In the unit of the data.
    p
        Of "above 0": twice the upper tail, at most 1. It is at most 1 - level exactly where
        `low` is at least 0, and NaN where nothing varies.
    se, df
        Standard error and degrees of freedom.
    items, replicates
        Numbers of items (all groups together) and of replicates.
    """

    value: float
    low: float
    high: float
    p: float
    se: float
    df: float
    items: int
    replicates: int

    @property
    def clear_of_zero(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0

    @property
    def differs(self) -> float:
        """The two-sided p of "not 0"; NaN where nothing varies."""
        return float(2 * stats.t.sf(abs(self.value) / self.se, self.df)) if self.se else math.nan


UNKNOWN = Estimate(*[math.nan] * 6, 0, 0)  # where there is nothing to measure


@dataclass(frozen=True)
class Equivalence:
    """Result of two one-sided tests (TOST) of "the number lies within +-margin".

    Attributes
    ----------
    low, high
        The 90 % interval; equivalence at the 5 % level means that it lies inside the margins.
    margin
        In the unit of the data.
    p
        The larger of the two one-sided p-values.
    equivalent
        Whether p is at most .05.
    """

    low: float
    high: float
    margin: float
    p: float
    equivalent: bool


@dataclass(frozen=True)
class Number:
    """One number, or an array of them, as a function of means over items and replicates.

    Attributes
    ----------
    value
        Shape (...,).
    parts
        By group of items, shape (items, replicates, ...): what each cell moves `value` by, times
        the number of cells, to first order; the mean of each part is 0.
    """

    value: Array
    parts: dict[str, Array]

    def __add__(self, other: Number | float) -> Number:
        return _sum(self, other, 1.0)

    def __sub__(self, other: Number | float) -> Number:
        return _sum(self, other, -1.0)

    def __mul__(self, factor: float) -> Number:
        return Number(
            self.value * factor, {name: part * factor for name, part in self.parts.items()}
        )

    def __truediv__(self, other: Number) -> Number:
        """Return the ratio; NaN or infinite where the denominator is 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            value = self.value / other.value
            scaled = Number(value, {name: part * value for name, part in other.parts.items()})
            parts = {name: part / other.value for name, part in (self - scaled).parts.items()}
        return Number(value, parts)

    def __matmul__(self, weights: ArrayLike) -> Number:
        """Return a weighted sum over the last axis."""
        weights = np.asarray(weights, dtype=np.float64)
        parts = {name: part @ weights for name, part in self.parts.items()}
        return Number(np.asarray(self.value @ weights), parts)

    def __getitem__(self, place: int | slice | tuple[int | slice, ...]) -> Number:
        place = place if isinstance(place, tuple) else (place,)
        return Number(
            np.asarray(self.value[place]),
            {name: part[(slice(None), slice(None), *place)] for name, part in self.parts.items()},
        )

    @property
    def items(self) -> int:
        """Number of items in all groups."""
        return sum(len(part) for part in self.parts.values())

    @property
    def replicates(self) -> int:
        """Number of replicates."""
        return next(iter(self.parts.values())).shape[1]

    def spread(self) -> tuple[Array, Array]:
        """Return standard error and degrees of freedom, each of the shape of `value`.

        Degrees of freedom are NaN where nothing varies.

        Raises
        ------
        ValueError
            When a group has a single item.
        """
        zero = np.zeros_like(self.value, dtype=np.float64)
        items, freedom, rest, freedom_of_rest = zero, zero, zero, zero
        by_replicate = np.zeros((self.replicates, *zero.shape))
        for name, part in self.parts.items():
            size = len(part)
            if size < 2:
                raise ValueError(f"{name}: an interval over items needs at least two of them")
            of_item, of_replicate = part.mean(axis=1), part.mean(axis=0)
            square = of_item.var(axis=0, ddof=1) / size
            items, freedom = items + square, freedom + square**2 / (size - 1)
            by_replicate = by_replicate + of_replicate
            if self.replicates > 1:
                left = part - of_item[:, None] - of_replicate + part.mean(axis=(0, 1))
                count = (size - 1) * (self.replicates - 1)
                square = (left**2).sum(axis=(0, 1)) / count / (size * self.replicates)
                rest, freedom_of_rest = rest + square, freedom_of_rest + square**2 / count
        variance = items
        if self.replicates > 1:
            between = by_replicate.var(axis=0, ddof=1) / self.replicates
            beyond = between > rest
            variance = items + np.where(beyond, between - rest, 0)
            added = between**2 / (self.replicates - 1) + freedom_of_rest
            freedom = np.where(beyond, DAMPED**2 * freedom + added, freedom)
            counted = np.where(beyond, DAMPED * items + between - rest, items)
        else:
            counted = items
        # Values that are equal but for rounding do not vary.
        flat = np.sqrt(variance) <= TIE * np.abs(self.value)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(flat, 0, np.sqrt(variance)), np.where(
                flat, np.nan, counted**2 / freedom
            )

    def interval(self, level: float = LEVEL) -> tuple[Array, Array]:
        """Return the ends of the interval; both are `value` where nothing varies."""
        error, freedom = self.spread()
        reach = np.where(error > 0, stats.t.ppf((1 + level) / 2, freedom) * error, 0)
        return self.value - reach, self.value + reach

    def above(self, bound: float = 0.0) -> Array:
        """Return the one-sided p-value of "above `bound`"; NaN where nothing varies."""
        error, freedom = self.spread()
        with np.errstate(divide="ignore", invalid="ignore"):
            return stats.t.sf((self.value - bound) / error, freedom)

    def estimate(self, level: float = LEVEL) -> Estimate:
        """Return a single number with interval and p.

        Raises
        ------
        ValueError
            When these are several numbers.
        """
        return self.estimates(level)[0] if self.value.size == 1 else _several(self.value)

    def estimates(self, level: float = LEVEL) -> list[Estimate]:
        """Return every number with interval and p, in C order."""
        error, freedom = self.spread()
        ends = self.interval(level)
        p = np.minimum(1, 2 * self.above())
        columns = [np.ravel(column).tolist() for column in (self.value, *ends, p, error, freedom)]
        return [Estimate(*row, self.items, self.replicates) for row in zip(*columns, strict=True)]

    def equivalence(self, margin: float) -> Equivalence:
        """Test that a single number lies within +-`margin` (TOST at the 5 % level).

        Fix the margin before looking at the data. Failing this test does not show an effect, and
        an interval that holds zero does not show equivalence.

        Raises
        ------
        ValueError
            When the margin is not positive.
        """
        if not margin > 0:
            raise ValueError(f"the margin must be positive: {margin}")
        low, high = (float(end) for end in self.interval(0.90))
        p = float(np.maximum(self.above(-margin), (self * -1.0).above(-margin)))
        if math.isnan(p):
            p = float(abs(float(self.value)) >= margin)
        return Equivalence(low, high, margin, p, p <= 0.05)


def _several(value: Array) -> Estimate:
    raise ValueError(f"expected a single number, found shape {value.shape}")


def _sum(one: Number, other: Number | float, sign: float) -> Number:
    if not isinstance(other, Number):
        return Number(one.value + sign * other, one.parts)
    if one.replicates != other.replicates:
        raise ValueError(
            f"numbers differ in their replicates: {one.replicates} and {other.replicates}"
        )
    parts = dict(one.parts)
    for name, part in other.parts.items():
        if name in parts and len(parts[name]) != len(part):
            raise ValueError(f"{name}: {len(parts[name])} and {len(part)} items")
        parts[name] = parts[name] + sign * part if name in parts else sign * part
    return Number(one.value + sign * other.value, parts)


def mean(values: ArrayLike, group: str = "items") -> Number:
    """Return the mean over items and replicates.

    Parameters
    ----------
    values
        Shape (items,), or (items, replicates, ...): the mean has the shape of what follows. An
        item without a value under a replicate has NaN there and does not count.
    group
        Names the items: numbers of one group are calculated with item by item.

    Raises
    ------
    ValueError
        When there are no values, or one is infinite.
    """
    cube = np.asarray(values, dtype=np.float64)
    cube = cube[:, None] if cube.ndim == 1 else cube
    if cube.ndim < 2 or 0 in cube.shape:
        raise ValueError(f"expected values of shape (items, replicates, ...): {cube.shape}")
    there = ~np.isnan(cube)
    if np.isinf(cube).any() or not there.any(axis=(0, 1)).all():
        raise ValueError("every mean needs a value, and every value must be finite")
    value = np.where(there, cube, 0).sum(axis=(0, 1)) / there.sum(axis=(0, 1))
    weight = there / there.mean(axis=(0, 1))
    return Number(value, {group: np.where(there, cube - value, 0) * weight})


def difference(exposed: ArrayLike, twin: ArrayLike) -> Number:
    """Return the mean of exposed items minus that of twins; shapes as those of `mean`.

    Of changes (after - before) this is the difference in differences. The groups may differ in
    their number of items.
    """
    return mean(exposed, "exposed") - mean(twin, "twin")


def together(numbers: Mapping[str, Number]) -> tuple[str, Estimate]:
    """Return the smallest of several numbers that all have to be above 0, with the largest p.

    A claim of several parts holds where each of them does (an intersection-union test): it needs
    no correction, and it is as good as its worst part.
    """
    estimates = {name: number.estimate() for name, number in numbers.items()}
    # Of parts without any spread nothing is known.
    name = max(estimates, key=lambda name: (not math.isnan(estimates[name].p), estimates[name].p))
    return name, estimates[name]
