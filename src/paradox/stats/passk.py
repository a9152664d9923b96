"""pass@k: the probability that at least one of k samples is right, and where two curves cross.

With c of n samples right, 1 - C(n - c, k) / C(n, k) is unbiased for every k <= n. Items are
averaged, and the item (or the pair) is the unit of every interval. Guessing at a rate g gives 1 -
(1 - g)^k; an item whose rate is p shows up as solvable among n samples with probability 1 - (1 -
p)^n.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paradox.seeds import Key
from paradox.stats.layers import LayerTest, label_test
from paradox.stats.ratios import Drawn

Array = NDArray[np.float64]
# Kinds of a crossing.
CROSSES, ABOVE, BELOW, EQUAL = "crosses", "above", "below", "equal"


@dataclass(frozen=True)
class Crossing:
    """Where a curve falls below another one that it starts above."""

    # ``crosses``; ``above``: starts above and never falls below; ``below``: starts below;
    # ``equal``: no difference at the start
    kind: str
    # Where, on a logarithmic scale between two of the ks; infinite for ``above``, 0 for
    # ``below``, NaN for ``equal``
    k: float
    # Ends of the percentile interval over the draws, of which one may be infinite (no crossing
    # up to the largest k) or 0 (below from the start)
    low: float
    high: float
    share: float  # of the draws that cross


def powers(samples: int) -> list[int]:
    """Return 1, 2, 4, ... and the number of samples.

    >>> powers(64)[-2:], powers(20)
    ([32, 64], [1, 2, 4, 8, 16, 20])
    """
    return [*(2**n for n in range(samples.bit_length()) if 2**n < samples), samples]


def pass_at_k(right: ArrayLike, samples: int, ks: list[int]) -> Array:
    """Return pass@k of every count of right samples; the last axis is `ks`.

    A count that is not within 0 and `samples`, or a k not within 1 and `samples`, is a
    `ValueError`.
    """
    counts = np.asarray(right)
    whole = counts.astype(np.int64)
    if (whole != counts).any() or (whole < 0).any() or (whole > samples).any():
        raise ValueError(f"counts of right samples must be whole and within 0 and {samples}")
    if not ks or min(ks) < 1 or max(ks) > samples:
        raise ValueError(f"every k must be within 1 and {samples}, the samples per item: {ks}")
    # Factor by factor instead of by binomials, which are too large for floating point. Row c:
    # the share of subsets without any of c right samples is that of row c - 1, times 1 - k/i.
    number = np.array(ks, dtype=np.float64)
    factors = np.clip(1 - number / np.arange(samples, 0, -1)[:, None], 0, None)
    none = np.vstack([np.ones(len(ks)), np.cumprod(factors, axis=0)])
    return 1 - none[whole]


def crossing(difference: Drawn, ks: list[int], level: float = 0.95) -> Crossing:
    """Return where one pass@k curve falls below another.

    `difference` is the first curve minus the second, per k; `ks` increase.
    """
    place = _place(difference.value[None], ks)[0]
    drawn = _place(difference.draws, ks)
    # Draws without a difference at the start say nothing about where.
    known = np.sort(drawn[~np.isnan(drawn)])
    ends = [math.nan, math.nan]
    if len(known):
        tail = (1 - level) / 2
        # Order statistics, since nothing can be interpolated up to infinity.
        ends = [float(known[round(q * (len(known) - 1))]) for q in (tail, 1 - tail)]
    kinds = {0.0: BELOW, math.inf: ABOVE}
    kind = EQUAL if math.isnan(place) else kinds.get(float(place), CROSSES)
    share = float(((drawn > 0) & np.isfinite(drawn)).mean())
    return Crossing(kind, float(place), *ends, share)


def _place(curves: Array, ks: list[int]) -> Array:
    """Return the crossing of every row: 0, infinite, NaN, or a k."""
    logs = np.log(ks)
    below = curves < 0
    first = below.argmax(axis=1)
    places = np.full(len(curves), np.inf)
    rows = np.flatnonzero(below.any(axis=1) & (first > 0))
    right = first[rows]
    high, low = curves[rows, right - 1], curves[rows, right]
    share = high / (high - low)
    places[rows] = np.exp(logs[right - 1] + share * (logs[right] - logs[right - 1]))
    places[curves[:, 0] < 0] = 0
    places[curves[:, 0] == 0] = np.nan
    return places


def swap_test(
    after: ArrayLike,
    before: ArrayLike,
    *key: Key,
    permutations: int,
    two_sided: bool = True,
    level: float = 0.95,
) -> LayerTest:
    """Test that two curves differ, by swapping them within items; the largest k has to be beaten.

    `after` and `before` have shape (items, ks), in the same order of items.
    """
    both = np.concatenate([np.asarray(after), np.asarray(before)])
    count = len(both) // 2
    return label_test(
        both,
        np.arange(len(both)) < count,
        *key,
        pairs=[str(n) for n in range(count)] * 2,
        permutations=permutations,
        two_sided=two_sided,
        level=level,
    )
