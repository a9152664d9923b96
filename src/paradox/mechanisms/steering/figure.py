"""Step ``steering_figure``: recall when a few neurons are amplified or suppressed.

A column per arm; neurons scaled at every position. Top: the change of the gold answer's log odds by
the largest and the smallest dose that random sets had, exposed minus twins, over the blocks.
Middle: the curve over alpha at the block that stands out most in the arm's test. Bottom: the top's
two numbers there, by how often items were seen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from paradox.errors import DataError
from paradox.figures import style
from paradox.figures.kit import (
    ALPHA,
    arm_columns,
    curve,
    depth_axis,
    legend,
    marker_handles,
    with_depth,
)
from paradox.figures.step import write
from paradox.files import read_table
from paradox.mechanisms.tables.pairs import ARM
from paradox.mechanisms.tables.words import COUNTED
from paradox.progress import Progress

MEASURE, WHERE = "odds_change", "all"
COLUMNS = [*ARM, "component", "measure", "dose", "exposure", "state", "contrast", "layer", "value"]
COLUMNS += ["low", "high", "corrected", "random_low", "random_high", "corrected_sets"]
LABELS = {
    "depth": "Exposed − twins\n(log odds)",
    "dose": "Change\n(log odds)",
    "exposure": "Exposed − twins\n(log odds)",
}


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Draw ``svg``, ``png`` and ``csv`` of ``doses`` and ``tests`` of step ``dose_response``."""
    write(draw, data(inputs["doses"], inputs["tests"]), outputs, progress, "steering")


def data(doses: Path, tests: Path) -> pd.DataFrame:
    """Return the drawn rows; ``row`` says in which row of panels."""
    table = read_table(doses, COLUMNS)
    chosen = (table["measure"] == MEASURE) & (table["component"] == WHERE)
    table = with_depth(table[chosen & (table["state"] != "change")][COLUMNS])
    named = read_table(tests, [*ARM, "signature", "blocks"])
    named = named[named["signature"] == f"steering: {WHERE}"]
    if table.empty or named.empty:
        raise DataError(f"{doses}: no {MEASURE!r} of component {WHERE!r}, or {tests} tests none.")
    best = named.assign(best=named["blocks"].astype(int))[[*ARM, "best"]]
    table = table.merge(best, on=ARM)
    counted, apart = table["exposure"] == COUNTED, table["contrast"] == "difference"
    ends = table.loc[table["random_low"].notna(), "dose"]
    outer, here = table["dose"].isin([ends.min(), ends.max()]), table["layer"] == table["best"]
    return pd.concat(
        [
            table[counted & apart & outer].assign(row="depth"),
            table[counted & ~apart & here].assign(row="dose"),
            table[~counted & apart & outer & here].assign(row="exposure"),
        ],
        ignore_index=True,
    )


def draw(table: pd.DataFrame) -> Figure:
    """Draw the figure: a column per arm."""
    figure, axes, arms = arm_columns(table, 3, 7.2, sharey="row", sharex="row")
    ends = table.loc[table["row"] == "depth", "dose"]
    looks = _looks(ends.min(), ends.max())
    panels = dict(zip(LABELS, (_over_depth, _over_doses, _over_exposures), strict=True))
    for arm, column in zip(arms, axes.T, strict=True):
        for axis, (what, panel) in zip(column, panels.items(), strict=True):
            axis.yaxis.set_major_locator(MaxNLocator(nbins=5))
            axis.axhline(0, color=style.GREY, linewidth=0.8, zorder=1.5)
            panel(axis, arm[arm["row"] == what], looks)
    for axis, label in zip(axes[:, 0], LABELS.values(), strict=True):
        axis.set_ylabel(label)
    for row, text in enumerate(("Relative depth", "Alpha", "Exposures")):
        axes[row, len(arms) // 2].set_xlabel(text)
    figure.align_ylabels(axes[:, 0])
    legend(figure, *_handles(looks))
    return figure


def _looks(low: float, high: float) -> dict[Any, dict[str, Any]]:
    """Return how each curve is drawn: by dose, and by group."""
    palette = style.colours(4)
    keys: list[Any] = [high, low, "exposed", "twin"]
    return {
        key: {"color": palette[n], "marker": style.MARKERS[n], "linestyle": style.LINES[n]}
        for n, key in enumerate(keys)
    }


def _over_depth(axis: Axes, table: pd.DataFrame, looks: dict[Any, dict[str, Any]]) -> None:
    for dose, rows in table.groupby("dose"):
        rows = rows.sort_values("depth")
        both = rows[["corrected", "corrected_sets"]].max(axis=1)
        ends = rows["random_low"], rows["random_high"]
        axis.fill_between(rows["depth"], *ends, color=looks[dose]["color"], alpha=0.2, lw=0)
        curve(axis, rows["depth"], rows.assign(corrected=both), looks[dose])
    depth_axis(axis)


def _over_doses(axis: Axes, table: pd.DataFrame, looks: dict[Any, dict[str, Any]]) -> None:
    block = int(table["layer"].iloc[0])
    axis.text(0.05, 0.88, f"block {block}", transform=axis.transAxes, fontsize=10)
    for group, rows in table.groupby("contrast"):
        rows = rows.sort_values("dose")
        # Alpha 1 is no row of the table: nothing changes there.
        axis.plot(1, 0, marker="+", color=style.GREY, markersize=8)
        curve(axis, np.sqrt(rows["dose"]), rows.assign(corrected=np.nan), looks[group])
    null = table[(table["contrast"] == "exposed") & table["random_low"].notna()]
    grey = {"color": "#888888", "linewidth": 4, "zorder": 1.8, "alpha": 0.8}
    axis.vlines(np.sqrt(null["dose"]), null["random_low"], null["random_high"], **grey)
    ticks = np.array([0, 0.2, 1, 2, 5])
    axis.set_xticks(np.sqrt(ticks), [f"{tick:g}" for tick in ticks])


def _over_exposures(axis: Axes, table: pd.DataFrame, looks: dict[Any, dict[str, Any]]) -> None:
    exposures = sorted(table["exposure"].astype(float).unique())
    places = {value: place for place, value in enumerate(exposures)}
    for dose, rows in table.groupby("dose"):
        x = rows["exposure"].astype(float).map(places)
        order = np.argsort(x.to_numpy())
        curve(axis, x.iloc[order], rows.iloc[order], looks[dose])
    axis.set_xticks(list(places.values()), [f"{value:g}" for value in exposures], fontsize=8)


def _handles(looks: dict[Any, dict[str, Any]]) -> list[list[Artist]]:
    names = {"exposed": "exposed items", "twin": "twins"}
    lines = [
        Line2D([], [], label=names.get(key) or f"alpha {key:g}", markersize=4.5, **look)
        for key, look in looks.items()
    ]
    marks = [
        *marker_handles(f"both p ≤ {ALPHA:g}", "else"),
        Patch(color="#bbbbbb", label="random sets, 95 %"),
        Line2D([], [], marker="+", linestyle="none", color=style.GREY, label="unchanged (alpha 1)"),
    ]
    return [lines, marks]
