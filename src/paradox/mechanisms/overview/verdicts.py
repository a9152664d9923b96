"""Step ``verdicts``: every published signature on every arm, in one table.

``p``: paradox.stats.crossed, beside it ``holm``, Holm's correction over all rows; ``margin`` is
what counts as none, ``detectable`` the effect that is found with 80 %, empty where nothing varies.
A published claim without a row of its own on any arm stands once, without numbers, with the
``reason`` why it is not testable here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from paradox.files import read_table, write_table
from paradox.mechanisms.tables.pairs import ARM
from paradox.mechanisms.tables.verdict import UNTESTABLE
from paradox.progress import Progress
from paradox.stats.signs import holm

COLUMNS = ["analysis", "signature", *ARM, "effect", "low", "high", "p", "holm", "margin", "items"]
COLUMNS += ["replicates", "detectable", "null", "verdict", "reason"]
# Standard errors in a 95 % interval, and in an effect that is found with 80 %.
WIDTH, FOUND = 2 * 1.959964, 1.959964 + 0.841621


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write the table.

    Parameters
    ----------
    spec
        ``verdicts``: a list of folders' rows, each with their name (``analysis``), and how they
        are chosen and called (`paradox.declare.Verdicts`); ``nulls``: signature -> its null.
    inputs
        The tables with the verdicts by those names.
    outputs
        ``table``.
    """
    parts = []
    for source in spec["verdicts"]:
        rows = rows_of(read_table(Path(inputs[source["analysis"]])), source)
        parts.append(rows.assign(analysis=source["analysis"]))
    table = pd.concat(parts, ignore_index=True)
    table["null"] = [_null(signature, spec["nulls"]) for signature in table["signature"]]
    width = table["high"] - table["low"]
    table["detectable"] = np.where(width > 0, FOUND * width / WIDTH, np.nan)
    tested = table["p"].notna()
    table.loc[tested, "holm"] = holm(table.loc[tested, "p"].tolist())
    untestable = pd.DataFrame(spec["untestable"], columns=["analysis", "signature", "reason"])
    table = pd.concat([table, untestable.assign(verdict=UNTESTABLE)], ignore_index=True)
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
    return table.assign(signature=named, **renamed)


def _null(signature: str, nulls: dict[str, str]) -> str:
    return nulls[max(filter(signature.startswith, nulls), key=len)]
