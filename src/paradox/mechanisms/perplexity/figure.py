"""Step ``perplexity_parts_figure``: mode and content apart, by exposure, under each reward.

A row per part, a column per reward, exposures along x; the change since the untrained base at the
last checkpoint. An interval that ends at the frame goes on. The clean base saw none of the items:
there, exposed items are as new as twins.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from paradox.errors import DataError
from paradox.figures import style
from paradox.figures.names import label
from paradox.figures.step import write
from paradox.files import read_table
from paradox.mechanisms.tables.pairs import ARM
from paradox.progress import Progress

PARTS = {
    "prompt": "Prompt\n(nats per token)",
    "mode": "Mode: answer at once\n(nats per token)",
    "content": "Content: right answer\n(nats per token)",
    "marginal": "Right by whatever way\n(nats per answer)",
}
GROUPS = {"exposed": ("-", "full"), "twin": ("--", "none")}
COLUMNS = [*ARM, "step", "exposure", "group", "part", "change", "low", "high", "replicates"]


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Draw ``svg``, ``png`` and ``csv`` of ``table`` of step ``perplexity_parts``."""
    write(draw, data(inputs["table"]), outputs, progress, "parts of perplexity")


def data(path: Path) -> pd.DataFrame:
    """Return the drawn rows: trained arms at their last step, single exposures where known."""
    table = read_table(path, COLUMNS)
    table = table[(table["method"] != "base") & table["part"].isin(PARTS)]
    if table.empty:
        raise DataError(f"{path}: no trained arm is in the table.")
    last = table["step"] == table.groupby(ARM)["step"].transform("max")
    known = table["exposure"].astype(str).str.isdigit()
    chosen = last & table["group"].isin(GROUPS) & (known | (not known.any()))
    return table.loc[chosen, COLUMNS].reset_index(drop=True)


def draw(table: pd.DataFrame) -> Figure:
    """Draw the figure."""
    table = table.assign(name=style.arm_names(table), exposure=table["exposure"].astype(str))
    names, bases = style.name_order(table), style.bases_in_order(table["base"])
    numbers = [text for text in table["exposure"].unique() if text.isdigit()]
    places = {text: place for place, text in enumerate(sorted(numbers, key=int) or ["exposed"])}
    parts = [part for part in PARTS if (table["part"] == part).any()]
    looks = dict(
        zip(bases, zip(style.colours(len(bases)), style.MARKERS, strict=False), strict=True)
    )
    figure, axes = style.grid(len(parts), len(names), 1.2 + 1.8 * len(parts), "row")
    for row, part in zip(axes, parts, strict=True):
        row[0].set_ylabel(PARTS[part])
        for axis, name in zip(row, names, strict=True):
            axis.axhline(0, color=style.GREY, linewidth=0.8)
            shown = table[(table["part"] == part) & (table["name"] == name)]
            lines = [key for key in _lines(table) if key in set(_lines(shown))]
            for base, group in lines:
                points = shown[(shown["base"] == base) & (shown["group"] == group)]
                points = points.rename(columns={"low": "change_low", "high": "change_high"})
                aside = 0.1 * (lines.index((base, group)) - (len(lines) - 1) / 2)
                points = points.assign(x=points["exposure"].map(places) + aside).sort_values("x")
                how = _look(looks[base], group)
                style.interval(axis, points["x"], points, "change", markersize=4.5, **how)
            axis.set_xticks(range(len(places)), list(places))
        row[0].set_ylim(*_ends(table[table["part"] == part]))
    for axis, name in zip(axes[0], names, strict=True):
        axis.set_title(name)
    figure.align_ylabels(axes[:, 0])
    figure.supxlabel("Exposures of the items (twins: of the items they belong to)", fontsize=11)
    figure.supylabel("Change of -log p since the untrained base", fontsize=11)
    handles = [
        Line2D([], [], label=f"{label(base)}, {label(group).lower()}", **_look(looks[base], group))
        for base, group in _lines(table)
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return figure


def _ends(table: pd.DataFrame) -> tuple[float, float]:
    """Return the ends of a row's y axis: all values, and of wide intervals as much again."""
    least, most = min(0.0, table["change"].min()), max(0.0, table["change"].max())
    reach = (most - least) or 1.0
    low, high = table["low"].min(), table["high"].max()
    return max(min(low, least), least - reach) - reach / 20, min(
        max(high, most), most + reach
    ) + reach / 20


def _lines(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Return base and group of each line, in order."""
    found = set(zip(table["base"], table["group"], strict=True))
    bases = style.bases_in_order(table["base"])
    return [(base, group) for base in bases for group in GROUPS if (base, group) in found]


def _look(look: tuple[str, str], group: str) -> dict[str, Any]:
    (colour, marker), (line, fill) = look, GROUPS[group]
    return {"color": colour, "marker": marker, "linestyle": line, "fillstyle": fill}
