"""Step ``probes_figure``: at which depth exposed items can be told from their twins.

A row per position; two columns per base: the area under the curve of the ridge probe with the
widest of its nulls (the middle 95 % at each layer by itself), and how training changed the share
of pairs told apart. Depth 0 is the mean of the question's embeddings: what the words alone give
away.

How to read it: an area of 1/2 is guessing. Markers are filled where p, corrected for looking at
all layers, is at most .05 with every seed; values and intervals are means over seeds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from paradox.figures import style
from paradox.figures.kit import (
    CHANGE,
    arm_handles,
    arm_looks,
    depth_axis,
    legend,
    null_handles,
    panel,
    with_depth,
)
from paradox.files import read_table
from paradox.mechanisms.tables.pairs import ARM
from paradox.progress import Progress

AREA = "area"
PLACES = {"answer": "Where the answer\nis predicted", "question": "Mean over the\nquestion"}
TITLES = {AREA: "area under curve", CHANGE: "change of pairs"}
MEANS = ["value", "low", "high", "null_low", "null_high"]


def main(
    spec: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Path], progress: Progress
) -> None:
    """Draw the figure.

    Parameters
    ----------
    spec
        Empty: the tables say all.
    inputs
        ``tables`` and ``changes``: what step ``probes`` wrote, lists of a file per arm.
    outputs
        ``svg``, ``png`` and ``csv`` (the plotted numbers). Equal tables give equal bytes.
    """
    areas = area_rows([Path(path) for path in inputs["tables"]])
    changes = change_rows([Path(path) for path in inputs["changes"]])
    table = with_depth(pd.concat([areas, changes], ignore_index=True))
    with style.style():
        style.save(draw(table), table, outputs)
    progress.say(f"drew probes from {len(table)} rows")


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


def _read(paths: list[Path], columns: list[str]) -> pd.DataFrame:
    key = [*ARM, "seed", "position", "layer"]
    table = pd.concat([read_table(path, [*key, *columns]) for path in paths])
    layer = table["layer"].astype(str).replace("emb", "-1").astype(int)
    return table[[*key, *columns]].assign(layer=layer)


def _over_seeds(table: pd.DataFrame, quantity: str) -> pd.DataFrame:
    # A mean of p-values is none; the largest says that every seed shows it.
    how = {**dict.fromkeys(MEANS, "mean"), "p": "max", "corrected": "max"}
    found = table.groupby([*ARM, "position", "layer"], sort=True).agg(how).reset_index()
    return found.assign(quantity=quantity)


def draw(table: pd.DataFrame) -> Figure:
    """Draw the figure: a row per position, areas and changes of each base."""
    table = table.assign(name=style.arm_names(table))
    bases = style.bases_in_order(table["base"])
    looks = arm_looks(style.name_order(table))
    figure, axes = style.grid(len(PLACES), 2 * len(bases), 6.0, sharey=False)
    for row, (place, title) in zip(axes, PLACES.items(), strict=True):
        row[0].set_ylabel(title)
        for column, axis in enumerate(row):
            base, quantity = bases[column // 2], (AREA, CHANGE)[column % 2]
            if column > 1:
                axis.sharey(row[column % 2])
            rows = table[(table["base"] == base) & (table["position"] == place)]
            panel(axis, rows[rows["quantity"] == quantity], looks)
            axis.axhline(0.5 if quantity == AREA else 0, color=style.GREY, lw=0.8, zorder=1.5)
            if place == next(iter(PLACES)):
                axis.set_title(f"{style.label(base)}:\n{TITLES[quantity]}")
    for axis in axes[-1]:
        depth_axis(axis)
    figure.align_ylabels(axes[:, 0])
    figure.supxlabel("Relative depth (embedding 0, last block 1)", fontsize=11)
    legend(figure, arm_handles(looks), null_handles())
    return figure
