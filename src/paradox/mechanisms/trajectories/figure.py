"""Step ``trajectories_figure``: the separation force by block, without a model and with two."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from paradox.errors import DataError, hint
from paradox.figures import style
from paradox.figures.kit import arm_handles, depth_axis, legend, null_handles, panel
from paradox.figures.step import write
from paradox.files import read_table
from paradox.mechanisms.tables.pairs import ARM
from paradox.mechanisms.tables.verdict import ANCHOR
from paradox.progress import Progress

CURVES = [*ARM, "component", "state", "set", "layer", "value", "low", "high", "corrected"]
CURVES += ["null_low", "null_high"]
FLOWS = [*ARM, "model", "variant", "layer", "force", "peaks_force", "fits"]
PLACES = {
    "answer": "Where the answer\nis predicted",
    "prompt": "At the prompt's\nlast token",
    "question": "In the question",
}
FLOW = "flow"
EXPLAINED = {
    "one_block": "From the block before",
    "multi_step": "From the embedding",
    "time_only": "Time alone",
}
PEAKS = {
    ("as_it_is", "peaks_force"): "Flow",
    ("as_it_is", "peaks_force_data"): "Data",
    ("shuffled", "peaks_force"): "Flow, shuffled",
    ("shuffled", "peaks_force_data"): "Data, shuffled",
}
VARIANTS = {
    "as_published": "As published",
    "permuted_labels": "Labels permuted",
    "shuffled_layers": "Layers shuffled",
}
STRIPE = "#fbe8c6"


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Draw the tables of step ``separation``; a `DataError` without the planted base."""
    table = data(inputs, spec["planted"])
    write(lambda table: draw(table, spec["planted"]), table, outputs, progress, "trajectories")


def data(inputs: dict[str, Path], planted: str) -> pd.DataFrame:
    """Return forces of all arms and the flows of the untrained planted base, one below another."""
    curves = read_table(inputs["table"], CURVES)
    curves = curves[(curves["set"] == "counted") & (curves["state"] != "change")]
    curves = curves[curves["component"].isin([*PLACES, FLOW])]
    # Of other bases the untrained arms are controls enough.
    curves = curves[(curves["base"] == planted) | (curves["method"] == "base")]
    flows = read_table(inputs["flows"], FLOWS)
    flows = flows[(flows["base"] == planted) & (flows["method"] == "base")]
    if planted not in set(curves["base"]) or flows.empty:
        raise DataError(f"key planted: no base {planted!r}; {hint(planted, set(curves['base']))}")
    whole = pd.concat([curves[CURVES].assign(model="none"), flows], ignore_index=True)
    blocks = whole.groupby("base")["layer"].transform("max") + 1
    return whole.assign(depth=(whole["layer"] + 1) / blocks)


def draw(table: pd.DataFrame, planted: str) -> Figure:
    """Draw the figure."""
    curves = table[table["model"] == "none"]
    names = style.arm_names(curves)
    other = curves["base"] != planted
    curves = curves.assign(name=names.where(~other, curves["base"].map(style.label)))
    looks = style.arm_looks(
        [*style.name_order(curves[~other]), *sorted(set(curves["name"][other]))]
    )
    figure, axes = style.grid(3, 3, 8.6, sharey=False, sharex=False)
    for axis, (place, title) in zip(axes[0], PLACES.items(), strict=True):
        _force(axis, curves[curves["component"] == place], looks)
        axis.set_title(title)
    axes[0, 0].set_ylabel("Force of a block\n(RMS of states)")
    flows = table[table["model"] == FLOW]
    _lines(axes[1, 0], flows[flows["variant"] == "as_it_is"], EXPLAINED)
    axes[1, 0].set_title("Fitted flow: R²")
    axes[1, 0].set_ylim(-0.8, 1.02)
    _force(axes[1, 1], curves[curves["component"] == FLOW], looks)
    axes[1, 1].set_title("Its force, answer")
    _peaks(
        axes[1, 2],
        {
            label: flows[flows["variant"] == variant].set_index("depth")[measure]
            for (variant, measure), label in PEAKS.items()
        },
    )
    axes[1, 2].set_title("Peaks of fits")
    published = table[table["model"] == "published"]
    by_variant = {
        label: published[published["variant"] == name].set_index("depth").sort_index()
        for name, label in VARIANTS.items()
    }
    _published(axes[2, 0], by_variant)
    axes[2, 0].set_title("Published: force /\nits maximum")
    _peaks(axes[2, 1], {label: rows["peaks_force"] for label, rows in by_variant.items()})
    axes[2, 1].set_title("Published:\npeaks of fits")
    _areas(axes[2, 2], by_variant)
    axes[2, 2].set_title("Published:\narea under curve")
    for axis in [*axes.flat][:-1]:
        depth_axis(axis)
        axis.axvspan(*ANCHOR, color=STRIPE, lw=0, zorder=0)
    figure.supxlabel("Relative depth (embedding 0, last block 1)", fontsize=11)
    figure.align_ylabels(axes[:, 0])
    stripe = Patch(color=STRIPE, label="published peak")
    legend(figure, arm_handles(looks), [*null_handles(), stripe])
    return figure


