"""Step ``eap_figure``: what training changes in the scores of edges, method beside method."""

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
from paradox.figures.kit import ALPHA, BAND, legend
from paradox.figures.step import write
from paradox.files import read_table
from paradox.mechanisms.eap.cells import ALL
from paradox.mechanisms.tables.pairs import ARM
from paradox.mechanisms.tables.words import CHANGE, GRADIENT, TEXT, WEIGHTS
from paradox.progress import Progress

KEY = [*ARM, "attribution", "alpha", "filter", "group", "state", "measure"]
COLUMNS = [*KEY, "value", "low", "high", "p", "null_low", "null_high", "items", "replicates"]
MEASURES = {
    "intensity": "Intensity",
    "complexity": "Complexity",
    "kurtosis": "Kurtosis",
    "diversity": "Diversity",
    "intensity_per_gradient": "Intensity per\ngradient",
}
STATES = {CHANGE: "as published", WEIGHTS: "by the weights", TEXT: "by the text"}
NUMBERS = ["value", "low", "high", "null_low", "null_high"]
LONGEST = 450  # per cent


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Draw ``table`` of step ``eap_summary``."""
    write(draw, data(inputs["table"]), outputs, progress, "edge attribution")


def data(path: Path) -> pd.DataFrame:
    """Return the drawn rows in per cent of the base's; a `DataError` without trained arms."""
    table = read_table(path, COLUMNS)
    last = table["alpha"] == table["alpha"].max()
    chosen = table[last & (table["attribution"] == GRADIENT) & table["measure"].isin(MEASURES)]
    chosen = chosen[(chosen["filter"] == ALL) & (chosen["group"] == ALL)][COLUMNS]
    level = chosen[chosen["state"] == "base"].set_index([*ARM, "measure"])["value"].abs()
    drawn = chosen[chosen["state"].isin(STATES)].reset_index(drop=True)
    if drawn.empty:
        raise DataError(f"{path}: no changes by training, of the largest alpha and all items.")
    levels = level.loc[pd.MultiIndex.from_frame(drawn[[*ARM, "measure"]])].to_numpy()
    drawn[NUMBERS] = 100 * drawn[NUMBERS].div(levels, axis=0)
    return drawn


def draw(table: pd.DataFrame) -> Figure:
    """Draw the figure: a column per measure, a row per arm."""
    order = {name: place for place, name in enumerate(style.METHOD_ORDER)}
    arms = sorted(
        table[ARM].drop_duplicates().itertuples(index=False, name=None),
        key=lambda arm: (
            style.bases_in_order(table["base"]).index(arm[0]),
            style.in_order(table["reward"]).index(arm[2]),
            order.get(arm[1], len(order)),
            arm[1],
        ),
    )
    figure, axes = style.grid(1, len(MEASURES), 1.6 + 0.42 * len(arms), sharex=False)
    several = table["base"].nunique() > 1
    for axis, (measure, title) in zip(axes[0], MEASURES.items(), strict=True):
        axis.set_title(title)
        for place, arm in enumerate(arms):
            chosen = (table[ARM] == list(arm)).all(axis=1) & (table["measure"] == measure)
            _row(axis, place, table[chosen].set_index("state"))
        axis.axvline(0, color=style.GREY, linewidth=0.8, zorder=1.5)
        axis.grid(axis="y", visible=False)
        axis.grid(axis="x", visible=True)
        low, high = axis.get_xlim()
        axis.set_xlim(max(low, -LONGEST), min(high, LONGEST))
        axis.xaxis.set_major_locator(MaxNLocator(nbins=3))
    for number in range(1, len(arms)):
        if arms[number][2] != arms[number - 1][2] or arms[number][0] != arms[number - 1][0]:
            for axis in axes[0]:
                axis.axhline(number - 0.5, color=style.GREY, linewidth=0.5)
    names = [
        f"{style.label(reward)} ({method})" + (f", {base}" if several else "")
        for base, method, reward in arms
    ]
    axes[0, 0].set_yticks(range(len(arms)), names)
    axes[0, 0].set_ylim(len(arms) - 0.4, -0.6)
    legend(figure, _handles())
    figure.supxlabel("Change in % of the untrained base", fontsize=11)
    return figure


def _looks() -> dict[str, dict[str, Any]]:
    looks = style.arm_looks(list(STATES)).items()
    return {state: {**look, "linestyle": "none", "markersize": 4.5} for state, look in looks}


def _row(axis: Axes, place: int, rows: pd.DataFrame) -> None:
    """Draw an arm's changes beside their null."""
    if CHANGE in rows.index:
        null = rows.loc[CHANGE]
        wide = null["null_high"] - null["null_low"]
        axis.barh(place, wide, 0.8, left=null["null_low"], color=BAND, linewidth=0, zorder=1)
    for shift, (state, look) in zip((-0.24, 0.0, 0.24), _looks().items(), strict=True):
        if state not in rows.index:
            continue
        face = look["color"] if rows.loc[state, "p"] <= ALPHA else "white"
        marks = {"markerfacecolor": face, "zorder": 3}
        y = np.array([place + shift])
        style.interval_across(axis, y, rows.loc[[state]], "value", **look, **marks)


def _handles() -> list[Artist]:
    grey = {"color": style.GREY, "marker": "o", "linestyle": "none", "markersize": 4.5}
    handles: list[Artist] = [
        Line2D([], [], label=STATES[state], **look) for state, look in _looks().items()
    ]
    handles.append(Line2D([], [], label="p > .05", markerfacecolor="white", **grey))
    return [*handles, Patch(color=BAND, label="95 % null")]
