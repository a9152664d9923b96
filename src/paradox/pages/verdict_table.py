"""The table of verdicts to read: what figure ``verdicts`` shows, with its numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from paradox.evaluate.arms import Arm
from paradox.figures.names import bases_in_order

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
    for name, of in table.groupby("signature", sort=False):
        cells = {_title(*of.loc[n, ARM]): cell(of.loc[n]) for n in of.index}
        rows.append({"signature": name, "null": of["null"].iloc[0]} | cells)
    titles = ["signature", "null", *(_title(*arm) for arm in named)]
    return pd.DataFrame(rows, columns=titles).fillna("")


def _title(base: str, method: str, reward: str) -> str:
    return f"{base}, {'untrained' if method == 'base' else reward}"
