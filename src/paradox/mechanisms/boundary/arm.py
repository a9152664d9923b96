"""What the page of an arm says of what is solved, from the files of that arm alone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from paradox.files import read_table


def boundary(path: Path) -> pd.DataFrame:
    """Return the share of right answers in one try and in all, by who answers."""
    rows = read_table(path, ["source", "group", "item", "samples", "right"])
    rows = rows.assign(share=rows["right"] / rows["samples"], any=rows["right"] > 0)
    found = rows.groupby(["source", "group"], sort=True).agg(
        items=("item", "nunique"),
        tries=("samples", "min"),
        one=("share", "mean"),
        any=("any", "mean"),
    )
    shown = found.reset_index()
    for name in ("one", "any"):
        shown[name] = [f"{100 * value:.1f}" for value in shown[name]]
    return shown.rename(columns={"one": "right in one try, %", "any": "right in any try, %"})
