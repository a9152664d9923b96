"""How often calling items leakage is told from chance: the test whose error rates are counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from paradox.errors import DataError, problems
from paradox.files import read_table
from paradox.mechanisms.tables.pairs import ARM, Pairs
from paradox.mechanisms.tables.rates import Sides
from paradox.stats.rates import Test, paired


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
    """Return the test that exposed items are called so more, or less, than twins, in pairs."""
    return paired
