"""How far the numbers of two tables are apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Loaded when tables are compared: commands that may not need it start at once.
    import pandas as pd


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    if path.suffix == ".csv":
        return pd.read_csv(path)
    entries = json.loads(path.read_text(encoding="utf-8"))
    if not all(_flat(entry) for entry in entries.values()):
        # What is nested deeper is texts.
        entries = {name: {"text": json.dumps(entry)} for name, entry in entries.items()}
    return pd.DataFrame.from_dict(entries, orient="index").rename_axis("name").reset_index()


def _flat(entry: object) -> bool:
    return isinstance(entry, dict) and not any(isinstance(v, dict | list) for v in entry.values())


def _over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    if "seed" not in table or not (chosen := table["seed"].astype(str) == "all").any():
        return table
    return table[chosen].reset_index(drop=True)


def table_gaps(a: Path, b: Path, single_seeds: bool = True) -> dict[str, float]:
    """Return the largest absolute difference per column of two tables.

    It is infinite where a text differs, a number is on one side only, or rows or columns do not
    match.

    Parameters
    ----------
    a, b
        Two csv tables, compared row by row, or two json files that map names to entries of
        numbers (one row each) or to anything else (compared as text).
    single_seeds
        Whether to compare the rows of single training seeds, too, in a table with rows over all.
    """
    import pandas as pd

    first, second = _read(a), _read(b)
    if not single_seeds:
        first, second = _over_seeds(first), _over_seeds(second)
    if list(first.columns) != list(second.columns) or len(first) != len(second):
        return dict.fromkeys([*first.columns, *second.columns], float("inf"))
    gaps = {}
    for column in first.columns:
        x, y = first[column], second[column]
        if all(pd.api.types.is_numeric_dtype(part) for part in (x, y)):
            gap = (x.astype(float) - y.astype(float)).abs()
            same = x.isna().equals(y.isna())
            gaps[column] = float(gap.fillna(0).max()) if same else float("inf")
        else:
            gaps[column] = 0.0 if x.astype(str).equals(y.astype(str)) else float("inf")
    return gaps
