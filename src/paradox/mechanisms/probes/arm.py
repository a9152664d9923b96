"""What the page of an arm says of probes, from the files of that arm alone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from paradox.files import read_table
from paradox.pages.page import estimates


def probes(path: Path) -> pd.DataFrame:
    """Return, per position, the layer at which a probe tells most pairs apart."""
    rows = read_table(path, ["position", "layer", "pair_auc", "corrected", "pairs"])
    best = rows.loc[rows.groupby("position", sort=True)["pair_auc"].idxmax()]
    shown = estimates(best, {"pair_auc": "pairs told apart, %"})
    about = best[["position", "layer", "pairs"]].join(shown)
    return about.assign(**{"p, corrected for all layers": best["corrected"].map("{:.3g}".format)})
