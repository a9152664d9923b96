"""Areas under the curve of the probes, per arm and layer, over training seeds."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from paradox.files import read_table
from paradox.mechanisms.tables.pairs import ARM
from paradox.mechanisms.tables.words import CHANGE

AREA = "area"
MEANS = ["value", "low", "high", "null_low", "null_high"]


def area_rows(paths: list[Path]) -> pd.DataFrame:
    """Return areas per arm, position and layer (-1 is the embedding), over seeds."""
    names = {"ridge_auc": "value"}
    columns = ["ridge_auc", "null_low", "null_high", "p", "corrected"]
    table = _read(paths, columns).rename(columns=names)
    return _over_seeds(table.assign(low=float("nan"), high=float("nan")), AREA)


def change_rows(paths: list[Path]) -> pd.DataFrame:
    """Return changes of trained arms, as `area_rows`."""
    table = _read(paths, ["change", "low", "high", "p", "corrected"])
    table = table[table["method"] != "base"].rename(columns={"change": "value"})
    return _over_seeds(table.assign(null_low=float("nan"), null_high=float("nan")), CHANGE)


def area_contrast(paths: list[Path]) -> pd.DataFrame:
    """Return the tables of step ``probes`` in the form of a contrast table."""
    table = area_rows(paths)
    state = table["method"].map(lambda method: "base" if method == "base" else "after")
    new = {"component": table["position"], "measure": "ridge_auc", "state": state}
    return table.assign(**new, contrast="difference")


def _read(paths: list[Path], columns: list[str]) -> pd.DataFrame:
    key = [*ARM, "seed", "position", "layer"]
    table = pd.concat([read_table(path, [*key, *columns]) for path in paths])
    layer = table["layer"].astype(str).replace("emb", "-1").astype(int)
    return table[[*key, *columns]].assign(layer=layer)


def _over_seeds(table: pd.DataFrame, quantity: str) -> pd.DataFrame:
    # A mean of p-values is none; the largest says that every seed shows it.
    reductions = {**dict.fromkeys(MEANS, "mean"), "p": "max", "corrected": "max"}
    means = table.groupby([*ARM, "position", "layer"], sort=True).agg(reductions).reset_index()
    return means.assign(quantity=quantity)
