"""Step ``layer_figure``: curves over the blocks, exposed against twins, beside their null.

Two columns per base: exposed minus twins in every arm (trained ones after training), and how
training changed that. The grey band is the widest of the arms' 95 % bands of the null, each
corrected for looking at all blocks; a filled marker lies outside of its own arm's band. Bars are
bootstrap intervals over items and seeds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from paradox.errors import DataError, hint
from paradox.figures import kit, style
from paradox.figures.step import write
from paradox.files import read_table
from paradox.progress import Progress


class Row(NamedTuple):
    """A row of panels: a component and measure of the table, and the label of its y axis."""

    component: str
    measure: str
    label: str
    # Whether a base's columns show exposed items and twins; else their difference and its change.
    levels: bool = False

    @property
    def contrasts(self) -> tuple[str, str]:
        """What the two columns of a base show."""
        return LEVELS if self.levels else ("difference", kit.CHANGE)


LEVELS = ("exposed", "twin")
TITLES = {
    "difference": "exposed − twins",
    kit.CHANGE: "change of it",
    "exposed": "exposed items",
    "twin": "never-seen twins",
}


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Draw the figure `spec["figure"]` with `spec["rows"]`, the fields of each `Row`.

    ``table`` is what step ``by_layer`` wrote.
    """
    rows = [Row(**row) for row in spec["rows"]]
    table = data(inputs["table"], rows)
    write(lambda table: draw(table, rows), table, outputs, progress, spec["figure"])


def data(path: Path, rows: list[Row]) -> pd.DataFrame:
    """Return the drawn rows of a contrast table; a row of `rows` without any is a `DataError`."""
    table = read_table(path, kit.COLUMNS)
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
    return kit.with_depth(pd.concat(parts, ignore_index=True)[kit.COLUMNS])


def draw(table: pd.DataFrame, rows: list[Row]) -> Figure:
    """Draw the figure: a row per component and measure, two columns per base."""
    table = table.assign(name=style.arm_names(table))
    names, bases = style.name_order(table), style.bases_in_order(table["base"])
    looks = style.arm_looks(names)
    figure, axes = style.grid(len(rows), 2 * len(bases), 1.3 + 1.75 * len(rows), sharey=False)
    shown: tuple[str, ...] = ()
    for number, row in enumerate(rows):
        drawn = table[(table["component"] == row.component) & (table["measure"] == row.measure)]
        axes[number, 0].set_ylabel(row.label)
        for column, axis in enumerate(axes[number]):
            base, contrast = bases[column // 2], row.contrasts[column % 2]
            if column > 1 or row.contrasts == LEVELS:
                # Bases are compared, and so are exposed items and twins.
                axis.sharey(axes[number, 0 if row.contrasts == LEVELS else column % 2])
            if row.contrasts != shown:
                axis.set_title(f"{style.label(base)}:\n{TITLES[contrast]}")
            kit.panel(axis, kit.pick(drawn[drawn["base"] == base], contrast), looks)
            if contrast not in LEVELS:
                axis.axhline(0, color=style.GREY, linewidth=0.8, zorder=1.5)
            elif row.measure.endswith("rank"):
                kit.log_axis(axis)
        shown = row.contrasts
    for axis in axes[-1]:
        kit.depth_axis(axis)
    figure.align_ylabels(axes[:, 0])
    kit.legend(figure, kit.arm_handles(looks), kit.null_handles())
    figure.supxlabel("Relative depth (embedding 0, last block 1)", fontsize=11)
    return figure
