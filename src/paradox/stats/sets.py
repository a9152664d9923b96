"""How alike two sets of the same size are, beside chance."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy import stats


def jaccard(one: Iterable[int], two: Iterable[int]) -> float:
    """Return the share of all members that both sets have.

    >>> jaccard([1, 2, 3], [2, 3, 4])
    0.5
    """
    left, right = set(one), set(two)
    return len(left & right) / max(len(left | right), 1)


def expected_jaccard(population: int, size: int) -> float:
    """Return the mean `jaccard` of two random sets of `size` (the overlap is hypergeometric).

    >>> round(expected_jaccard(2, 1), 3)
    0.5
    """
    common = np.arange(size + 1)
    chance = stats.hypergeom(population, size, size).pmf(common)
    return float((chance * common / (2 * size - common)).sum())
