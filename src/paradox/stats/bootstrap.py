"""Draws of items and seeds, for numbers that are no function of means to first order.

Means, their differences and ratios have `paradox.stats.crossed`; a crossing or a quantile has not.
Items are crossed with training seeds, so the pigeonhole bootstrap (Owen 2007) draws both
independently, with replacement, and weights the cell (item, seed) by the product of the counts.
Percentile intervals of one seed cover the choice of items only; of several, also that of seeds,
narrow for two or three. Where all items agree they have no width: use `binomial_interval`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from paradox.seeds import keyed_rng

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Resampling:
    """How to resample."""

    # Keys the random weights. Two estimates with the same seed use the same weights for the
    # same group of items, so their difference is paired.
    seed: int
    resamples: int = 2000
    level: float = 0.95  # coverage of the intervals, between 0 and 1


@dataclass(frozen=True)
class Proportion:
    """A share with its exact (Clopper-Pearson) interval; `n` is the number of trials."""

    value: float
    low: float
    high: float
    n: int


@lru_cache(maxsize=256)
def _weights(seed: int, what: str, size: int, resamples: int) -> Array:
    """Return multinomial weights, shape (resamples, size); each row has mean 1."""
    rng = keyed_rng(seed, "bootstrap", what, size)
    counts = rng.multinomial(size, np.full(size, 1 / size), size=resamples).astype(np.float64)
    counts.setflags(write=False)  # shared by every caller
    return counts


def _matrix(values: ArrayLike) -> Array:
    """Return values as (items, seeds)."""
    matrix = np.asarray(values, dtype=np.float64)
    matrix = matrix[:, None] if matrix.ndim == 1 else matrix
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(f"expected values of shape (items,) or (items, seeds): {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError("every item needs a finite value under every seed")
    return matrix


def pigeonhole(groups: Mapping[str, ArrayLike], resampling: Resampling) -> dict[str, Array]:
    """Return bootstrap draws of the mean of each group of items, each of shape (resamples,).

    Values have shape (items,) or (items, seeds), with the same seeds in the same order in all
    groups. Item weights differ between groups; seed weights are shared, because one training gives
    the values of all groups. A `ValueError` tells of a group that is empty, of a value that is not
    finite, and of unlike numbers of seeds.
    """
    matrices = {name: _matrix(values) for name, values in groups.items()}
    seeds = {matrix.shape[1] for matrix in matrices.values()}
    if len(seeds) != 1:
        raise ValueError(f"groups differ in their number of seeds: {sorted(seeds)}")
    of_seeds = _weights(resampling.seed, "seeds", seeds.pop(), resampling.resamples)
    draws = {}
    for name, matrix in matrices.items():
        of_items = _weights(resampling.seed, f"items {name}", len(matrix), resampling.resamples)
        draws[name] = ((of_items @ matrix) * of_seeds).sum(axis=1) / matrix.size
    return draws


def interval(draws: Array, level: float) -> tuple[Array, Array]:
    """Return the ends of the percentile interval along the first axis."""
    tail = (1 - level) / 2
    low, high = np.quantile(draws, [tail, 1 - tail], axis=0)
    return low, high


def binomial_interval(successes: int, trials: int, level: float = 0.95) -> Proportion:
    """Return a share with its exact (Clopper-Pearson) interval.

    The trials must be independent: count items, not samples of an item.
    """
    result = stats.binomtest(int(successes), int(trials))
    ci = result.proportion_ci(confidence_level=level, method="exact")
    return Proportion(successes / trials, float(ci.low), float(ci.high), int(trials))


def share_interval(value: float, low: float, high: float, trials: int) -> tuple[float, float]:
    """Return the interval of a share; where all trials agree, the bootstrap's has no width.

    Then it is the exact one. What is not a share, or has no trials, keeps its interval.

    >>> [round(end, 3) for end in share_interval(0.0, 0.0, 0.0, 32)]
    [0.0, 0.109]
    >>> share_interval(0.5, 0.2, 0.8, 32)
    (0.2, 0.8)
    """
    if low != high or not trials or not 0 <= value <= 1:
        return low, high
    exact = binomial_interval(round(value * trials), trials)
    return exact.low, exact.high


def chance_range(trials: int, chance: float, level: float = 0.95) -> tuple[float, float]:
    """Return the shares that guessing gives with a probability of at least `level`.

    Each end cuts off at most (1 - level) / 2. A share outside the range differs from chance. Trials
    are items, each answered once; `chance` is the probability that a guess is right.
    """
    tail = (1 - level) / 2
    low, high = stats.binom.ppf([tail, 1 - tail], trials, chance)
    return float(low) / trials, float(high) / trials