def _force(axis: Axes, rows: pd.DataFrame, looks: dict[str, dict[str, Any]]) -> None:
    panel(axis, rows, looks)
    axis.axhline(0, color=style.GREY, linewidth=0.8, zorder=1.5)


def _looks(labels: Iterable[str]) -> dict[str, dict[str, Any]]:
    return {
        label: {**look, "markersize": 4} for label, look in style.arm_looks(list(labels)).items()
    }


def _lines(axis: Axes, rows: pd.DataFrame, measures: dict[str, str]) -> None:
    rows = rows.sort_values("depth")
    looks = _looks(measures.values())
    for measure, label in measures.items():
        axis.plot(rows["depth"], rows[measure], label=label, linewidth=1.2, **looks[label])
    axis.axhline(0, color=style.GREY, linewidth=0.8, zorder=1.5)
    axis.legend(fontsize=8, handlelength=1.5, loc="lower left")


def _peaks(axis: Axes, shares: dict[str, pd.Series]) -> None:
    """Draw the share of fits that peak at each depth, bars side by side."""
    depths = sorted({depth for share in shares.values() for depth in share.index})
    step = depths[1] - depths[0] if len(depths) > 1 else 1.0
    width = 0.85 * step / len(shares)
    looks = _looks(shares)
    for place, (label, share) in enumerate(shares.items()):
        x = np.array(share.index) + width * (place - (len(shares) - 1) / 2)
        hatch = ["", "//", "..", "xx"][place % 4]
        axis.bar(x, share, width, label=label, color=looks[label]["color"], hatch=hatch, lw=0)
    axis.set_ylim(0, 1.35)
    axis.set_yticks([0, 0.5, 1])
    axis.legend(fontsize=7, ncols=2, handlelength=1.2, columnspacing=0.8, loc="upper left")


def _published(axis: Axes, by_variant: dict[str, pd.DataFrame]) -> None:
    looks = _looks(by_variant)
    for label, rows in by_variant.items():
        share = rows["force"] / rows["force"].max()
        axis.plot(rows.index, share, label=label, linewidth=1.2, **looks[label])
    axis.set_ylim(0, 1.08)


def _areas(axis: Axes, by_variant: dict[str, pd.DataFrame]) -> None:
    looks = _looks(by_variant)
    for place, (label, rows) in enumerate(by_variant.items()):
        look = {**looks[label], "linestyle": "none"}
        style.interval(axis, np.array([place]), rows.iloc[[0]], "auc", **look)
    axis.axhline(0.5, color=style.GREY, linewidth=0.8, zorder=1.5)
    axis.set_xticks(range(len(by_variant)), [label.replace(" ", "\n") for label in by_variant])
    axis.tick_params(axis="x", labelsize=8)
    axis.set_xlim(-0.5, len(by_variant) - 0.5)
    axis.set_ylim(0.35, 1.05)
