"""Step ``labels_summary``: what every rule calls exposed items and twins, over all trainings.

Shares are of items crossed with replicates (`paradox.stats.crossed`); where all have one label, the
interval is the exact one of as many items. ``unchanged``: the share had nothing changed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from paradox.evaluate.arms import levels, read_items
from paradox.files import read_table, write_table
from paradox.mechanisms.tables.pairs import ARM
from paradox.mechanisms.tables.verdict import AMBIGUOUS, LABELS
from paradox.progress import Progress
from paradox.stats.bootstrap import share_interval
from paradox.stats.crossed import mean


def main(
    spec: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write ``table`` from ``tables`` (``labels`` of every arm) and ``items``.

    ``spec``: ``exposed_from``.
    """
    items = read_items(inputs["items"])
    tables = [read_table(Path(path), [*ARM, "seed", "item"]) for path in inputs["tables"]]
    rows: list[dict[str, Any]] = []
    for arm, labels in pd.concat(tables).groupby(ARM, sort=True):
        key = dict(zip(ARM, arm, strict=True))
        rows += [key | row for row in confusion(labels, items, spec["exposed_from"])]
    write_table(outputs["table"], pd.DataFrame(rows))
    progress("arms", len(tables), len(tables))


def confusion(table: pd.DataFrame, items: pd.DataFrame, exposed_from: int) -> list[dict[str, Any]]:
    """Return how many items of each exposure level every rule gives each label, in one arm."""
    rows = []
    for rule in (name.removesuffix("_change") for name in table if name.endswith("_change")):
        called = table.pivot(index="item", columns="seed", values=rule)
        nothing = None
        if f"{rule}_unchanged" in table:
            nothing = table.groupby("item")[f"{rule}_unchanged"].mean()
        for level in levels(items, called.index, exposed_from):
            inside = called.loc[level.items]
            for label in [*LABELS, AMBIGUOUS]:
                share = mean(inside == label).estimate()
                low, high = share_interval(share.value, share.low, share.high, share.items)
                row = {"rule": rule, "label": label, "level": level.name, "group": level.group}
                row |= {"items": share.items, "replicates": share.replicates}
                row |= {"share": share.value, "low": low, "high": high}
                has = nothing is not None and label == LABELS[0]
                rows.append(row | {"unchanged": nothing[level.items].mean() if has else None})
    return rows
