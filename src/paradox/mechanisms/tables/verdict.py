"""Words of verdicts and labels, and which blocks are in the middle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ALPHA = 0.05
MIDDLE, LATE = (0.25, 0.75), (0.75, 1.0)
LABELS = ["leakage", "stable", "degraded", "persistent"]
AMBIGUOUS = "ambiguous"
REPRODUCED, NOT, OPEN = "reproduced", "not reproduced", "not decidable"


def verdict(p: float, high: float, margin: float) -> str:
    """Return the verdict on a number that should be above 0.

    >>> verdict(0.01, 2.0, 0.1), verdict(0.6, 0.05, 0.1), verdict(0.3, 0.8, 0.1)
    ('reproduced', 'not reproduced', 'not decidable')
    """
    return REPRODUCED if p <= ALPHA else NOT if high < margin else OPEN


def inside(blocks: int, window: tuple[float, float]) -> NDArray[np.bool_]:
    """Return which blocks have their depth in a window.

    >>> np.flatnonzero(inside(6, MIDDLE)).tolist(), np.flatnonzero(inside(28, LATE)).tolist()
    ([1, 2, 3], [21, 22, 23, 24, 25, 26, 27])
    """
    depth = np.arange(1, blocks + 1) / blocks
    return (depth > window[0]) & (depth <= window[1])
