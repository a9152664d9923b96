"""Step ``layer_figure``: curves over the blocks, exposed against twins, beside their null.

Which curves is named by the figure (`FIGURES`); a row of panels per component and measure. Two
columns per base: exposed minus twins in every arm (for the untrained arm as it is, for the others
after training), and how training changed that.

How to read it: the grey band is the widest of the null's 95 % bands of the panel's arms, each
corrected for looking at all blocks. A filled marker lies outside of its own arm's band, an open
one inside. Bars are intervals of the bootstrap over items and seeds.

Depth: block l of L blocks is at (l + 1) / L, the embedding (layer -1) at 0. Every figure over
layers takes it from `depth`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from paradox.errors import DataError, hint
from paradox.figures import style
from paradox.files import read_table
from paradox.mechanisms.by_layer import ARM
from paradox.progress import Progress

COLUMNS = [*ARM, "component", "measure", "state", "contrast", "layer", "value", "low", "high"]
COLUMNS += ["p", "corrected", "null_low", "null_high"]
CHANGE = "change"
ALPHA = 0.05
BAND = "#dddddd"


class Row(NamedTuple):
    """A row of panels.

    Attributes
    ----------
    component, measure
        As in the table.
    label
        Of the y axis.
    contrasts
        What the two columns of a base show: ``difference`` and ``change``, or the levels of
        ``exposed`` items and of the ``twin``.
    """

    component: str
    measure: str
    label: str
    contrasts: tuple[str, str] = ("difference", CHANGE)


LEVELS = ("exposed", "twin")
TITLES = {
    "difference": "exposed − twins",
    CHANGE: "change of it",
    "exposed": "exposed items",
    "twin": "never-seen twins",
}
FIGURES = {
    "lens": [
        Row("resid", "logp", "Gold log-prob.\n(nats)", LEVELS),
        Row("resid", "logp", "Gold log-prob.\n(nats)"),
        Row("resid", "rank", "Rank of gold", LEVELS),
        Row("resid", "rank", "Rank of gold"),
    ],
    "attribution": [
        Row("mlp", "logit", "MLP to gold\n(logit)"),
        Row("attention", "logit", "Attention to gold\n(logit)"),
        Row("mlp", "control_logit", "MLP to control\n(logit)"),
        Row("attention", "control_logit", "Attention to\ncontrol (logit)"),
    ],
    "jsd": [
        Row(f"{part}@all", "excess", f"{name}\n(excess, bits)")
        for part, name in (("gate", "Gate"), ("up", "Up"), ("down", "Down"), ("mlp", "MLP"))
    ],
    "ablation": [
        Row(f"{part}@all", f"{measure}_drop", f"{name}: drop of\n{what}")
        for measure, what in (("logp", "log-prob. (nats)"), ("correct", "accuracy"))
        for part, name in (("mlp", "MLP"), ("attn", "Attention"))
    ],
}


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Draw a figure.

    Parameters
    ----------
    spec
        ``figure``: which (a name of `FIGURES`).
    inputs
        ``table``: what step ``by_layer`` wrote.
    outputs
        ``svg``, ``png`` and ``csv`` (the plotted numbers). Equal tables give equal bytes.
    """
    name = spec["figure"]
    if name not in FIGURES:
        raise DataError(f"no figure {name!r}; {hint(name, list(FIGURES))}")
    table = data(inputs["table"], FIGURES[name])
    with style.style():
        style.save(draw(table, FIGURES[name]), table, outputs)
    progress.say(f"drew {name} from {len(table)} rows")


def depth(layers: pd.Series, blocks: int) -> pd.Series:
    """Return where layers are between the embedding (0) and the last block (1).

    >>> depth(pd.Series([-1, 0, 3]), 4).tolist()
    [0.0, 0.25, 1.0]
    """
    return (layers + 1) / blocks


