"""Curves over blocks beside the band of their null: what figures of mechanisms share."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from paradox.figures import style
from paradox.mechanisms.tables.pairs import ARM

COLUMNS = [*ARM, "component", "measure", "state", "contrast", "layer", "value", "low", "high"]
COLUMNS += ["p", "corrected", "null_low", "null_high"]
CHANGE = "change"
ALPHA = 0.05
BAND = "#dddddd"


def depth(layers: pd.Series, blocks: int) -> pd.Series:
    """Return where layers are: the embedding (-1) at 0, block l of L blocks at (l + 1) / L.

    >>> depth(pd.Series([-1, 0, 3]), 4).tolist()
    [0.0, 0.25, 1.0]
    """
    return (layers + 1) / blocks


def with_depth(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with a column ``depth``; bases may differ in their number of blocks."""
    blocks = table.groupby("base")["layer"].transform("max") + 1
    return table.assign(depth=depth(table["layer"], blocks))


def pick(table: pd.DataFrame, contrast: str) -> pd.DataFrame:
    """Return the rows of one contrast, or of how the difference changed."""
    changed = table["state"] == CHANGE
    if contrast == CHANGE:
        return table[changed & (table["contrast"] == "difference")]
    return table[~changed & (table["contrast"] == contrast)]


def arm_columns(
    table: pd.DataFrame, rows: int, height: float, **shared: Any
) -> tuple[Figure, np.ndarray, list[pd.DataFrame]]:
    """Return a figure with a titled column per arm, its axes, and the rows of each arm."""
    table = table.assign(name=style.arm_names(table))
    arms = style.panels(table)
    figure, axes = style.grid(rows, len(arms), height, **shared)
    for (base, name), axis in zip(arms, axes[0], strict=True):
        axis.set_title(style.title(base, name))
    return (
        figure,
        axes,
        [table[(table["base"] == base) & (table["name"] == name)] for base, name in arms],
    )


def by_direction(
    table: pd.DataFrame,
    measures: dict[str, str],
    directions: tuple[str, ...],
    panel: Callable[[Axes, pd.DataFrame], None],
    sharey: str | bool,
) -> Figure:
    """Draw a column per arm over depth, a row per measure and direction; `panel` draws one."""
    shown = [name for name in measures if (table["measure"] == name).any()]
    rows = list(product(shown, directions))
    figure, axes, arms = arm_columns(table, len(rows), 1.5 + 1.9 * len(rows), sharey=sharey)
    for arm, column in zip(arms, axes.T, strict=True):
        for axis, (measure, direction) in zip(column, rows, strict=True):
            axis.yaxis.set_major_locator(MaxNLocator(nbins=4))
            axis.axhline(0, color=style.GREY, linewidth=0.8, zorder=1.5)
            panel(axis, arm[(arm["measure"] == measure) & (arm["direction"] == direction)])
        depth_axis(column[-1])
    for axis, (measure, direction) in zip(axes[:, 0], rows, strict=True):
        axis.set_ylabel(f"{measures[measure]}\n{direction} (nats)")
    figure.align_ylabels(axes[:, 0])
    return figure


def panel(axis: Axes, table: pd.DataFrame, looks: dict[str, dict[str, Any]]) -> None:
    """Draw the arms' curves and the widest of their null bands (columns name, depth, value ...)."""
    axis.yaxis.set_major_locator(MaxNLocator(nbins=4))
    if table.empty:
        font = {"ha": "center", "va": "center", "color": style.GREY, "backgroundcolor": "white"}
        axis.text(0.5, 0.7, "no such arm", transform=axis.transAxes, **font)
    band(axis, table)
    drawn = set(table["name"])
    for place, name in enumerate(name for name in looks if name in drawn):
        rows = table[table["name"] == name].sort_values("depth")
        step = 1 / max(len(rows), 1)
        x = rows["depth"] + 0.1 * step * (place - (len(drawn) - 1) / 2)
        curve(axis, x, rows, looks[name])


def band(axis: Axes, table: pd.DataFrame) -> None:
    """Shade the widest null band at each depth."""
    tested = table[table["null_low"].notna()]
    if len(tested):
        ends = tested.groupby("depth").agg({"null_low": "min", "null_high": "max"})
        axis.fill_between(ends.index, ends["null_low"], ends["null_high"], color=BAND, lw=0)


def curve(axis: Axes, x: pd.Series, rows: pd.DataFrame, look: dict[str, Any]) -> None:
    """Draw one curve; markers are filled where it leaves its null."""
    line = {name: value for name, value in look.items() if name != "marker"}
    style.interval(axis, x, rows, "value", linewidth=1.2, zorder=2, **line)
    out = rows["corrected"].isna() | (rows["corrected"] <= ALPHA)
    mark = {"marker": look["marker"], "color": look["color"], "markersize": 4.5, "zorder": 3}
    for chosen, face in ((out, look["color"]), (~out, "white")):
        marked = rows.loc[chosen, "value"]
        axis.plot(x[chosen], marked, markerfacecolor=face, linestyle="none", **mark)


def depth_axis(axis: Axes) -> None:
    """Mark relative depth on the x axis."""
    axis.set_xlim(-0.05, 1.07)
    axis.set_xticks(np.array([0, 0.5, 1]), ["0", "0.5", "1"])


def log_axis(axis: Axes) -> None:
    """Make the y axis logarithmic, with plain numbers."""
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.yaxis.set_minor_locator(NullLocator())


def arm_handles(looks: dict[str, dict[str, Any]]) -> list[Artist]:
    """Return the legend's entries of the arms."""
    return [Line2D([], [], label=name, markersize=4.5, **look) for name, look in looks.items()]


def marker_handles(filled: str, hollow: str) -> list[Artist]:
    """Return the legend's entries of filled and open markers."""
    grey: Any = {"color": style.GREY, "marker": "o", "linestyle": "none", "markersize": 4.5}
    return [
        Line2D([], [], label=filled, **grey),
        Line2D([], [], label=hollow, markerfacecolor="white", **grey),
    ]


def null_handles() -> list[Artist]:
    """Return the legend's entries of filled and open markers and the band."""
    band = Patch(color=BAND, label="widest 95 % null")
    return [*marker_handles("outside its null", "inside"), band]


def legend(figure: Figure, *rows: list[Artist]) -> None:
    """Draw a legend above the figure, one list of entries per row."""
    columns = max(map(len, rows))
    blank = Line2D([], [], linestyle="none", label=" ")
    padded = [[*row, *[blank] * (columns - len(row))] for row in rows]
    # A legend is filled column by column.
    handles = [row[place] for place in range(columns) for row in padded]
    figure.legend(handles=handles, loc="outside upper center", ncols=columns)
