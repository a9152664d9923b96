"""Step ``decontamination_figure``: what taking recall away costs, by method.

A column per arm. Across: the share of memory that a dose removes. Up: what is lost of worked chains
(share) and on documents (nats per token); bars are 95 % intervals.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from paradox.errors import DataError
from paradox.figures import style
from paradox.figures.kit import arm_columns, arm_handles, legend
from paradox.figures.step import write
from paradox.files import read_table
from paradox.mechanisms.decontamination.words import COSTS
from paradox.mechanisms.tables.pairs import ARM
from paradox.mechanisms.tables.words import METHODS, NEURONS, RANDOM
from paradox.progress import Progress

NAMES = {
    "neurons": "Chosen neurons",
    "random": "Random neurons",
    "reset": "Blocks reset",
    "task_vector": "Training subtracted",
    "memory_vector": "Memory subtracted",
}
LABELS = {"chain": "Chains lost\n(share)", "text": "Documents\n(nats per token)"}
COLUMNS = [*ARM, "way", "alpha", "dose", "removed", "removed_low", "removed_high"]
# Of costs above this a picture would only show how thoroughly the model is broken.
LEAST, MOST = {"chain": -0.06, "text": -0.25}, {"chain": 1.05, "text": 0.6}


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Draw ``svg``, ``png`` and ``csv`` of ``points`` of step ``tradeoff``."""
    write(draw, data(inputs["points"]), outputs, progress, "decontamination")


def data(path: Path) -> pd.DataFrame:
    """Return the drawn rows."""
    table = read_table(path, COLUMNS)
    costs = [name for name in COSTS if name in table]
    if not costs:
        raise DataError(f"{path}: neither of {', '.join(COSTS)} was scored.")
    columns = [*COLUMNS, *(f"{name}{end}" for name in costs for end in ("", "_low", "_high"))]
    return table[columns]


def draw(table: pd.DataFrame) -> Figure:
    """Draw the figure: a column per arm, a row per cost."""
    costs = [name for name in COSTS if name in table]
    alphas = {
        method: sorted(table.loc[table["way"] == method, "alpha"].unique()) for method in METHODS
    }
    looks = _looks(alphas)
    height = 1.9 + 2.1 * len(costs)
    figure, axes, arms = arm_columns(table, len(costs), height, sharey="row")
    for cost, row in zip(costs, axes, strict=True):
        row[0].set_ylabel(LABELS[cost])
        row[0].set_ylim(LEAST[cost], MOST[cost])
        for arm, axis in zip(arms, row, strict=True):
            _panel(axis, arm, cost, looks)
    for axis in axes[-1]:
        axis.set_xlim(-0.35, 1.1)
        axis.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    figure.supxlabel("Share of memory removed", fontsize=11)
    handles = arm_handles({_name(*key): look for key, look in looks.items()})
    legend(figure, *(handles[n : n + 3] for n in range(0, len(handles), 3)))
    return figure


def _name(method: str, alpha: float) -> str:
    return NAMES[method] + (f", alpha {alpha:g}" if method in (NEURONS, RANDOM) else "")


def _looks(alphas: dict[str, list[float]]) -> dict[tuple[str, float], dict[str, Any]]:
    looks: dict[tuple[str, float], dict[str, Any]] = {}
    for (method, of_method), colour in zip(
        alphas.items(), style.colours(len(METHODS)), strict=True
    ):
        for alpha in of_method:
            looks[method, alpha] = {
                "color": "#888888" if method == RANDOM else colour,
                "marker": style.MARKERS[len(looks) % len(style.MARKERS)],
                "linestyle": "-" if alpha == of_method[0] else "--",
            }
    return looks


def _panel(
    axis: Axes, table: pd.DataFrame, cost: str, looks: dict[tuple[str, float], dict[str, Any]]
) -> None:
    axis.yaxis.set_major_locator(MaxNLocator(nbins=4))
    axis.axhline(0, color=style.GREY, linewidth=0.8, zorder=1.5)
    if table["removed"].isna().all():
        words = {"ha": "center", "va": "center", "color": style.GREY, "backgroundcolor": "white"}
        axis.text(0.5, 0.5, "no gap\nto remove", transform=axis.transAxes, **words)
        return
    axis.axvline(0.5, color=style.GREY, linewidth=0.8, linestyle="--", zorder=1.5)
    for (method, alpha), look in looks.items():
        rows = table[(table["way"] == method) & (table["alpha"] == alpha)].sort_values("dose")
        if rows.empty:
            continue
        x, y = (np.concatenate([[0], rows[name]]) for name in ("removed", cost))
        bars = [_bars(rows, name) for name in ("removed", cost)]
        axis.errorbar(
            x, y, xerr=bars[0], yerr=bars[1], markersize=3.5, elinewidth=0.6, linewidth=1.1, **look
        )


def _bars(rows: pd.DataFrame, name: str) -> np.ndarray:
    ends = [rows[name] - rows[f"{name}_low"], rows[f"{name}_high"] - rows[name]]
    return np.hstack([np.zeros((2, 1)), np.clip(np.array(ends), 0, None)])
