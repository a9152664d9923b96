"""Figure ``recall``: answers given at once, along training. Thin lines are single seeds."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from paradox.evaluate.arms import ALL_SEEDS
from paradox.figures import style
from paradox.files import read_table

TABLES = ["trajectory"]
VALUES = ["recall_share", "recall_share_low", "recall_share_high"]


def data(inputs: dict[str, Path]) -> pd.DataFrame:
    """Return the course of every trained arm, starting at its untrained base."""
    key = ["base", "method", "reward", "seed", "group"]
    table = read_table(inputs["trajectory"], [*key, "step", *VALUES])
    table["seed"] = table["seed"].astype(str)
    trained = table[table["method"] != "base"]
    start = style.all_seeds(table[table["method"] == "base"])
    start = start[["base", "group", "step", "items", "samples", *VALUES]]
    lines = trained[[*key, "replicates"]].drop_duplicates()
    whole = pd.concat([lines.merge(start, on=["base", "group"]), trained], ignore_index=True)
    whole = whole[[*key, "step", "items", "replicates", "samples", *VALUES]]
    return whole.sort_values([*key, "step"], kind="stable", ignore_index=True)


def draw(table: pd.DataFrame) -> Figure:
    """Draw the figure: a row per base, a column per group of items, a line per reward."""
    table = table.assign(name=style.arm_names(table))
    names, bases = style.name_order(table), style.bases_in_order(table["base"])
    groups = [name for name in ("exposed", "twin") if (table["group"] == name).any()]
    looks = style.arm_looks(names)
    figure, axes = style.grid(len(bases), len(groups), 0.9 + 2.6 * len(bases))
    for row, base in zip(axes, bases, strict=True):
        row[0].set_ylabel("Share answered at once")
        for axis, group in zip(row, groups, strict=True):
            axis.set_title(f"{style.label(base)}, {style.label(group).lower()}", loc="left")
            axis.set_ylim(-0.03, 1.03)
            style.step_axis(axis)
            _panel(axis, table[(table["base"] == base) & (table["group"] == group)], looks)
    for axis in axes[-1]:
        axis.set_xlabel("Optimiser step")
    handles = [Line2D([], [], label=name, **look) for name, look in looks.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 6))
    return figure


def _panel(axis: Axes, table: pd.DataFrame, looks: dict[str, dict[str, str]]) -> None:
    for (name, seed), line in table.groupby(["name", "seed"], sort=True):
        if seed == ALL_SEEDS:
            style.interval(axis, line["step"], line, "recall_share", markersize=5, **looks[name])
        else:
            thin = {"color": looks[name]["color"], "linewidth": 0.6, "alpha": 0.5}
            axis.plot(line["step"], line["recall_share"], **thin)
