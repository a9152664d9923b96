"""What all figures share: names, order, colours, and deterministic files.

Every series differs in marker or line style as well as in colour, so that figures can be read
in grey print and by colour-blind readers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from paradox.evaluate.arms import ALL_SEEDS
from paradox.figures.names import METHOD_ORDER as METHOD_ORDER
from paradox.figures.names import bases_in_order as bases_in_order
from paradox.figures.names import in_order, label, methods_in_order
from paradox.files import atomic_path, write_table
from paradox.provenance.identity import mark

MARKERS = ["o", "s", "^", "D", "v", "P", "X", "<", ">", "p"]
LINES: list[Any] = ["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3))]
WIDTH = 9.0  # inches; at 900 px this makes the type as large as a README's text
GREY = "#555555"


def colours(count: int) -> list[str]:
    """Return `count` colour-blind-safe colours."""
    return list(sns.color_palette("colorblind", count).as_hex())


def marks(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return a colour and a marker per name."""
    return dict(zip(names, zip(colours(len(names)), MARKERS, strict=False), strict=True))


def arm_looks(names: list[str]) -> dict[str, dict[str, Any]]:
    """Return how each arm's curve is drawn."""
    return {
        name: {
            "color": colour,
            "marker": MARKERS[index % len(MARKERS)],
            "linestyle": LINES[index % len(LINES)],
        }
        for index, (name, colour) in enumerate(zip(names, colours(len(names)), strict=True))
    }


def all_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that cross items with all seeds."""
    return table[table["seed"].astype(str) == ALL_SEEDS]


def arm_names(table: pd.DataFrame) -> pd.Series:
    """Return a printable name per row: the reward, with the method when there are several."""
    names = table["reward"].map(label)
    trained = table["method"] != "base"
    if table.loc[trained, "method"].nunique() > 1:
        names = names.where(~trained, names + " (" + table["method"] + ")")
    return names


def name_order(table: pd.DataFrame) -> list[str]:
    """Return the names of `arm_names` in the order of every figure."""
    named = table[["reward", "method"]].assign(name=arm_names(table)).drop_duplicates()
    methods = methods_in_order(named["method"])
    named = named.sort_values("method", key=lambda names: names.map(methods.index))
    names = []
    for reward in in_order(named["reward"]):
        names += dict.fromkeys(named.loc[named["reward"] == reward, "name"])
    return names


def panels(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Return base and name (as `arm_names`) of each panel of a figure with a panel per arm."""
    return [
        (base, name)
        for base in bases_in_order(table["base"])
        for name in name_order(table[table["base"] == base])
    ]


def title(base: str, name: str) -> str:
    """Return what stands above a panel of `panels`."""
    return f"{label(base).replace(' base', '')}:\n{name.lower()}"


@contextmanager
def style() -> Iterator[None]:
    """Set the look of all figures, whatever the user's own matplotlib settings are."""
    look = {
        **sns.axes_style("whitegrid"),
        "font.family": ["DejaVu Sans"],
        "font.size": 11,
        "axes.titlesize": 11,
        "axes.labelsize": 11,
        "xtick.labelsize": 10,
        "ytick.labelsize": 10,
        "legend.fontsize": 10,
        "legend.frameon": False,
        "axes.edgecolor": GREY,
        "grid.color": "#dddddd",
        "lines.linewidth": 1.6,
        "svg.hashsalt": "paradox",
        "svg.fonttype": "path",
        "path.simplify": False,
    }
    with matplotlib.style.context(["default", {**look, "font.sans-serif": ["DejaVu Sans"]}]):
        yield


def grid(
    rows: int, columns: int, height: float, sharey: str | bool = True, sharex: str | bool = True
) -> tuple[Figure, np.ndarray]:
    """Return a figure of the common width and its axes, shape (rows, columns)."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, sharex=sharex, sharey=sharey, squeeze=False)
    for axis in axes.flat:
        axis.grid(axis="x", visible=False)
    return figure, axes


def interval(
    axis: Axes, x: Sequence[float] | np.ndarray, table: pd.DataFrame, value: str, **look: Any
) -> Any:
    """Draw values with their intervals (columns value, {value}_low, {value}_high; or low, high)."""
    middle, bars = _bars(table, value)
    return axis.errorbar(x, middle, yerr=bars, capsize=2, elinewidth=1.1, **look)


def interval_across(
    axis: Axes, y: Sequence[float] | np.ndarray, table: pd.DataFrame, value: str, **look: Any
) -> Any:
    """As `interval`, with the values along the x axis."""
    middle, bars = _bars(table, value)
    return axis.errorbar(middle, y, xerr=bars, capsize=2, elinewidth=1.1, **look)


def _bars(table: pd.DataFrame, value: str) -> tuple[np.ndarray, list[np.ndarray]]:
    middle = table[value].to_numpy(float)
    stem = f"{value}_" if f"{value}_low" in table else ""
    # A percentile interval can leave out its estimate; bars cannot have a negative length.
    down = np.clip(middle - table[f"{stem}low"].to_numpy(float), 0, None)
    up = np.clip(table[f"{stem}high"].to_numpy(float) - middle, 0, None)
    return middle, [down, up]


def step_axis(axis: Axes) -> None:
    """Mark whole optimiser steps on the x axis."""
    axis.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))


def save(figure: Figure, table: pd.DataFrame, outputs: dict[str, Path]) -> None:
    """Write the figure as svg and png, with the step's derivation id, and its table as csv.

    The files hold no date and no version: equal tables give equal bytes.
    """
    known = {"Identifier": mark()} if mark() else {}
    with atomic_path(outputs["svg"]) as path:
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None, **known})
    with atomic_path(outputs["png"]) as path:
        figure.savefig(path, format="png", dpi=150, metadata={"Software": None, **known})
    write_table(outputs["csv"], table)
