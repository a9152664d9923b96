"""What the page of an arm says of labels, from the files of that arm alone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from paradox.files import read_table
from paradox.pages.page import estimates

RULE = {"precision": "precision, %", "recall": "recall, %", "false_positive": "false positives, %"}


def labels(path: Path) -> pd.DataFrame:
    """Return how many items of each exposure got each label."""
    rows = read_table(path, ["item", "group", "exposure", "posterior"])
    seen = rows["exposure"].map("seen {:g} times".format, na_action="ignore")
    seen = seen.where(rows["group"] == "exposed", "never-seen twins").fillna("exposed items")
    counts = pd.crosstab([rows["exposure"].fillna(-1), seen], rows["posterior"])
    counts = counts.reset_index(level=0, drop=True)
    counts.insert(0, "items", counts.sum(axis=1))
    return counts.rename_axis(columns=None).rename_axis(index="items seen").reset_index()


def rules(path: Path) -> pd.DataFrame:
    """Return, per rule, how many items it calls unlocked and how right it is."""
    rows = read_table(path, ["rule", "called_exposed", "called_twins", *RULE])
    counts = rows[["rule", "exposed", "twins", "called_exposed", "called_twins"]]
    heads = {"called_exposed": "exposed called leakage", "called_twins": "twins called leakage"}
    return counts.rename(columns=heads).join(estimates(rows, RULE))
