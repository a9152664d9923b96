"""Step ``verdicts``: every published signature on every arm, in one table.

``margin`` is what counts as none, ``n`` the pairs of items; ``detectable``, the smallest effect
that a one-sided test at 5 % finds with 80 %: (1.645 + .842) standard errors, from the interval's
width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from paradox.files import read_table, write_table
from paradox.mechanisms.tables.pairs import ARM, Groups
from paradox.progress import Progress
from paradox.tasks.api import ITEM_COLUMNS

COLUMNS = ["analysis", "signature", *ARM, "effect", "low", "high", "p", "margin", "n", "detectable"]
COLUMNS += ["null", "verdict"]
# Standard errors in a 95 % interval, and in an effect that is found with 80 %.
WIDTH, FOUND = 2 * 1.959964, 1.644854 + 0.841621


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write the table.

    ``spec``: ``exposed_from``; ``verdicts``: a list of folders' rows, each with their name
    (``analysis``) and the fields of `paradox.declare.Verdicts`; ``nulls``: signature -> its null.
    ``inputs``: ``items``, and the tables with the verdicts by those names. ``outputs``: ``table``.
    """
    items = read_table(inputs["items"], ITEM_COLUMNS)
    pairs = len(Groups(items, spec["exposed_from"]).exposed)
    parts = []
    for source in spec["verdicts"]:
        rows = rows_of(read_table(Path(inputs[source["analysis"]])), source)
        parts.append(rows.assign(analysis=source["analysis"]))
    table = pd.concat(parts, ignore_index=True)
    table["n"] = table["n"].fillna(pairs).astype(int)
    table["null"] = [_null(signature, spec["nulls"]) for signature in table["signature"]]
    table["detectable"] = FOUND * (table["high"] - table["low"]) / WIDTH
    write_table(outputs["table"], table[COLUMNS])
    progress.say(f"{len(table)} verdicts")


def rows_of(table: pd.DataFrame, signature: dict[str, Any]) -> pd.DataFrame:
    """Return the rows of a table that are verdicts, under the names of the table of verdicts.

    `signature`: the fields of `paradox.declare.Verdicts`.
    """
    for column in signature["largest"]:
        table = table[table[column] == table[column].max()]
    for column, values in signature["only"].items():
        table = table[table[column].isin(values)]
    for column, values in signature["without"].items():
        table = table[~table[column].isin(values)]
    named = [signature["name"].format(**row) for row in table.to_dict("records")]
    renamed = {column: table[name] for column, name in signature["columns"].items()}
    table = table.assign(signature=named, **renamed)
    return table if "n" in table else table.assign(n=float("nan"))


def _null(signature: str, nulls: dict[str, str]) -> str:
    return nulls[max(filter(signature.startswith, nulls), key=len)]
