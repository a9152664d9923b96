"""What the page of an arm says of what is solved, from the files of that arm alone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from paradox.files import read_table


def boundary(path: Path) -> pd.DataFrame:
    """Return the share of right answers in one try and in all, by who answers."""
    rows = read_table(path, ["source", "group", "item", "samples", "right"])
    rows = rows.assign(share=rows["right"] / rows["samples"], any=rows["right"] > 0)
    grouped = rows.groupby(["source", "group"], sort=True)
    table = grouped.agg(
        items=("item", "nunique"),
        tries=("samples", "min"),
        one=("share", "mean"),
        any=("any", "mean"),
    ).reset_index()
    for name in ("one", "any"):
        table[name] = [f"{100 * value:.1f}" for value in table[name]]
    return table.rename(columns={"one": "right in one try, %", "any": "right in any try, %"})
