"""How often calling items leakage is told from chance: the test whose error rates are counted."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paradox.errors import DataError, problems
from paradox.files import read_table
from paradox.mechanisms.tables.pairs import ARM, Array, Pairs
from paradox.mechanisms.tables.rates import Sides
from paradox.stats.bootstrap import binomial_interval
from paradox.stats.rates import Test


def sides(paths: list[Path], measures: list[str], pairs: Pairs) -> Iterator[Sides]:
    """Yield what every rule calls leakage."""
    every = np.ones(len(pairs.names), dtype=bool)
    for path in paths:
        table = read_table(path, [*ARM, "seed", "item", "posterior"])
        lost = sorted(set(pairs.items) - set(table["item"]))
        if lost or table["item"].duplicated().any():
            raise DataError(
                problems(
                    f"{path}: every item needs one row of labels",
                    [f"item {name!r} has none" for name in lost[:3]] or ["an item has several"],
                )
            )
        arm = tuple(table[ARM].iloc[0])
        # A rule that repeats on another half has columns of its own for the halves.
        for rule in (c.removesuffix("_change") for c in table if c.endswith("_change")):
            called = (table.set_index("item")[rule] == "leakage").loc[pairs.items]
            values = pairs.sides(called.to_numpy(float))
            name = ("labels", rule, "leakage", *arm, "change")
            yield Sides(name, str(table["seed"].iloc[0]), values, every, [0])


def test(permutations: int) -> Test:
    """Return the test that the interval of a precision leaves out 1/2; it relabels nothing."""
    return by_precision


def by_precision(samples: Array, _: np.random.Generator) -> NDArray[np.bool_]:
    """Return where the interval of the precision of calling items exposed leaves out 1/2."""
    totals = samples[..., 0].sum(axis=1).astype(int)
    return np.array([_off(int(exposed), int(twins)) for exposed, twins in totals])


@lru_cache(maxsize=4096)
def _off(true: int, false: int) -> bool:
    if not true + false:
        return False
    precision = binomial_interval(true, true + false)
    return not precision.low <= 0.5 <= precision.high
