"""Step ``labels_figure``: what every rule calls the items, against what was planted.

A column per trained arm: the share of items called leakage above, all labels of the rules below.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from paradox.figures import style
from paradox.figures.kit import arm_columns
from paradox.figures.step import write
from paradox.files import read_table
from paradox.mechanisms.tables.pairs import ARM
from paradox.mechanisms.tables.verdict import AMBIGUOUS, LABELS
from paradox.progress import Progress

SHARES = ["share", "low", "high", "unchanged"]
GROUPS = {"exposed": -0.18, "twin": 0.18}  # offset of a group within its rule's row
COLOURS = dict(zip([*LABELS, AMBIGUOUS], [*style.colours(4), "#dddddd"], strict=True))


def main(
    spec: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Path], progress: Progress
) -> None:
    """Draw ``svg``, ``png`` and ``csv`` of ``table``: ``confusion`` of all arms."""
    write(draw, data(Path(inputs["table"])), outputs, progress, "labels")


def data(path: Path) -> pd.DataFrame:
    """Return shares per arm, rule, label and group (all twins; exposed items that count)."""
    columns = [*ARM, "rule", "label", "level", "group", "items", "replicates", *SHARES]
    table = read_table(path, columns)[columns]
    # The last exposed level is the one of all exposed items that count.
    last = table.groupby("group")["level"].transform("last")
    return table[table["level"] == last].reset_index(drop=True)


def draw(table: pd.DataFrame) -> Figure:
    """Draw the figure: a column per arm."""
    rules = list(dict.fromkeys(table["rule"]))
    figure, axes, arms = arm_columns(table, 2, 1.9 + 0.9 * len(rules), sharex="row")
    for rows, (upper, lower) in zip(arms, axes.T, strict=True):
        _leakage(upper, rows[rows["label"] == LABELS[0]], rules)
        _bars(lower, rows, rules)
        for axis in (upper, lower):
            axis.set_ylim(len(rules) - 0.5, -0.5)
            axis.grid(axis="y", visible=False)
        upper.grid(axis="x", visible=True)
        lower.set_xlim(0, 1)
        lower.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    for row, words in zip(axes, ("Called leakage", "All labels"), strict=True):
        row[0].set_yticks(range(len(rules)), [rule.replace("_", " ") for rule in rules])
        row[0].set_ylabel(words)
    figure.supxlabel("Share of items", fontsize=11)
    dots: Any = {"linestyle": "none", "color": "black", "markersize": 5}
    handles = [
        Line2D([], [], marker="o", label="exposed (above)", **dots),
        Line2D([], [], marker="o", markerfacecolor="white", label="twins (below)", **dots),
        Line2D([], [], marker="|", markeredgewidth=1.6, label="if nothing changed", **dots),
        *(Patch(color=colour, label=name) for name, colour in COLOURS.items()),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
    return figure


def _leakage(axis: Axes, table: pd.DataFrame, rules: list[str]) -> None:
    for group, aside in GROUPS.items():
        rows = table[table["group"] == group].set_index("rule").reindex(rules)
        y = np.arange(len(rules)) + aside
        bars = rows.rename(columns={"low": "share_low", "high": "share_high"})
        look = {"color": "black", "markerfacecolor": "black" if group == "exposed" else "white"}
        style.interval_across(axis, y, bars, "share", fmt="o", markersize=4.5, **look)
        axis.plot(rows["unchanged"], y, linestyle="none", marker="|", ms=11, mew=1.6, color="black")


def _bars(axis: Axes, table: pd.DataFrame, rules: list[str]) -> None:
    for group, aside in GROUPS.items():
        wide = table[table["group"] == group].pivot(index="rule", columns="label", values="share")
        wide = wide.reindex(index=rules, columns=list(COLOURS)).fillna(0)
        left = wide.cumsum(axis=1) - wide
        for name, colour in COLOURS.items():
            y = np.arange(len(rules)) + aside
            axis.barh(y, wide[name], 0.3, left[name], color=colour, linewidth=0)
