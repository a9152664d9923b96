"""Step ``clipping_figure``: drifts per seed, which tokens leave the clip band, the closed form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from paradox.evaluate.arms import ALL_SEEDS
from paradox.figures import style
from paradox.figures.step import write
from paradox.files import read_table
from paradox.mechanisms.clipping.bias import gradient_factor
from paradox.mechanisms.clipping.drift import SIDES
from paradox.progress import Progress

NEEDED = ["method", "epsilon", "against", "measure", "primary", "seed", "updates", "predicted"]
KINDS = [("above", "high"), ("above", "low"), ("below", "high"), ("below", "low")]
PRIORS = {"low": 0.3, "high": 0.9}  # of the tokens whose closed form is drawn
LINEAR = 1e-5  # shares below this are drawn on a linear scale, so that 0 has a place
UNCLIPPED = 0.2  # the band that is counted where there is none


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Draw ``table`` of step ``clipping``."""
    write(draw, data(inputs), outputs, progress, "clipping")


def data(inputs: dict[str, Path]) -> pd.DataFrame:
    """Return the drawn numbers, long: ``panel`` drift, share or factor.

    Of factors, ``x`` is the ratio; of shares, ``value`` is the mean per update.
    """
    table = read_table(inputs["table"], [*NEEDED, "value", "low", "high"])
    changes = table[(table["method"] != "base") & table["against"].isna()]
    drifts = changes[changes["primary"].astype(bool)].assign(panel="drift")
    shares = changes[changes["measure"].isin(SIDES) & (changes["seed"].astype(str) == ALL_SEEDS)]
    shares = shares.assign(panel="share")
    for name in ("value", "low", "high"):
        shares[name] = shares[name] / shares["updates"]
    strength = table.loc[table["measure"] == "mu", "value"].iloc[0]
    columns = ["panel", "method", "epsilon", "measure", "seed", "x", "value", "low", "high"]
    columns.append("predicted")
    parts = [drifts, shares, _factors(changes, float(strength))]
    return pd.concat(parts, ignore_index=True).reindex(columns=columns)


def _factors(changes: pd.DataFrame, strength: float) -> pd.DataFrame:
    """Return the closed form for the widest band that clips, by prior, up to ratio 1 / prior."""
    acting = changes[changes["epsilon"] < 1]
    epsilon = acting["epsilon"].max() if len(acting) else UNCLIPPED
    rows = []
    for name, prior in PRIORS.items():
        ratios = [0.6, 1 - epsilon, 1 - epsilon, 1 + epsilon, 1 + epsilon, 1.4]
        inside = np.array([0.6, 0.6, 1.0, 1.0, 1.4, 1.4])
        values = gradient_factor(inside, epsilon, strength)
        for ratio, value in zip(ratios, values, strict=True):
            # A probability cannot exceed 1.
            x = min(ratio, 1 / prior)
            value = value if x == ratio else 0.0
            rows.append({"measure": f"factor_{name}", "x": x, "value": value})
    return pd.DataFrame(rows).assign(panel="factor", epsilon=epsilon)


