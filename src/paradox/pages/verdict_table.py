"""The table of verdicts to read: what figure ``verdicts`` shows, with its numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from paradox.evaluate.arms import Arm
from paradox.figures.names import arm_words, bases_in_order
from paradox.mechanisms.tables.verdict import UNTESTABLE
from paradox.report.numbers import number

ARM = list(Arm._fields)


def numbers(row: Any) -> str:
    """Return a verdict with reason, effect, interval, p, items, replicates and what is found."""
    said = row["verdict"] if pd.isna(row["reason"]) else f"{row['verdict']} ({row['reason']})"
    if pd.isna(row["effect"]):
        return said
    effect = number(row["effect"], row["low"], row["high"])
    if pd.notna(row["p"]):
        effect += f", p = {row['p']:.2g} (Holm {row['holm']:.2g})"
    size = f"{row['items']:.0f} items x {row['replicates']:.0f}"
    if pd.notna(row["detectable"]):
        size += f", finds {row['detectable']:.2g}"
    return f"{said}: {effect}; {size}"


def in_words(table: pd.DataFrame, cell: Callable[[Any], str] = numbers) -> pd.DataFrame:
    """Return the table to read: a row per signature, a column per arm, bases in their order.

    `cell` says what stands for a row of `table`. Claims that cannot be tested are left out.
    """
    table = table[table["verdict"] != UNTESTABLE]
    arms = [Arm(*row) for row in table[ARM].drop_duplicates().itertuples(index=False)]
    order = bases_in_order(arm.base for arm in arms)
    arms.sort(key=lambda arm: (order.index(arm.base), arm.trained))
    several = len({arm.method for arm in arms if arm.trained}) > 1
    rows = []
    for name, verdicts in table.groupby("signature", sort=False):
        cells = {
            arm_words(row, base=True, method=several): cell(row) for _, row in verdicts.iterrows()
        }
        rows.append({"signature": name, "null": verdicts["null"].iloc[0]} | cells)
    titles = [arm_words(arm._asdict(), base=True, method=several) for arm in arms]
    return pd.DataFrame(rows, columns=["signature", "null", *titles]).fillna("")


def untestable(table: pd.DataFrame) -> pd.DataFrame:
    """Return the claims that cannot be tested here, each with the reason."""
    return table.loc[table["verdict"] == UNTESTABLE, ["signature", "reason"]]
