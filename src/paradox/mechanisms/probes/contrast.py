"""Areas under the curve of the probes and changes by training, per arm and layer."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from paradox.files import read_table
from paradox.mechanisms.tables.pairs import ARM
from paradox.mechanisms.tables.words import CHANGE

AREA = "area"


def area_rows(paths: list[Path]) -> pd.DataFrame:
    """Return areas per arm, position and layer (-1 is the embedding), means over seeds."""
    key = [*ARM, "seed", "position", "layer"]
    columns = ["ridge_auc", "null_low", "null_high", "p", "corrected"]
    table = pd.concat([read_table(path, [*key, *columns]) for path in paths])
    table = table[[*key, *columns]].rename(columns={"ridge_auc": "value"})
    table["layer"] = table["layer"].astype(str).replace("emb", "-1").astype(int)
    # A mean of p-values is none; the largest says that every seed shows it.
    reductions = dict.fromkeys(["value", "null_low", "null_high"], "mean")
    reductions |= dict.fromkeys(["p", "corrected"], "max")
    means = table.groupby([*ARM, "position", "layer"], sort=True).agg(reductions).reset_index()
    return means.assign(low=float("nan"), high=float("nan"), quantity=AREA)


def change_rows(path: Path) -> pd.DataFrame:
    """Return the table of step ``probes_change`` in the form of `area_rows`: of trained arms."""
    columns = [*ARM, "position", "layer", "change", "low", "high", "p", "corrected"]
    table = read_table(path, columns)[columns].rename(columns={"change": "value"})
    table = table[table["method"] != "base"]
    return table.assign(null_low=float("nan"), null_high=float("nan"), quantity=CHANGE)


def area_contrast(paths: list[Path]) -> pd.DataFrame:
    """Return the tables of step ``probes`` in the form of a contrast table."""
    table = area_rows(paths)
    state = table["method"].map(lambda method: "base" if method == "base" else "after")
    new = {"component": table["position"], "measure": "ridge_auc", "state": state}
    return table.assign(**new, contrast="difference")
