"""The table of verdicts to read: what figure ``verdicts`` shows, with its numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from paradox.evaluate.arms import Arm
from paradox.figures.names import arm_words, bases_in_order

ARM = list(Arm._fields)


def numbers(row: Any) -> str:
    """Return a verdict with its effect, interval, p, pairs and the smallest effect found."""
    if pd.isna(row["effect"]):
        return f"{row['verdict']}: nothing to measure"
    number = f"{row['effect']:+.2g} [{row['low']:+.2g}, {row['high']:+.2g}]"
    power = f"n = {row['n']:.0f}, finds {row['detectable']:.2g}"
    return f"{row['verdict']}: {number}, p = {row['p']:.2g} ({power})"


def in_words(table: pd.DataFrame, cell: Callable[[Any], str] = numbers) -> pd.DataFrame:
    """Return the table to read: a row per signature, a column per arm, bases in their order.

    Parameters
    ----------
    cell
        What is said of a row of `table`.
    """
    arms = table[ARM].drop_duplicates()
    order = {base: place for place, base in enumerate(bases_in_order(arms["base"]))}
    named = sorted(arms.itertuples(index=False), key=lambda a: (order[a.base], a.method != "base"))
    rows = []
    several = arms.loc[arms["method"] != "base", "method"].nunique() > 1
    for name, verdicts in table.groupby("signature", sort=False):
        cells = {
            arm_words(row, base=True, method=several): cell(row) for _, row in verdicts.iterrows()
        }
        rows.append({"signature": name, "null": verdicts["null"].iloc[0]} | cells)
    titles = [arm_words(arm._asdict(), base=True, method=several) for arm in named]
    titles = ["signature", "null", *titles]
    return pd.DataFrame(rows, columns=titles).fillna("")
