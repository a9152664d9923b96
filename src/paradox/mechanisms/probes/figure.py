"""Step ``probes_figure``: at which depth exposed items can be told from their twins.

A row per position; two columns per base: the area under the ridge probe's curve with the widest of
its nulls (means over seeds; filled: corrected p at most .05 with every seed), and the change of the
share of pairs told apart, with its interval over pairs and trainings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from paradox.figures import style
from paradox.figures.kit import (
    arm_handles,
    depth_axis,
    legend,
    null_handles,
    panel,
    with_depth,
)
from paradox.figures.step import write
from paradox.mechanisms.probes.contrast import AREA, CHANGE, area_rows, change_rows
from paradox.progress import Progress

PLACES = {"answer": "Where the answer\nis predicted", "question": "Mean over the\nquestion"}
TITLES = {AREA: "area under curve", CHANGE: "change of pairs"}


def main(
    spec: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Path], progress: Progress
) -> None:
    """Draw ``svg``, ``png`` and ``csv`` of ``tables`` of every arm's probes and of ``changes``."""
    areas = area_rows([Path(path) for path in inputs["tables"]])
    changes = change_rows(Path(inputs["changes"]))
    table = with_depth(pd.concat([areas, changes], ignore_index=True))
    write(draw, table, outputs, progress, "probes")


def draw(table: pd.DataFrame) -> Figure:
    """Draw the figure: a row per position, areas and changes of each base."""
    table = table.assign(name=style.arm_names(table))
    bases = style.bases_in_order(table["base"])
    looks = style.arm_looks(style.name_order(table))
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