def draw(table: pd.DataFrame) -> Figure:
    """Draw the figure: drifts, shares and closed form, from left to right."""
    methods = list(dict.fromkeys(table["method"].dropna()))
    drifts = table[table["panel"] == "drift"]
    measures = list(dict.fromkeys(drifts["measure"]))
    looks = {name: {**look, "linestyle": "none"} for name, look in style.arm_looks(methods).items()}
    figure = Figure(figsize=(style.WIDTH, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    columns = figure.add_gridspec(1, 3, width_ratios=[1.15, 1.1, 0.9])
    left = columns[0].subgridspec(len(measures), 1).subplots(squeeze=False)[:, 0]
    for axis, measure in zip(left, measures, strict=True):
        _drifts(axis, drifts[drifts["measure"] == measure], looks)
        arrow = _arrow(drifts[drifts["measure"] == measure])
        axis.set_title(f"{style.label(measure)} {arrow}", loc="left")
    left[-1].set_xlabel("Change per training\n(arrow: predicted with clipping)")
    _shares(figure.add_subplot(columns[1]), table[table["panel"] == "share"], looks)
    right = columns[2].subgridspec(len(PRIORS), 1).subplots(squeeze=False)[:, 0]
    for axis, (name, prior) in zip(right, PRIORS.items(), strict=True):
        rows = table[table["measure"] == f"factor_{name}"]
        _factor(axis, rows, prior)
    right[-1].set_xlabel("Ratio (grey: band)")
    return figure


def _drifts(axis: Axes, table: pd.DataFrame, looks: dict[str, dict[str, Any]]) -> None:
    axis.axvline(0, color=style.GREY, linewidth=1)
    for place, (method, look) in enumerate(looks.items()):
        rows = table[table["method"] == method]
        whole = rows["seed"].astype(str) == ALL_SEEDS
        seeds, mean = rows[~whole], rows[whole].iloc[0]
        axis.plot(seeds["value"], [place - 0.16] * len(seeds), **look, ms=4.5, alpha=0.7)
        if np.isfinite(mean["low"]):
            axis.hlines(place + 0.22, mean["low"], mean["high"], color="black", linewidth=1.4)
        axis.plot(mean["value"], place + 0.22, marker="|", color="black", ms=9, mew=1.8)
    axis.set_yticks(range(len(looks)), list(looks))
    axis.set_ylim(len(looks) - 0.4, -0.6)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=3))
    axis.grid(axis="y", visible=False)


def _arrow(table: pd.DataFrame) -> str:
    """Return where methods that clip are predicted to go."""
    signs = set(table["predicted"].dropna()) - {0}
    return "→" if signs == {1} else "←" if signs == {-1} else ""


def _shares(axis: Axes, table: pd.DataFrame, looks: dict[str, dict[str, Any]]) -> None:
    """Draw one row per kind of token, and in it one line per method."""
    step = 0.8 / len(looks)
    for row, (side, prior) in enumerate(KINDS):
        for index, (method, look) in enumerate(looks.items()):
            y = row + (index - (len(looks) - 1) / 2) * step
            shares = table[table["method"] == method].set_index("measure")["value"]
            for sign, fill, aside in (("pos", look["color"], -1), ("neg", "white", 1)):
                value, place = shares[f"{side}_{sign}_{prior}"], y + 0.22 * aside * step
                axis.plot(value, place, **look, markerfacecolor=fill, ms=5)
        if row:
            axis.axhline(row - 0.5, color="#bbbbbb", linewidth=0.8)
    axis.set_xscale("symlog", linthresh=LINEAR, linscale=0.5)
    top = max(table["value"].max(), 10 * LINEAR)
    axis.set_xlim(-LINEAR / 2, 3 * top)
    axis.set_xticks([0, *(10.0**power for power in range(-5, 1, 1) if 10.0**power < 3 * top)])
    axis.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}%"))
    axis.tick_params(axis="x", labelrotation=60)
    names = [f"{side}\n{prior} prior" for side, prior in KINDS]
    axis.set_yticks(range(len(KINDS)), names)
    axis.set_ylim(len(KINDS) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)
    axis.set_title("Tokens outside the band", loc="left")
    axis.set_xlabel("Share of an update's tokens\n(filled: advantage > 0, open: < 0)")


def _factor(axis: Axes, table: pd.DataFrame, prior: float) -> None:
    epsilon = table["epsilon"].iloc[0]
    axis.axvspan(1 - epsilon, 1 + epsilon, color="#eeeeee", zorder=0)
    axis.axhline(0, color=style.GREY, linewidth=0.8)
    axis.plot(table["x"], table["value"], color="black", linewidth=2)
    if 1 / prior < 1.4:
        axis.axvspan(1 / prior, 1.4, facecolor="white", edgecolor=style.GREY, hatch="///", lw=0)
    top = 1.25 * table["value"].abs().max()
    axis.set_ylim(-top, top)
    axis.set_xlim(0.6, 1.4)
    axis.set_xticks([0.6, 0.8, 1.0, 1.2, 1.4])
    axis.set_title(f"Old probability {prior:g}", loc="left")
    axis.set_ylabel("Expected gradient factor")
