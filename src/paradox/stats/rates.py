"""How often tests reject: where labels are permuted, and where pairs are drawn anew.

Data are `sides` of shape (pairs, 2, layers): what the exposed item and its twin have. A *test*
takes many such data at once, shape (runs, pairs, 2, layers), and a generator, and says which it
rejects. Each run draws its own permutations: ranks within one shared set would reject the stated
share by construction. With permuted labels a test at the 5 % level may reject in 5 % of runs, fewer
where values are discrete and tie. Power is that of pairs like those observed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from paradox.seeds import Key, keyed_rng
from paradox.stats.crossed import mean
from paradox.stats.layers import TIE

Array = NDArray[np.float64]
Test = Callable[[Array, np.random.Generator], NDArray[np.bool_]]
ALPHA = 0.05
CHUNK = 25  # runs at a time; a table of their relabellings has some megabytes


def false_positives(test: Test, sides: Array, *key: Key, runs: int) -> int:
    """Return how many of `runs` relabellings (sides swapped within pairs) are rejected."""
    rng = keyed_rng("false positives", *key)
    swap = rng.integers(0, 2, (runs, len(sides), 1, 1)) == 1
    return int(test(np.where(swap, sides[:, ::-1], sides), rng).sum())


def power(test: Test, sides: Array, *key: Key, runs: int, pairs: int) -> int:
    """Return how many of `runs` draws of `pairs` pairs, with replacement, are rejected."""
    rng = keyed_rng("power", *key, pairs)
    return int(test(sides[rng.integers(0, len(sides), (runs, pairs))], rng).sum())


def largest_layer(permutations: int) -> Test:
    """Return the test that some layer differs: labels swapped within pairs, largest layer."""

    def test(samples: Array, rng: np.random.Generator) -> NDArray[np.bool_]:
        differences = samples[:, :, 0] - samples[:, :, 1]
        rejected = []
        for start in range(0, len(samples), CHUNK):
            part = differences[start : start + CHUNK]
            shape = (len(part), permutations, part.shape[1])
            signs = rng.integers(0, 2, shape, dtype=np.int8) * 2.0 - 1
            rejected.append(overall(part, signs) <= ALPHA)
        return np.concatenate(rejected)

    return test


def paired(samples: Array, _: np.random.Generator) -> NDArray[np.bool_]:
    """Return where exposed items differ from their twins (`paradox.stats.crossed`, one replicate).

    It relabels nothing and looks at one layer.
    """
    if samples.shape[1] < 2:
        return np.zeros(len(samples), dtype=bool)
    gaps = (samples[:, :, 0, 0] - samples[:, :, 1, 0]).T
    return np.array([each.differs <= ALPHA for each in mean(gaps[:, None]).estimates()])


def overall(differences: Array, signs: Array) -> Array:
    """Return `max_test(...).overall` of many data at once, shape (runs,).

    `differences` has shape (runs, pairs, layers), `signs`, the relabellings of each run, (runs,
    permutations, pairs).
    """
    null = signs @ differences / differences.shape[1]
    pool = np.concatenate([differences.mean(axis=1)[:, None], null], axis=1)
    middle, spread = pool.mean(axis=1, keepdims=True), pool.std(axis=1, keepdims=True)
    moves = spread > TIE * np.abs(pool).max(axis=1, keepdims=True)
    size = np.abs((pool - middle) / np.where(moves, spread, 1.0) * moves)
    top = size.max(axis=2)
    return (top >= top[:, :1] - TIE).mean(axis=1)
