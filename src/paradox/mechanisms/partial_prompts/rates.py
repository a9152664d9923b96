"""How often completions of exposed items are told from twins': the test whose rates are counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from paradox.files import read_table
from paradox.mechanisms.tables.pairs import ARM, Pairs
from paradox.mechanisms.tables.rates import Sides
from paradox.stats.rates import Test, paired


def sides(paths: list[Path], measures: list[str], pairs: Pairs) -> Iterator[Sides]:
    """Yield every ratio and measure, of pairs of which both questions were cut."""
    for path in paths:
        table = read_table(path, [*ARM, "seed", "item", "ratio", *measures])
        for (*arm, seed, ratio), cut in table.groupby([*ARM, "seed", "ratio"], sort=True):
            wide = cut.set_index("item")[measures].reindex(pairs.items)
            both = pairs.sides(wide.to_numpy(float))
            inside = np.isfinite(both).all(axis=(1, 2))
            state = "base" if arm[1] == "base" else "after"
            for place, measure in enumerate(measures):
                name = ("partial_prompts", str(ratio), measure, *arm, state)
                yield Sides(name, str(seed), both[inside][:, :, [place]], inside, [0])


def test(permutations: int) -> Test:
    """Return the test of one ratio and measure; it relabels nothing."""
    return paired
