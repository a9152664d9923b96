"""What the page of an arm says of partial prompts, from the files of that arm alone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from paradox.files import read_table
from paradox.pages.page import estimates


def partial_prompts(path: Path) -> pd.DataFrame:
    """Return, per share of the question, how often its rest is completed word by word."""
    rows = read_table(path, ["ratio", "measure", "level", "exposed", "twin", "difference", "p"])
    rows = rows[(rows["measure"] == "exact_greedy") & (rows["level"] == "exposed")]
    heads = {"exposed": "exposed, %", "twin": "twins, %", "difference": "difference, points"}
    about = rows[["ratio", "items", "twins"]].rename(columns={"ratio": "share of the question"})
    return about.join(estimates(rows, heads)).assign(p=rows["p"].map("{:.3g}".format))
