"""Step ``patching_figure``: what a block's states carry from one model into the other.

A column per trained arm; for each measure a row per direction (total effect, all positions): how
much more it moves for exposed items than for twins, in nats. Grey: nulls of the MLP (without
``other``, which erases the item and is off the scale).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from paradox.errors import DataError
from paradox.figures import style
from paradox.figures.kit import band, curve, depth_axis, legend, null_handles, with_depth
from paradox.figures.step import write
from paradox.files import read_table
from paradox.mechanisms.tables.pairs import ARM
from paradox.progress import Progress

PARTS = ["kind", "positions", "direction", "effect", "source"]
COLUMNS = [*ARM, *PARTS, "measure", "minus", "quantity", "contrast", "layer", "value", "low"]
COLUMNS += ["high", "corrected", "null_low", "null_high"]
CURVES = {
    ("mlp_out", "states"): "MLP",
    ("attn_out", "states"): "Attention",
    ("mlp_out", "states_noise"): "MLP, random direction",
    ("mlp_out", "shift"): "MLP, another item's shift",
}
MEASURES = {"gold_logp": "Gold answer", "mode_logp": "Answering at once"}
DIRECTIONS = ("denoise", "noise")


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Draw ``svg``, ``png`` and ``csv`` of ``table``: ``cross_model`` by step ``recovery``."""
    write(draw, data(inputs["table"]), outputs, progress, "patching")


def data(path: Path) -> pd.DataFrame:
    """Return the drawn rows."""
    table = read_table(path, COLUMNS)
    chosen = table[(table["positions"] == "all") & (table["effect"] == "total")]
    chosen = chosen[(chosen["minus"] == "none") & (chosen["quantity"] == "change")]
    chosen = chosen[(chosen["contrast"] == "difference") & chosen["measure"].isin(MEASURES)]
    pairs = pd.MultiIndex.from_frame(chosen[["kind", "source"]])
    chosen = chosen[pairs.isin(list(CURVES))]
    if chosen.empty:
        raise DataError(f"{path}: no total effects at all positions of {', '.join(MEASURES)}.")
    return with_depth(chosen[COLUMNS].reset_index(drop=True))


def draw(table: pd.DataFrame) -> Figure:
    """Draw the figure: a column per arm, a row per measure and direction."""
    table = table.assign(name=style.arm_names(table))
    arms = style.panels(table)
    measures = [name for name in MEASURES if (table["measure"] == name).any()]
    rows = [(measure, direction) for measure in measures for direction in DIRECTIONS]
    looks = curve_looks()
    figure, axes = style.grid(len(rows), len(arms), 1.5 + 1.9 * len(rows), sharey="row")
    for row, (measure, direction) in zip(axes, rows, strict=True):
        row[0].set_ylabel(f"{MEASURES[measure]}\n{direction} (nats)")
        of_row = table[(table["measure"] == measure) & (table["direction"] == direction)]
        for (base, name), axis in zip(arms, row, strict=True):
            _panel(axis, of_row[(of_row["base"] == base) & (of_row["name"] == name)], looks)
    for (base, name), axis in zip(arms, axes[0], strict=True):
        axis.set_title(style.title(base, name))
    for axis in axes[-1]:
        depth_axis(axis)
    figure.align_ylabels(axes[:, 0])
    figure.supxlabel("Relative depth (last block 1)", fontsize=11)
    handles: list[Artist] = [
        Line2D([], [], label=CURVES[key], markersize=4.5, **look) for key, look in looks.items()
    ]
    legend(figure, handles[:2], handles[2:], null_handles())
    return figure


def curve_looks() -> dict[tuple[str, str], dict[str, Any]]:
    """Return how each curve is drawn; nulls are grey."""
    colours = style.colours(2)
    return {
        key: {
            "color": colours[place] if place < 2 else "#888888",
            "marker": style.MARKERS[place],
            "linestyle": style.LINES[place],
        }
        for place, key in enumerate(CURVES)
    }


def _panel(axis: Axes, table: pd.DataFrame, looks: dict[tuple[str, str], dict[str, Any]]) -> None:
    axis.yaxis.set_major_locator(MaxNLocator(nbins=4))
    band(axis, table[table["source"] == "states"])
    axis.axhline(0, color=style.GREY, linewidth=0.8, zorder=1.5)
    blocks = max(table["layer"].nunique(), 1)
    for place, ((kind, source), look) in enumerate(looks.items()):
        rows = table[(table["kind"] == kind) & (table["source"] == source)].sort_values("depth")
        curve(axis, rows["depth"] + 0.1 / blocks * (place - 1.5), rows, look)
