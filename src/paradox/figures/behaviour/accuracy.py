"""Figure ``accuracy``: sampled accuracy by reward and exposure, before and after training."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from paradox.figures import style
from paradox.files import read_table

TABLES = ["accuracy", "base"]
TWIN = "#d55e00"
# The same items are put to every base, so the legend alone would mislead.
TITLES = {"clean": "Clean base (saw none of the items)"}


def data(inputs: dict[str, Path]) -> pd.DataFrame:
    """Return one row per base, arm and exposure level, with the value before training."""
    key = ["base", "method", "reward", "level"]
    needed = [*key, "seed", "step", "accuracy", "accuracy_low", "accuracy_high"]
    table = style.all_seeds(read_table(inputs["accuracy"], needed))
    last = table.groupby(["base", "method", "reward"])["step"].transform("max")
    table = table[table["step"] == last]
    counted = table["exposure"].notna() & (table["group"] == "exposed")
    if counted.any():
        # The sum over exposures would repeat the points beside it.
        table = table[table["level"].astype(str) != "exposed"]
    before = table.loc[table["method"] == "base", ["base", "level", "accuracy"]]
    before = before.rename(columns={"accuracy": "before"})
    table = table.merge(before, on=["base", "level"], how="left", validate="many_to_one")
    chance = read_table(inputs["base"], ["base", "level", "chance"])["chance"]
    table["chance"] = chance.iloc[0]
    columns = [*key, "group", "exposure", "step", "items", "replicates", "samples"]
    return table[[*columns, "accuracy", "accuracy_low", "accuracy_high", "before", "chance"]]


def draw(table: pd.DataFrame) -> Figure:
    """Draw the figure: one panel per base, one place per reward, one marker per exposure."""
    table = table.assign(level=table["level"].astype(str), name=style.arm_names(table))
    names, bases = style.name_order(table), style.bases_in_order(table["base"])
    marks = _marks(table)
    figure, axes = style.grid(len(bases), 1, 0.9 + 2.6 * len(bases))
    for axis, base in zip(axes[:, 0], bases, strict=True):
        _panel(axis, table[table["base"] == base], names, marks)
        axis.set_title(TITLES.get(base, style.label(base)), loc="left", fontweight="bold")
        axis.set_ylabel("Sampled accuracy")
        axis.set_ylim(-0.03, 1.03)
    axes[-1, 0].set_xticks(range(len(names)), names)
    axes[-1, 0].set_xlim(-0.5, len(names) - 0.5)
    figure.legend(handles=_legend(marks, table), loc="outside upper center", ncols=4)
    return figure


def _marks(table: pd.DataFrame) -> dict[str, tuple[str, str, str]]:
    """Return level -> (colour, marker, label); darker means more exposures."""
    shown = table.drop_duplicates("level").sort_values("exposure", na_position="last")
    exposed = shown.loc[shown["group"] == "exposed", "level"].tolist()
    marks = {}
    if (shown["group"] == "twin").any():
        marks["twin"] = (TWIN, "o", style.label("twin"))
    shades = sns.color_palette("crest", len(exposed)).as_hex()
    for level, shade, marker in zip(exposed, shades, style.MARKERS[1:], strict=False):
        words = style.label(level) if level == "exposed" else f"Exposed {level} times"
        marks[level] = (shade, marker, words)
    return marks


def _panel(
    axis: Axes, table: pd.DataFrame, names: list[str], marks: dict[str, tuple[str, str, str]]
) -> None:
    chance = table["chance"].dropna()
    if len(chance):
        axis.axhline(chance.iloc[0], color=style.GREY, linestyle=":", linewidth=1.2, zorder=1)
    axis.axvline(0.5, color=style.GREY, linewidth=0.8)
    places = {name: place for place, name in enumerate(names)}
    drawn = set(table["name"])
    for name in names:
        if name not in drawn:
            axis.text(places[name], 0.5, "not run", color=style.GREY, ha="center", va="center")
    width = 0.72 / max(len(marks), 1)
    for index, (level, (colour, marker, _)) in enumerate(marks.items()):
        rows = table[table["level"] == level]
        x = rows["name"].map(places).to_numpy(float) + (index - (len(marks) - 1) / 2) * width
        style.interval(axis, x, rows, "accuracy", fmt=marker, color=colour, markersize=5.5)
        trained = (rows["method"] != "base").to_numpy()
        half = 0.42 * width
        axis.hlines(
            rows["before"][trained], x[trained] - half, x[trained] + half, color="black", lw=1.3
        )


def _legend(marks: dict[str, tuple[str, str, str]], table: pd.DataFrame) -> list[Line2D]:
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle="none", label=words)
        for colour, marker, words in marks.values()
    ]
    handles.append(Line2D([], [], color="black", lw=1.3, label="Before training"))
    if table["chance"].notna().any():
        handles.append(Line2D([], [], color=style.GREY, linestyle=":", label="Chance"))
    return handles