def with_depth(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with a column ``depth``; bases may differ in their number of blocks."""
    blocks = table.groupby("base")["layer"].transform("max") + 1
    return table.assign(depth=depth(table["layer"], blocks))


def data(path: Path, rows: list[Row]) -> pd.DataFrame:
    """Return the drawn rows of a contrast table.

    Raises
    ------
    DataError
        When the table has not a component and measure that the figure shows.
    """
    table = read_table(path, COLUMNS)
    parts = []
    for component, measure in dict.fromkeys((row.component, row.measure) for row in rows):
        chosen = table[(table["component"] == component) & (table["measure"] == measure)]
        if chosen.empty:
            known = sorted(set(table["component"] + " " + table["measure"]))
            raise DataError(
                f"{path}: no rows of component and measure {f'{component} {measure}'!r}; "
                f"{hint(f'{component} {measure}', known)}"
            )
        parts.append(chosen)
    return with_depth(pd.concat(parts, ignore_index=True)[COLUMNS])


def draw(table: pd.DataFrame, rows: list[Row]) -> Figure:
    """Draw the figure: a row per component and measure, two columns per base."""
    table = table.assign(name=style.arm_names(table))
    names, bases = style.name_order(table), style.bases_in_order(table["base"])
    looks = arm_looks(names)
    figure, axes = style.grid(len(rows), 2 * len(bases), 1.3 + 1.75 * len(rows), sharey=False)
    shown: tuple[str, ...] = ()
    for number, row in enumerate(rows):
        of_row = table[(table["component"] == row.component) & (table["measure"] == row.measure)]
        axes[number, 0].set_ylabel(row.label)
        for column, axis in enumerate(axes[number]):
            base, contrast = bases[column // 2], row.contrasts[column % 2]
            if column > 1 or row.contrasts == LEVELS:
                # Bases are compared, and so are exposed items and twins.
                axis.sharey(axes[number, 0 if row.contrasts == LEVELS else column % 2])
            if row.contrasts != shown:
                axis.set_title(f"{style.label(base)}:\n{TITLES[contrast]}")
            panel(axis, pick(of_row[of_row["base"] == base], contrast), looks)
            if contrast not in LEVELS:
                axis.axhline(0, color=style.GREY, linewidth=0.8, zorder=1.5)
            elif row.measure.endswith("rank"):
                log_axis(axis)
        shown = row.contrasts
    for axis in axes[-1]:
        depth_axis(axis)
    figure.align_ylabels(axes[:, 0])
    legend(figure, arm_handles(looks), null_handles())
    figure.supxlabel("Relative depth (embedding 0, last block 1)", fontsize=11)
    return figure


def pick(table: pd.DataFrame, contrast: str) -> pd.DataFrame:
    """Return the rows of one contrast, or of how the difference changed."""
    changed = table["state"] == CHANGE
    if contrast == CHANGE:
        return table[changed & (table["contrast"] == "difference")]
    return table[~changed & (table["contrast"] == contrast)]


def arm_looks(names: list[str]) -> dict[str, dict[str, Any]]:
    """Return how each arm's curve is drawn."""
    palette = style.colours(max(len(names), 1))
    return {
        name: {
            "color": palette[index],
            "marker": style.MARKERS[index % len(style.MARKERS)],
            "linestyle": style.LINES[index % len(style.LINES)],
        }
        for index, name in enumerate(names)
    }


def panel(axis: Axes, table: pd.DataFrame, looks: dict[str, dict[str, Any]]) -> None:
    """Draw the arms' curves and the widest of their null bands (columns name, depth, value ...)."""
    axis.yaxis.set_major_locator(MaxNLocator(nbins=4))
    if table.empty:
        how = {"ha": "center", "va": "center", "color": style.GREY, "backgroundcolor": "white"}
        axis.text(0.5, 0.7, "no such arm", transform=axis.transAxes, **how)
    band(axis, table)
    for place, (name, rows) in enumerate(_by_arm(table, looks)):
        rows = rows.sort_values("depth")
        step = 1 / max(len(rows), 1)
        x = rows["depth"] + 0.1 * step * (place - (table["name"].nunique() - 1) / 2)
        curve(axis, x, rows, looks[name])


def band(axis: Axes, table: pd.DataFrame) -> None:
    """Shade the widest null band at each depth."""
    tested = table[table["null_low"].notna()]
    if len(tested):
        ends = tested.groupby("depth").agg({"null_low": "min", "null_high": "max"})
        axis.fill_between(ends.index, ends["null_low"], ends["null_high"], color=BAND, lw=0)


def curve(axis: Axes, x: pd.Series, rows: pd.DataFrame, look: dict[str, Any]) -> None:
    """Draw one curve; markers are filled where it leaves its null."""
    bars = rows.rename(columns={"low": "value_low", "high": "value_high"})
    line = {name: value for name, value in look.items() if name != "marker"}
    style.interval(axis, x, bars, "value", linewidth=1.2, zorder=2, **line)
    out = rows["corrected"].isna() | (rows["corrected"] <= ALPHA)
    for chosen, face in ((out, look["color"]), (~out, "white")):
        axis.plot(
            x[chosen],
            rows.loc[chosen, "value"],
            marker=look["marker"],
            color=look["color"],
            markerfacecolor=face,
            markersize=4.5,
            linestyle="none",
            zorder=3,
        )


def _by_arm(
    table: pd.DataFrame, looks: dict[str, dict[str, Any]]
) -> Iterator[tuple[str, pd.DataFrame]]:
    for name in looks:
        rows = table[table["name"] == name]
        if len(rows):
            yield name, rows


def depth_axis(axis: Axes) -> None:
    """Mark relative depth on the x axis."""
    axis.set_xlim(-0.05, 1.07)
    axis.set_xticks(np.array([0, 0.5, 1]), ["0", "0.5", "1"])


def log_axis(axis: Axes) -> None:
    """Make the y axis logarithmic, with plain numbers."""
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.yaxis.set_minor_locator(NullLocator())


def arm_handles(looks: dict[str, dict[str, Any]]) -> list[Artist]:
    """Return the legend's entries of the arms."""
    return [Line2D([], [], label=name, markersize=4.5, **look) for name, look in looks.items()]


def null_handles() -> list[Artist]:
    """Return the legend's entries of filled and open markers and the band."""
    grey = {"color": style.GREY, "marker": "o", "linestyle": "none", "markersize": 4.5}
    return [
        Line2D([], [], label="outside its null", **grey),
        Line2D([], [], label="inside", markerfacecolor="white", **grey),
        Patch(color=BAND, label="widest 95 % null"),
    ]


def legend(figure: Figure, *rows: list[Artist]) -> None:
    """Draw a legend above the figure, one list of entries per row."""
    columns = max(map(len, rows))
    blank = Line2D([], [], linestyle="none", label=" ")
    padded = [[*row, *[blank] * (columns - len(row))] for row in rows]
    # A legend is filled column by column.
    handles = [row[place] for place in range(columns) for row in padded]
    figure.legend(handles=handles, loc="outside upper center", ncols=columns)
