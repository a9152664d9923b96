"""Figure ``change``: the change of sampled accuracy under every arm, on exposed items and twins."""

from __future__ import annotations

import itertools
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from paradox.figures import style
from paradox.files import read_table

TABLES = ["did"]
PANELS = {
    "exposed_gain": "Exposed items",
    "twin_gain": "Never-seen twins",
    "did": "Difference in differences",
}


def data(inputs: dict[str, Path]) -> pd.DataFrame:
    """Return one row per base and arm, over all seeds."""
    ends = [f"{name}{end}" for name in PANELS for end in ("", "_low", "_high")]
    key = ["base", "method", "reward"]
    table = style.all_seeds(read_table(inputs["did"], [*key, "seed", "step", "replicates", *ends]))
    columns = [*key, "step", "replicates", "items_exposed", "items_twin", *ends, "equivalent"]
    return table[columns].reset_index(drop=True)


def draw(table: pd.DataFrame) -> Figure:
    """Draw the figure: a row per reward and method, a panel per group, a colour per base."""
    table = table.assign(name=style.arm_names(table))
    names, bases = style.name_order(table), style.bases_in_order(table["base"])
    looks = style.marks(bases)
    places = {name: -place for place, name in enumerate(names)}
    figure, axes = style.grid(1, len(PANELS), 1.3 + 0.32 * len(names))
    for axis, (column, title) in zip(axes[0], PANELS.items(), strict=True):
        axis.set_title(title)
        axis.axvline(0, color=style.GREY, linewidth=0.8)
        axis.grid(axis="x", visible=True)
        axis.xaxis.set_major_locator(MaxNLocator(nbins=4))  # longer rows of numbers would touch
        _lines_between_rewards(axis, table, names)
        for number, base in enumerate(bases):
            rows = table[(table["base"] == base) & table[column].notna()]
            colour, marker = looks[base]
            y = rows["name"].map(places).to_numpy(float)
            y -= (number - (len(bases) - 1) / 2) * 0.34
            style.interval_across(axis, y, rows, column, fmt=marker, color=colour, markersize=5)
    axes[0, 0].set_yticks(list(places.values()), list(places))
    axes[0, 0].set_ylim(-len(names) + 0.4, 0.6)
    figure.supxlabel("Change of sampled accuracy since the untrained base", fontsize=11)
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle="none", label=style.label(base))
        for base, (colour, marker) in looks.items()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure


def _lines_between_rewards(axis: Axes, table: pd.DataFrame, names: list[str]) -> None:
    rewards = table.drop_duplicates("name").set_index("name")["reward"]
    if table["method"].nunique() > 1:
        for place, (name, following) in enumerate(itertools.pairwise(names)):
            if rewards[name] != rewards[following]:
                axis.axhline(-place - 0.5, color=style.GREY, linewidth=0.8)
