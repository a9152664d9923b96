"""Step ``partial_prompts_figure``: whether models complete questions they were trained on.

Rows: ``exact`` and ``lift``; two columns per base: exposed items and twins. Filled: the difference
has a p of at most .05.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from paradox.figures import style
from paradox.figures.kit import arm_handles, curve, legend, marker_handles
from paradox.figures.step import write
from paradox.files import read_table
from paradox.mechanisms.tables.pairs import ARM
from paradox.progress import Progress

MEASURES = {"exact": "Completed exactly\n(share)", "lift": "Lift over the clean\nreference (nats)"}
GROUPS = {"exposed": "exposed items", "twin": "never-seen twins"}
ENDS = [f"{group}{end}" for group in GROUPS for end in ("", "_low", "_high")]


def main(
    spec: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Path], progress: Progress
) -> None:
    """Draw ``svg``, ``png`` and ``csv`` of ``table`` of step ``partial_prompts_summary``."""
    write(draw, data(Path(inputs["table"])), outputs, progress, "partial prompts")


def data(path: Path) -> pd.DataFrame:
    """Return the drawn rows, long: one per arm, measure, ratio and group."""
    key = [*ARM, "measure", "ratio"]
    table = read_table(path, [*key, "level", "p", *ENDS])
    # The last level is the one of all exposed items that count.
    table = table[table["measure"].isin(MEASURES) & (table["level"] == table["level"].iloc[-1])]
    table = table.sort_values(key, ignore_index=True)
    parts = [
        table[key].assign(
            group=group,
            value=table[group],
            low=table[f"{group}_low"],
            high=table[f"{group}_high"],
            # Twins are what exposed items are tested against; what does not vary does not differ.
            p=table["p"].fillna(1) if group == "exposed" else float("nan"),
        )
        for group in GROUPS
    ]
    return pd.concat(parts, ignore_index=True)


def draw(table: pd.DataFrame) -> Figure:
    """Draw the figure: a row per measure, both groups of each base."""
    table = table.assign(name=style.arm_names(table), corrected=table["p"])
    bases = style.bases_in_order(table["base"])
    looks = style.arm_looks(style.name_order(table))
    figure, axes = style.grid(len(MEASURES), 2 * len(bases), 5.6, sharey="row")
    for row, (measure, words) in zip(axes, MEASURES.items(), strict=True):
        row[0].set_ylabel(words)
        for column, axis in enumerate(row):
            base, group = bases[column // 2], list(GROUPS)[column % 2]
            axis.axhline(0, color=style.GREY, linewidth=0.8, zorder=1.5)
            chosen = table[(table["base"] == base) & (table["group"] == group)]
            chosen = chosen[chosen["measure"] == measure]
            for place, (name, look) in enumerate(looks.items()):
                rows = chosen[chosen["name"] == name].sort_values("ratio")
                aside = 0.012 * (place - (len(looks) - 1) / 2)
                curve(axis, rows["ratio"] + aside, rows, look)
            if measure == next(iter(MEASURES)):
                axis.set_title(f"{style.label(base)}:\n{GROUPS[group]}")
            ratios = sorted(table["ratio"].unique())
            axis.margins(x=0.12)
            axis.set_xticks(ratios, [f"{ratio:g}" for ratio in ratios])
    figure.align_ylabels(axes[:, 0])
    figure.supxlabel("Share of the question that is given", fontsize=11)
    tested = marker_handles("differs from twins (or is a twin)", "does not")
    legend(figure, arm_handles(looks), tested)
    return figure
