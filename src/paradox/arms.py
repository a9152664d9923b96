"""The columns of an arm in the tables of single arms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd


def with_arm(table: pd.DataFrame, arm: Mapping[str, Any], **more: Any) -> pd.DataFrame:
    """Return a table with the columns of its arm before its own.

    Parameters
    ----------
    arm
        ``base``, ``method``, ``reward`` and ``seed``.
    more
        Columns behind them, such as ``step``.

    >>> with_arm(pd.DataFrame({"item": ["a"]}), {"base": "clean"}, step=3).to_dict("list")
    {'base': ['clean'], 'step': [3], 'item': ['a']}
    """
    table = table.copy(deep=False)
    for column, value in reversed([*arm.items(), *more.items()]):
        table.insert(0, column, value)
    return table
