"""Step ``patching_figure``: what a block's states carry from one model into the other.

A column per trained arm; for each measure a row per direction (total effect, all positions): how
much more it moves for exposed items than for twins, in nats. Grey: nulls of the MLP (without
``other``, which erases the item and is off the scale).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paradox.errors import DataError
from paradox.figures import style
from paradox.figures.kit import (
    arm_handles,
    band,
    by_direction,
    curve,
    legend,
    null_handles,
    with_depth,
)
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
    looks = curve_looks()
    figure = by_direction(table, MEASURES, DIRECTIONS, partial(_panel, looks=looks), sharey="row")
    figure.supxlabel("Relative depth (last block 1)", fontsize=11)
    handles = arm_handles({CURVES[key]: look for key, look in looks.items()})
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
    band(axis, table[table["source"] == "states"])
    blocks = max(table["layer"].nunique(), 1)
    for place, ((kind, source), look) in enumerate(looks.items()):
        rows = table[(table["kind"] == kind) & (table["source"] == source)].sort_values("depth")
        curve(axis, rows["depth"] + 0.1 / blocks * (place - 1.5), rows, look)
