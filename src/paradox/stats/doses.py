"""Does a response rise with the dose? Numbers of single items, and how they are tested.

Page's L adds up, over items, the products of a dose's rank and its response's rank. Its usual null,
all orders within an item alike, does not hold: responses to close doses are alike, so that curves
of nothing rise or fall as a whole. Here an item has its own `trend` (L, scaled to -1 .. 1), and
tests relabel items or swap pairs (`paradox.stats.layers.label_test`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression
from scipy.stats import rankdata

Array = NDArray[np.float64]


def trend(responses: ArrayLike) -> Array:
    """Return the rank correlation of response and dose, an item's part of Page's L.

    Doses rise along the last axis, which is lost. From -1 (falls at every step) to 1 (rises at
    every step), 0 where all are equal.

    >>> trend([[1.0, 2.0, 5.0], [3.0, 3.0, 3.0], [2.0, 1.0, 0.0]]).tolist()
    [1.0, 0.0, -1.0]
    """
    ranks = rankdata(np.asarray(responses, dtype=np.float64), axis=-1)
    ranks = ranks - ranks.mean(axis=-1, keepdims=True)
    doses = np.arange(ranks.shape[-1]) - (ranks.shape[-1] - 1) / 2
    size = np.sqrt((ranks**2).sum(axis=-1) * (doses**2).sum())
    return np.where(size > 0, (ranks * doses).sum(axis=-1) / np.where(size > 0, size, 1), 0.0)


def rise(responses: ArrayLike) -> Array:
    """Return how far the best rising curve rises, minus how far the best falling one falls.

    Both are isotonic least-squares fits along the last axis.

    >>> rise([[0.0, 1.0, 3.0], [3.0, 1.0, 0.0]]).tolist()
    [3.0, -3.0]
    """
    matrix = np.asarray(responses, dtype=np.float64)
    ends = []
    for increasing in (True, False):
        rows = matrix.reshape(-1, matrix.shape[-1])
        fits = (isotonic_regression(row, increasing=increasing).x for row in rows)
        ends.append(np.array([fit[-1] - fit[0] for fit in fits]).reshape(matrix.shape[:-1]))
    return ends[0] + ends[1]
