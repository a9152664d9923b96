"""Step ``reset_keep_figure``: windows of blocks, reset and kept, beside random sets of blocks."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from paradox.errors import DataError
from paradox.figures import style
from paradox.figures.kit import arm_handles, by_direction, curve, legend
from paradox.figures.step import write
from paradox.files import read_table
from paradox.mechanisms.tables.pairs import ARM
from paradox.progress import Progress

COLUMNS = [*ARM, "measure", "part", "direction", "set", "contrast", "layer", "value", "low", "high"]
COLUMNS += ["p_sets", "set_low", "set_high", "sets", "excess"]
MEASURES = {"gold_logp": "Gold answer", "mode_logp": "Answering at once"}
PARTS = {"mlp": "MLP", "attention": "Attention"}
DIRECTIONS = ("reset", "keep")


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Draw ``svg``, ``png`` and ``csv`` of ``table``: the windows of step `reset_keep_tests`."""
    write(draw, data(inputs["table"]), outputs, progress, "reset_keep")


def data(path: Path) -> pd.DataFrame:
    """Return the drawn rows: exposed items, the widest windows."""
    table = read_table(path, COLUMNS)
    chosen = table[(table["contrast"] == "exposed") & table["measure"].isin(MEASURES)]
    chosen = chosen[chosen["part"].isin(PARTS) & chosen["direction"].isin(DIRECTIONS)]
    chosen = chosen[chosen["set"] == chosen["set"].max()]
    if chosen.empty:
        raise DataError(f"{path}: no windows of {', '.join(PARTS)} in {', '.join(MEASURES)}.")
    chosen = chosen[COLUMNS].reset_index(drop=True)
    blocks = chosen.groupby("base")["layer"].transform("max") + chosen["set"]
    return chosen.assign(depth=(chosen["layer"] + (chosen["set"] + 1) / 2) / blocks)


def draw(table: pd.DataFrame) -> Figure:
    """Draw the figure: a column per arm, a row per measure and direction."""
    looks = style.arm_looks(list(PARTS))
    figure = by_direction(table, MEASURES, DIRECTIONS, partial(_panel, looks=looks), sharey=False)
    figure.supxlabel("Relative depth of a window's middle", fontsize=11)
    lines = arm_handles({PARTS[part]: look for part, look in looks.items()})
    bands: list[Artist] = [
        Patch(color=look["color"], alpha=0.2, label=f"95 % of sets, {PARTS[part]}")
        for part, look in looks.items()
    ]
    grey = {"color": style.GREY, "marker": "o", "markersize": 4.5}
    marks: list[Artist] = [
        Line2D([], [], label="at most 5 % of sets do as much", linestyle="none", **grey),
        Line2D([], [], label="change's entries shuffled", color=style.GREY, linestyle=":"),
    ]
    legend(figure, lines, bands, marks)
    return figure


def _panel(axis: Axes, table: pd.DataFrame, looks: dict[str, dict[str, Any]]) -> None:
    for place, (part, look) in enumerate(looks.items()):
        rows = table[table["part"] == part].sort_values("depth")
        x = rows["depth"] + 0.02 * (place - 0.5)
        shade = {"color": look["color"], "alpha": 0.2, "lw": 0}
        axis.fill_between(rows["depth"], rows["set_low"], rows["set_high"], **shade)
        shuffled = rows["value"] - rows["excess"]
        axis.plot(x, shuffled, color=look["color"], linestyle=":", linewidth=1.2, zorder=2)
        curve(axis, x, rows.rename(columns={"p_sets": "corrected"}), look)
