"""Step ``partial_prompts_summary``: completions of exposed items against twins, over all trainings.

Intervals and ``p`` (of "not 0") are of items crossed with replicates (`paradox.stats.crossed`). An
item is compared with its own twin, in pairs of which both questions were cut; where items have no
twins of their own, with all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from paradox.evaluate.arms import levels
from paradox.files import read_table, write_table
from paradox.mechanisms.tables.pairs import ARM
from paradox.progress import Progress
from paradox.stats.crossed import mean
from paradox.tasks.api import ITEM_COLUMNS

MEASURES = ["exact", "exact_greedy", "edit", "rouge", "nll", "lift"]


def main(
    spec: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write ``table`` from ``tables`` (``items`` of every arm) and ``items``.

    ``spec``: ``exposed_from``.
    """
    items = read_table(inputs["items"], ITEM_COLUMNS)
    columns = [*ARM, "seed", "item", "ratio", *MEASURES]
    tables = [read_table(Path(path), columns) for path in inputs["tables"]]
    rows: list[dict[str, Any]] = []
    for arm, table in pd.concat(tables).groupby(ARM, sort=True):
        key = dict(zip(ARM, arm, strict=True))
        rows += [key | row for row in contrasts(table, items, spec["exposed_from"])]
    write_table(outputs["table"], pd.DataFrame(rows))
    progress("arms", len(tables), len(tables))


def contrasts(
    table: pd.DataFrame, items: pd.DataFrame, exposed_from: int
) -> Iterator[dict[str, Any]]:
    """Yield exposed against twins in one arm, a row per ratio, measure and exposure level."""
    pair = items.set_index("item")["pair"]
    for ratio, cut in table.groupby("ratio", sort=True):
        chosen = levels(items, pd.Index(cut["item"]), exposed_from)
        twins = [level.items for level in chosen if level.group == "twin"]
        for level in (level for level in chosen if level.group == "exposed" and twins):
            names, paired = _sides(level.items, twins[0], pair)
            # A single item has no interval.
            for measure in MEASURES if min(map(len, names)) > 1 else ():
                wide = cut.pivot(index="item", columns="seed", values=measure)
                exposed, twin = (
                    mean(wide.loc[side], "pairs" if paired else group)
                    for side, group in zip(names, ("exposed", "twin"), strict=True)
                )
                numbers = {"exposed": exposed, "twin": twin, "difference": exposed - twin}
                row = {"ratio": ratio, "measure": measure, "level": level.name}
                row |= {"items": len(names[0]), "twins": len(names[1])}
                row |= {"replicates": exposed.replicates}
                for column, number in numbers.items():
                    one = number.estimate()
                    row |= {column: one.value, f"{column}_low": one.low, f"{column}_high": one.high}
                yield row | {"p": one.differs}


def _sides(exposed: pd.Index, twins: pd.Index, pair: pd.Series) -> tuple[list[list[str]], bool]:
    """Return exposed items and the twins that they are compared with, and whether one by one."""
    own = {pair[name]: name for name in twins if pd.notna(pair[name])}
    both = [name for name in exposed if pair[name] in own]
    if both:
        return [both, [own[pair[name]] for name in both]], True
    return [list(exposed), list(twins)], False
