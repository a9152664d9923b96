"""Step ``boundary_figure``: what base and arm solve in k tries, and how likely their texts are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from paradox.errors import DataError
from paradox.figures import style
from paradox.figures.kit import BAND
from paradox.figures.step import write
from paradox.files import read_table
from paradox.mechanisms.tables.pairs import ARM
from paradox.progress import Progress

KEY = [*ARM, "group", "source", "value", "low", "high"]
CURVES = {"base": "Base", "after": "Arm", "matched": "Arm at the base's entropy"}
PANELS = {
    ("right", "exposed"): "Right,\nexposed",
    ("right", "twin"): "Right,\ntwins",
    ("worked", "exposed"): "Worked out,\nexposed",
    ("worked", "twin"): "Worked out,\ntwins",
}
QUANTILES = {
    "after": "arm",
    "sharpened": "base, arm's entropy",
    "cold": "base, cold",
    "base": "base",
}
GROUPS = {"exposed": -0.15, "twin": 0.15}  # offset of a group within its source's row


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Draw ``curves``, ``crossings`` and ``perplexity`` of step ``boundary_summary``."""
    table = data(inputs["curves"], inputs["crossings"], inputs["perplexity"])
    write(draw, table, outputs, progress, "the boundary")


def data(curves: Path, crossings: Path, perplexity: Path) -> pd.DataFrame:
    """Return the drawn rows of trained arms; ``panel`` is ``pass`` or ``quantile``."""
    nulls = ["null_low", "null_high"]
    passed = read_table(curves, [*KEY, "measure", "k", "guess", *nulls])
    passed = passed[passed["group"].isin(GROUPS)]
    key = [*ARM, "measure", "group", "k"]
    base = passed[passed["source"] == "base"].set_index(key)["value"]
    band = passed[passed["source"] == "after_minus_base"].set_index(key)[nulls].add(base, axis=0)
    drawn = passed[passed["source"].isin(CURVES)].drop(columns=nulls).join(band, on=key)
    # An arm that had to be cooled to its base's entropy is no control.
    key = [*ARM, "measure", "group", "source"]
    heated = read_table(crossings, [*key, "heated"]).set_index(key)["heated"].eq(False)
    drawn = drawn[~pd.MultiIndex.from_frame(drawn[key]).isin(heated.index[heated])]
    placed = read_table(perplexity, [*KEY, "split"])
    chosen = (placed["split"] == "all") & placed["source"].isin(QUANTILES)
    placed = placed[chosen & placed["group"].isin(GROUPS)]
    columns = [*KEY[:5], "measure", "k", "value", "low", "high", "guess", *nulls]
    table = pd.concat([drawn.assign(panel="pass"), placed.assign(panel="quantile")])
    table = table[table["method"] != "base"][["panel", *columns]].reset_index(drop=True)
    if table.empty:
        raise DataError(f"{curves}: no trained arm is in the table.")
    return table


def draw(table: pd.DataFrame) -> Figure:
    """Draw the figure: a column per arm."""
    table = table.assign(name=style.arm_names(table))
    arms = style.panels(table)
    figure, axes = style.grid(len(PANELS) + 1, len(arms), 10.5, sharey="row", sharex="row")
    looks = style.arm_looks(list(CURVES))
    for (base, name), column in zip(arms, axes.T, strict=True):
        rows = table[(table["base"] == base) & (table["name"] == name)]
        column[0].set_title(style.title(base, name))
        passed = rows[rows["panel"] == "pass"]
        for (measure, group), axis in zip(PANELS, column, strict=False):
            panel = passed[(passed["measure"] == measure) & (passed["group"] == group)]
            _curves(axis, panel, looks)
        _quantiles(column[-1], rows[rows["panel"] == "quantile"])
        column[-2].set_xlabel("Tries k")
    for row, words in zip(axes, PANELS.values(), strict=False):
        row[0].set_ylabel(words)
    axes[-1][0].set_yticks(range(len(QUANTILES)), list(QUANTILES.values()))
    axes[-1][0].set_ylim(len(QUANTILES) - 0.5, -0.5)
    figure.align_ylabels(axes[:-1, 0])
    figure.supxlabel(
        "Quantile of perplexity under the base (1/2: like the base's own)", fontsize=11
    )
    dots: Any = {"linestyle": "none", "color": "black", "marker": "o", "markersize": 5}
    handles = [
        *(Line2D([], [], label=CURVES[s], markersize=4.5, **look) for s, look in looks.items()),
        Patch(color=BAND, label="no difference (95 %)"),
        Line2D([], [], color=style.GREY, linestyle=":", label="guessing"),
        Line2D([], [], label="exposed items", **dots),
        Line2D([], [], label="twins", markerfacecolor="white", **dots),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
    return figure


def _curves(axis: Axes, table: pd.DataFrame, looks: dict[str, dict[str, Any]]) -> None:
    base = table[table["source"] == "base"].sort_values("k")
    axis.fill_between(base["k"], base["null_low"], base["null_high"], color=BAND, linewidth=0)
    if base["guess"].notna().any():
        axis.plot(base["k"], base["guess"], color=style.GREY, linestyle=":", linewidth=1.2)
    for source, look in looks.items():
        rows = table[table["source"] == source].sort_values("k")
        style.interval(axis, rows["k"].to_numpy(float), rows, "value", markersize=4, **look)
    axis.set_xscale("log", base=2)
    ticks = sorted(table["k"].astype(int).unique())[::2]
    axis.set_xticks(ticks, [str(k) for k in ticks])
    axis.set_ylim(-0.04, 1.04)
    axis.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])


def _quantiles(axis: Axes, table: pd.DataFrame) -> None:
    axis.axvline(0.5, color=style.GREY, linewidth=0.8)
    for group, aside in GROUPS.items():
        rows = table[table["group"] == group].set_index("source").reindex(list(QUANTILES))
        look = {"color": "black", "markerfacecolor": "black" if group == "exposed" else "white"}
        y = np.arange(len(QUANTILES)) + aside
        style.interval_across(axis, y, rows, "value", fmt="o", markersize=4.5, **look)
    axis.set_xlim(0, 1)
    axis.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axis.grid(axis="y", visible=False)
    axis.grid(axis="x", visible=True)
