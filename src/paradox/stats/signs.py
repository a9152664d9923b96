"""Exact tests in which the training seed is the unit.

Seeds are few (8, say), so the sign test (do drifts go one way?) and the sign-flip test (is their
mean 0?) count every case. The interval of the mean is Student's: a nominal 95 % percentile
bootstrap covers about 90 % with 8 seeds. A drift is a mean over hundreds of items, hence close to
normal within a seed; strong skew between seeds would still mislead t.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

ALPHA = 0.05
# 2^20 sign patterns are counted in a moment.
MOST_SEEDS = 20


@dataclass(frozen=True)
class Signs:
    """Result of a two-sided sign test."""

    # Numbers of seeds; ties (exactly 0) say nothing about direction and are dropped
    positive: int
    negative: int
    ties: int
    p: float  # exact two-sided p-value; 1 when nothing is left

    @property
    def n(self) -> int:
        """Seeds that count."""
        return self.positive + self.negative


@dataclass(frozen=True)
class Mean:
    """A mean over seeds with Student's interval; the ends are NaN for a single seed."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Paired:
    """One method's drifts minus another's, seed by seed."""

    differences: tuple[float, ...]  # per seed, in the order of the seeds' numbers
    signs: Signs
    flip_p: float  # of the exact sign-flip test of the mean
    mean: Mean


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not array.size or not np.isfinite(array).all():
        raise ValueError(f"expected one finite value per seed, at least one: {array}")
    return array


def sign_test(values: ArrayLike) -> Signs:
    """Test that a seed drifts up as often as down.

    >>> sign_test([1, 2, 3, 4, 5, 6, 7, 8]).p
    0.0078125
    """
    array = _finite(values)
    up, down = int((array > 0).sum()), int((array < 0).sum())
    p = float(stats.binomtest(up, up + down).pvalue) if up + down else 1.0
    return Signs(up, down, len(array) - up - down, p)


def sign_power(n: int, probability: float, alpha: float = ALPHA) -> float:
    """Return how often the sign test rejects, in either direction, with `n` seeds without ties.

    `probability` is that of a seed to drift the predicted way.

    >>> round(sign_power(8, 0.5), 4)
    0.0078
    """
    ups = np.arange(n + 1)
    few = np.minimum(ups, n - ups)
    rejects = 2 * stats.binom.cdf(few, n, 0.5) <= alpha
    return float(stats.binom.pmf(ups, n, probability)[rejects].sum())


def detectable(n: int, power: float = 0.8, alpha: float = ALPHA) -> float:
    """Return the smallest probability of the predicted direction that is found with `power`.

    NaN when the sign test cannot reject with `n` seeds at all.

    >>> round(detectable(8), 3), detectable(5)
    (0.972, nan)
    """
    if sign_power(n, 1.0, alpha) < power:
        return math.nan
    return float(optimize.brentq(lambda q: sign_power(n, q, alpha) - power, 0.5, 1.0))


def flip_test(values: ArrayLike) -> float:
    """Return the exact two-sided p-value of a mean of 0, over all 2^n flips of signs.

    Valid when each value is as likely as its negative. More than `MOST_SEEDS` seeds are a
    `ValueError`.
    """
    array = _finite(values)
    if len(array) > MOST_SEEDS:
        raise ValueError(f"{len(array)} seeds are too many to count: at most {MOST_SEEDS}")
    sums = np.zeros(1)
    for value in np.abs(array):
        sums = np.concatenate([sums + value, sums - value])
    # Sums of the same values in another order differ by rounding.
    observed = abs(array.sum()) - 1e-9 * np.abs(array).sum()
    return float((np.abs(sums) >= observed).mean())


def seed_mean(values: ArrayLike, level: float = 0.95) -> Mean:
    """Return the mean over seeds with Student's interval.

    The interval has no width when all seeds agree to the last bit (a training that changed
    nothing): it then covers these seeds and says nothing about others.
    """
    array = _finite(values)
    n, middle = len(array), float(array.mean())
    if n == 1:
        return Mean(middle, math.nan, math.nan, 1)
    half = float(stats.t.ppf((1 + level) / 2, n - 1) * array.std(ddof=1) / math.sqrt(n))
    return Mean(middle, middle - half, middle + half, n)


def paired(one: Mapping[int, float], other: Mapping[int, float]) -> Paired:
    """Compare two methods seed by seed: `one` minus `other`; unlike seeds are a `ValueError`."""
    if set(one) != set(other):
        raise ValueError(f"the seeds differ: {sorted(one)} and {sorted(other)}")
    gaps = [one[seed] - other[seed] for seed in sorted(one)]
    return Paired(tuple(gaps), sign_test(gaps), flip_test(gaps), seed_mean(gaps))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values, in the order given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[int(place)] = largest
    return adjusted
