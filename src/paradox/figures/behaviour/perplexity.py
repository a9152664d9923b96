"""Figure ``perplexity``: how the likelihood of fixed texts changes along training."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from paradox.figures import style
from paradox.files import read_table

TABLES = ["perplexity"]
QUANTITIES = ["prompt", "recall", "reason", "chain"]
GROUPS = {"exposed": ("-", "full"), "twin": ("--", "none")}


def data(inputs: dict[str, Path]) -> pd.DataFrame:
    """Return the changes over all seeds, with a zero at step 0 of every line."""
    key = ["base", "method", "reward", "quantity", "group"]
    table = read_table(inputs["perplexity"], [*key, "seed", "step", "measure", "value"])
    table = style.all_seeds(table)
    table = table[(table["measure"] == "change") & table["group"].isin(list(GROUPS))]
    table = table[table["quantity"].isin(QUANTITIES)]
    ends = {"value": "change", "low": "change_low", "high": "change_high"}
    table = table.rename(columns=ends)
    columns = [*key, "step", "items", "replicates", *ends.values()]
    start = table[columns].drop_duplicates(key).assign(step=0)
    start[[*ends.values()]] = 0.0
    whole = pd.concat([start, table[columns]], ignore_index=True)
    return whole.sort_values([*key, "step"], kind="stable", ignore_index=True)


def draw(table: pd.DataFrame) -> Figure:
    """Draw the figure: a row per quantity, a column per reward, a line per base and group."""
    table = table.assign(name=style.arm_names(table))
    names, bases = style.name_order(table), style.bases_in_order(table["base"])
    quantities = [name for name in QUANTITIES if (table["quantity"] == name).any()]
    looks = style.marks(bases)
    figure, axes = style.grid(len(quantities), len(names), 1.0 + 1.7 * len(quantities), "row")
    for row, quantity in zip(axes, quantities, strict=True):
        # The words would overlap from row to row on one line.
        row[0].set_ylabel(style.label(quantity).replace(", ", ",\n").replace("Whole ", "Whole\n"))
        for axis, name in zip(row, names, strict=True):
            axis.axhline(0, color=style.GREY, linewidth=0.8)
            style.step_axis(axis)
            shown = table[(table["quantity"] == quantity) & (table["name"] == name)]
            for (base, group), lines in shown.groupby(["base", "group"], sort=True):
                look = _look(looks[base], group)
                style.interval(axis, lines["step"], lines, "change", markersize=4.5, **look)
    for axis, name in zip(axes[0], names, strict=True):
        axis.set_title(name)
    figure.supxlabel("Optimiser step", fontsize=11)
    figure.supylabel("Change of NLL since step 0 (nats per token)", fontsize=11)
    figure.legend(handles=_legend(looks, table), loc="outside upper center", ncols=2)
    return figure


def _look(mark: tuple[str, str], group: str) -> dict[str, str]:
    line, fill = GROUPS[group]
    return {"color": mark[0], "marker": mark[1], "linestyle": line, "fillstyle": fill}


def _legend(looks: dict[str, tuple[str, str]], table: pd.DataFrame) -> list[Line2D]:
    drawn = set(zip(table["base"], table["group"], strict=True))
    return [
        Line2D(
            [], [], label=f"{style.label(base)}, {style.label(group).lower()}", **_look(mark, group)
        )
        for base, mark in looks.items()
        for group in GROUPS
        if (base, group) in drawn
    ]
