"""Step ``verdicts_figure``: which published signature appears on which arm.

A row per signature, a column per arm, a mark per verdict; none where the signature is not about
such an arm. Below are the claims that cannot be tested here, each with the reason.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from paradox.figures import style
from paradox.figures.step import write
from paradox.files import read_table
from paradox.mechanisms.tables.pairs import ARM
from paradox.mechanisms.tables.verdict import NEGLIGIBLE, NOT, OPEN, REPRODUCED, UNTESTABLE
from paradox.mechanisms.tables.words import BEYOND_CLEAN
from paradox.progress import Progress

COLUMNS = ["signature", *ARM, "effect", "low", "high", "p", "holm", "items", "replicates"]
COLUMNS += ["detectable", "null", "verdict", "reason"]
BLUE = style.colours(1)[0]
LOOKS: dict[str, dict[str, Any]] = {
    REPRODUCED: {"marker": "o", "color": BLUE, "markersize": 9},
    NEGLIGIBLE: {"marker": "o", "color": BLUE, "markersize": 9, "fillstyle": "none"},
    NOT: {"marker": "x", "color": style.GREY, "markersize": 6},
    OPEN: {"marker": "$?$", "color": style.GREY, "markersize": 8},
}
WHY = {"color": style.GREY, "markersize": 14}
ROW_HEIGHT = 0.2  # inches
STRAIGHT = 6  # arms whose names stand side by side


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Draw ``svg``, ``png`` and ``csv`` of ``table`` of step ``verdicts``."""
    write(draw, read_table(inputs["table"], COLUMNS)[COLUMNS], outputs, progress, "verdicts")


def draw(table: pd.DataFrame) -> Figure:
    """Draw the figure."""
    lacking = table[table["verdict"] == UNTESTABLE]
    table = table[table["verdict"] != UNTESTABLE].reset_index(drop=True)
    table = table.assign(name=style.arm_names(table))
    arms_with_rows = set(zip(table["base"], table["name"], strict=True))
    bases, names = style.bases_in_order(table["base"]), style.name_order(table)
    arms = [arm for arm in product(bases, names) if arm in arms_with_rows]
    rows = list(dict.fromkeys(table["signature"]))
    figure, axes = style.grid(1, 1, 1.4 + ROW_HEIGHT * (len(rows) + len(lacking)))
    axis = axes[0, 0]
    places = {arm: place for place, arm in enumerate(arms)}
    x = pd.Series([places[arm] for arm in zip(table["base"], table["name"], strict=True)])
    y = table["signature"].map({name: place for place, name in enumerate(rows)})
    for verdict, look in LOOKS.items():
        has_verdict = (table["verdict"] == verdict).to_numpy()
        axis.plot(x[has_verdict], y[has_verdict], linestyle="none", **look)
    for place, reason in enumerate(lacking["reason"], len(rows)):
        # Out of the layout, which would make room for the longest by taking it from all else.
        axis.text(-0.4, place, reason, va="center", color=style.GREY, size=7, in_layout=False)
    names = [name.replace(BEYOND_CLEAN, "beyond clean") for name in rows]
    _labels(axis, arms, [*names, *lacking["signature"]])
    looks = LOOKS | ({UNTESTABLE: {"marker": "$why$", **WHY}} if len(lacking) else {})
    handles = [Line2D([], [], linestyle="none", label=name, **look) for name, look in looks.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure


def _labels(axis: Axes, arms: list[tuple[str, str]], rows: list[str]) -> None:
    titles = [style.title(base, name) for base, name in arms]
    if len(arms) > STRAIGHT:
        titles = [title.replace("\n", " ") for title in titles]
    axis.set_xticks(range(len(arms)), titles)
    axis.xaxis.tick_top()
    if len(arms) > STRAIGHT:
        for text in axis.get_xticklabels():
            text.set(rotation=40, ha="left", rotation_mode="anchor")
    axis.set_yticks(range(len(rows)), rows)
    axis.set_xlim(-0.5, len(arms) - 0.5)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.tick_params(length=0)
