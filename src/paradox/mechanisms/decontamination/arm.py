"""What the page of an arm says of decontamination, from the files of that arm alone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from paradox.files import read_table


def decontamination(path: Path) -> pd.DataFrame:
    """Return, per way and dose, what is left of recall of exposed items and of worked chains."""
    rows = read_table(path, ["way", "dose", "alpha", "what", "correct", "group"])
    recall = rows[(rows["what"] == "recall") & (rows["group"] == "exposed")]
    key = ["way", "dose", "alpha"]
    chains = rows[rows["what"] == "chain"]
    left = {"exposed items recalled, %": recall, "chains worked out, %": chains}
    shares = {name: 100 * part.groupby(key)["correct"].mean() for name, part in left.items()}
    table = pd.DataFrame(shares)
    for name in left:
        table[name] = table[name].map("{:.1f}".format)
    return table.reset_index()
