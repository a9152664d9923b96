"""Step ``memory_figure``: where is memory? Every analysis beside the ablation, on one axis.

Upper half: the models as they are; lower: how training changed them; in each first the causal truth
(ablation). Curves are in units of their own null: 0 is the middle, 1 the upper edge of the 95 %
band corrected for all blocks (of probes, whose test is one-sided, of the single block). Filled:
corrected p at most .05.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from paradox.figures import style
from paradox.figures.kit import (
    ALPHA,
    BAND,
    CHANGE,
    COLUMNS,
    arm_columns,
    depth_axis,
    legend,
    with_depth,
)
from paradox.figures.step import write
from paradox.files import read_table
from paradox.progress import Progress

UNITS = {
    ("after", True): "Truth",
    ("after", False): "Analyses",
    (CHANGE, True): "Truth, change",
    (CHANGE, False): "Analyses, change",
}
PANELS = list(UNITS)


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Draw ``svg``, ``png`` and ``csv`` of the tables, which ``inputs`` holds by role.

    ``spec``: ``gaps``, a list of curves, each with ``analysis``, ``role`` (of its table),
    ``component``, ``measure``, ``label``, ``truth`` (whether it is causal) and, where its table has
    another form than that of step ``by_layer``, ``module`` and ``as_contrast``, which gives it
    that.
    """
    table = data(spec["gaps"], inputs)
    truth = [gap["label"] for gap in spec["gaps"] if gap["truth"]]
    write(lambda table: draw(table, truth), table, outputs, progress, "memory")


def data(gaps: list[dict[str, Any]], inputs: dict[str, Any]) -> pd.DataFrame:
    """Return the drawn numbers: ``units`` is the value in units of its null."""
    parts = []
    for gap in gaps:
        files = inputs[gap["role"]]
        paths = [Path(file) for file in (files if isinstance(files, list) else [files])]
        if gap["module"]:
            table = getattr(importlib.import_module(gap["module"]), gap["as_contrast"])(paths)
        else:
            table = read_table(paths[0], COLUMNS)
        chosen = (table["component"] == gap["component"]) & (table["measure"] == gap["measure"])
        chosen = table[chosen & (table["contrast"] == "difference")]
        parts.append(chosen.assign(analysis=gap["analysis"], label=gap["label"]))
    whole = with_depth(pd.concat(parts, ignore_index=True))
    first = style.bases_in_order(whole["base"])[0]
    whole = whole[(whole["base"] == first) | (whole["method"] == "base")]
    middle = (whole["null_low"] + whole["null_high"]) / 2
    reach = (whole["null_high"] - whole["null_low"]) / 2
    # A layer at which nothing varies has no band, and no effect either.
    whole["units"] = ((whole["value"] - middle) / reach.where(reach > 0)).fillna(0)
    columns = ["analysis", "label", *COLUMNS, "depth", "units"]
    return whole[columns].reset_index(drop=True)


def draw(table: pd.DataFrame, truth: list[str]) -> Figure:
    """Draw the figure: a column per arm, truth (labels of its curves) above the analyses."""
    looks = curve_looks(table, truth)
    figure, axes, arms = arm_columns(table, len(PANELS), 9.2, sharey="row")
    for arm, column in zip(arms, axes.T, strict=True):
        for axis, (state, causal) in zip(column, PANELS, strict=True):
            rows = arm[arm["label"].isin(truth) == causal]
            _panel(axis, rows[(rows["state"] == CHANGE) == (state == CHANGE)], looks)
        # An untrained arm has no change: its axis of depth is further up.
        lowest = [axis for axis in column if axis.get_visible()][-1]
        depth_axis(lowest)
        lowest.tick_params(labelbottom=True)
    for row, panel in zip(axes, PANELS, strict=True):
        left = next((axis for axis in row if axis.get_visible()), row[0])
        left.set_ylabel(UNITS[panel])
        left.tick_params(labelleft=True)
    figure.align_ylabels(axes[:, 0])
    figure.supylabel("In units of the null's 95 % band", fontsize=11)
    figure.supxlabel("Relative depth (embedding 0, last block 1)", fontsize=11)
    legend(figure, *_handles(table, looks))
    return figure


def curve_looks(table: pd.DataFrame, truth: list[str]) -> dict[str, dict[str, Any]]:
    """Return how each curve is drawn; the truth is black and grey."""
    others = [name for name in dict.fromkeys(table["label"]) if name not in truth]
    looks: dict[str, dict[str, Any]] = {
        name: {"color": colour, "marker": marker, "linestyle": line}
        for name, colour, marker, line in zip(
            truth, ("black", "#777777"), style.MARKERS, style.LINES, strict=False
        )
    }
    for place, (name, colour) in enumerate(zip(others, style.colours(len(others)), strict=True)):
        line = style.LINES[place % len(style.LINES)]
        looks[name] = {"color": colour, "marker": style.MARKERS[place + 2], "linestyle": line}
    return looks


def _panel(axis: Axes, table: pd.DataFrame, looks: dict[str, dict[str, Any]]) -> None:
    if table.empty:
        axis.set_visible(False)
        return
    axis.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axis.axhspan(-1, 1, color=BAND, lw=0)
    axis.axhline(0, color=style.GREY, linewidth=0.8, zorder=1.5)
    for name, rows in table.groupby("label", sort=False):
        rows, look = rows.sort_values("depth"), looks[name]
        line = {key: value for key, value in look.items() if key != "marker"}
        axis.plot(rows["depth"], rows["units"], linewidth=1.2, zorder=2, **line)
        out = rows["corrected"] <= ALPHA
        for chosen, face in ((out, look["color"]), (~out, "white")):
            dots = {"marker": look["marker"], "color": look["color"], "markerfacecolor": face}
            x, y = rows.loc[chosen, "depth"], rows.loc[chosen, "units"]
            axis.plot(x, y, linestyle="none", markersize=4, zorder=3, **dots)


def _handles(table: pd.DataFrame, looks: dict[str, dict[str, Any]]) -> list[list[Artist]]:
    lines: list[Artist] = [
        Line2D([], [], label=name, markersize=4, **looks[name])
        for name in looks
        if (table["label"] == name).any()
    ]
    lines.append(Patch(color=BAND, label="95 % of the null"))
    return [lines[start : start + 3] for start in range(0, len(lines), 3)]
