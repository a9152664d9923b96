"""The rule of verdicts, the words of verdicts and labels, and which blocks are in the middle."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from paradox.stats.crossed import Estimate

ALPHA = 0.05
# Depth of block l of L is (l + 1) / L. The published anchor, blocks 18 to 20 of 28, is at .68 to
# .75, its adapters after it.
MIDDLE, ANCHOR, LATE = (0.25, 0.75), (0.65, 0.75), (0.75, 1.0)
LABELS = ["leakage", "stable", "degraded", "persistent"]
AMBIGUOUS = "ambiguous"
REPRODUCED, NEGLIGIBLE = "reproduced", "present but negligible"
NOT, OPEN = "not reproduced", "not decidable"
# Of a published claim that these organisms or this grid could not show, whatever happened.
UNTESTABLE = "not testable here"
VERDICTS = (REPRODUCED, NEGLIGIBLE, NOT, OPEN)
# Why a claim is not decidable, where no data could have decided it.
CEILING, FLOOR = "no room: at the ceiling", "no room: at the floor"
NO_GAP = "no gap to take a share of"
NOT_THERE = "what is to be undone is not there"
GUESSING = "guessing alone would pass"
TOO_FEW = "the smallest possible p is above .05"
NO_SPREAD = "nothing varies between items"
NO_BLOCK = "no block at that depth"
LAST_BLOCK = "no block after it"
FEW_CASES = "too few items that it is about"
ONE_TOKEN = "an answer of one token is written last in any case"
WIDE = "the interval is too wide"
SETS = "random sets do as much"


def verdict(
    estimate: Estimate, margin: float, rank: float = 0.0, unable: str = ""
) -> tuple[str, str]:
    """Return the verdict on a number that a claim says is above 0, and the reason if it is open.

    *Reproduced*: interval above 0, value above the margin, p at most .05. *Present but
    negligible*: interval above 0 and below the margin. *Not reproduced*: interval below the
    margin. Else *not decidable*. Of a number that was looked for in several places, lower end and
    p are corrected for them (`among`), so that one never says what the other denies.

    Parameters
    ----------
    margin
        Up to which the number counts as none, in its unit; NaN: there is nothing to say it by.
    rank
        Where random sets have to be beaten as well: the share of them that does as much.
    unable
        Why these data could not decide, whatever they were.

    >>> from paradox.stats.crossed import mean
    >>> verdict(mean([1.0, 1.2, 0.9, 1.1]).estimate(), 0.1)
    ('reproduced', '')
    >>> verdict(mean([0.01, 0.02, 0.03]).estimate(), 0.1)[0]
    'not reproduced'
    >>> verdict(mean([0.02, 0.03, 0.04, 0.03]).estimate(), 0.1)[0]
    'present but negligible'
    >>> verdict(mean([1.0, 1.2, 0.9, 1.1]).estimate(), 0.1, rank=0.2)
    ('not decidable', 'random sets do as much')
    >>> verdict(mean([1.0, 1.2, 0.9, 1.1]).estimate(), 0.1, unable=CEILING)
    ('not decidable', 'no room: at the ceiling')
    """
    unable = unable or (NO_GAP if math.isnan(margin) else "")
    # A number that is the same for every item and replicate has no interval to judge by.
    unable = unable or ("" if estimate.se > 0 else NO_SPREAD)
    if unable:
        return OPEN, unable
    if estimate.high < margin:
        return (NEGLIGIBLE if estimate.low > 0 and rank <= ALPHA else NOT), ""
    if estimate.low > 0 and estimate.value > margin:
        return (REPRODUCED, "") if rank <= ALPHA else (OPEN, SETS)
    return OPEN, WIDE


def judged(
    estimate: Estimate, margin: float, rank: float = 0.0, unable: str = ""
) -> dict[str, Any]:
    """Return the columns that every table of verdicts has; parameters as those of `verdict`."""
    word, reason = verdict(estimate, margin, rank, unable)
    row = {"effect": estimate.value, "low": estimate.low, "high": estimate.high}
    row |= {"p": estimate.p, "margin": margin}
    row |= {"items": estimate.items, "replicates": estimate.replicates}
    return row | {"verdict": word, "reason": reason}


def worst(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return that of the rows of a claim's parts which says least for it.

    A claim of several parts holds where each of them does, so it is as good as its worst part and
    needs no correction for their number (an intersection-union test). A part that is not
    reproduced decides; without one, a part that cannot be decided.
    """
    doubt = [REPRODUCED, NEGLIGIBLE, OPEN, NOT]
    return max(
        rows,
        key=lambda row: (
            doubt.index(row["verdict"]),
            -math.inf if math.isnan(row["p"]) else row["p"],
        ),
    )


def best(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return that of the rows of a claim's places which says most for it.

    A claim that something is so at some place is not reproduced where it is so at no place. Its
    lower end and p have to be corrected for the number of places (`among`).
    """
    hope = [REPRODUCED, OPEN, NEGLIGIBLE, NOT]
    return min(
        rows,
        key=lambda row: (
            hope.index(row["verdict"]),
            math.inf if math.isnan(row["p"]) else row["p"],
            -row["effect"],
        ),
    )


def among(one: Estimate, places: int) -> Estimate:
    """Return a number with its lower end and p corrected for the places it was looked for in.

    Bonferroni's correction of both, so that they do not contradict each other. The upper end
    stays: that a number is small at *every* place needs no correction.
    """
    if not one.se > 0:
        return one
    reach = float(stats.t.ppf(1 - ALPHA / 2 / places, one.df) * one.se)
    return replace(one, low=one.value - reach, p=min(1.0, places * one.p))


def spared(
    items: int, replicates: int, margin: float, lost: bool = False, places: int = 1
) -> Estimate:
    """Return what is left of a margin where not one of so many items changed (exact binomial).

    `lost`: instead, every one did.

    Replicates do not count as more items. p is twice the chance of no change, were the share of
    those that change as large as the margin. The lower end and p are corrected for `places`.

    >>> one = spared(40, 3, 0.1)
    >>> round(one.low, 3), round(one.p, 3)
    (0.012, 0.03)
    """
    if lost:
        reach = 1 - 0.025 ** (1 / items)
        ends = margin - 1, margin - 1 + reach
        return Estimate(ends[0], *ends, 1.0, reach / 2, math.inf, items, replicates)
    reach = 1 - (0.025 / places) ** (1 / items)
    p = min(1.0, 2 * places * (1 - margin) ** items)
    return Estimate(margin, margin - reach, margin, p, reach / 2, math.inf, items, replicates)


def inside(blocks: int, window: tuple[float, float]) -> NDArray[np.bool_]:
    """Return which blocks have their depth in a window.

    >>> np.flatnonzero(inside(6, MIDDLE)).tolist(), np.flatnonzero(inside(28, LATE)).tolist()
    ([1, 2, 3], [21, 22, 23, 24, 25, 26, 27])
    >>> np.flatnonzero(inside(6, ANCHOR)).tolist(), np.flatnonzero(inside(28, ANCHOR)).tolist()
    ([3], [18, 19, 20])
    """
    depth = np.arange(1, blocks + 1) / blocks
    return (depth > window[0]) & (depth <= window[1])
