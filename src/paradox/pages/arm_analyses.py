"""What the analyses found on one arm, from the files of that arm alone, without a test.

Nulls, intervals over seeds and corrections for the number of blocks belong to all arms together.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from paradox.files import read_table


class Shown(NamedTuple):
    """A per-item table of an analysis that the page of an arm sums up."""

    measure: str
    what: str
    # A pattern of the components that are shown.
    only: str = ""


def table_name(path: Path) -> str:
    """Return a table's name below the arm's folder.

    >>> table_name(Path("results/tiny/runs/b/grpo/format/s0/lens/attribution.parquet"))
    'lens/attribution'
    """
    return f"{Path(path).parent.name}/{Path(path).stem}"


def shown(
    tables: dict[str, dict[str, Any]], paths: Sequence[Path], items: Path, exposed_from: int
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield what each table says, in words, and the rows that the page shows of it.

    `tables` has, by name below the arm's folder, the fields of `Shown`; or ``module`` and
    ``function`` that read the table, and ``what`` stands above its rows.
    """
    groups = _groups(items, exposed_from)
    for path in paths:
        name = table_name(path)
        told = tables[name]
        if "function" in told:
            read = getattr(importlib.import_module(told["module"]), told["function"])
            yield told["what"], read(path)
        else:
            yield _by_block(name, path, Shown(**told), *groups)


def _groups(items: Path, exposed_from: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the exposed items that count, and their own twins (where there are pairs)."""
    known = read_table(items, ["item", "group", "exposure"])
    counted = known["exposure"].isna() | (known["exposure"] >= exposed_from)
    exposed = known[(known["group"] == "exposed") & counted]
    twins = known[known["group"] == "twin"]
    if "pair" in known:
        twins = twins[twins["pair"].isin(exposed["pair"])]
    return exposed, twins


def _by_block(
    name: str, path: Path, shown: Shown, exposed: pd.DataFrame, twins: pd.DataFrame
) -> tuple[str, pd.DataFrame]:
    """Return what an analysis measures and, per component, the block where groups differ most."""
    rows = read_table(path, ["item", "component", "layer", shown.measure])
    rows = rows[rows["component"].str.match(shown.only)]
    groups = [rows[rows["item"].isin(group["item"])] for group in (exposed, twins)]
    counts = [group["item"].nunique() for group in groups]
    text = f"{name.removesuffix('/table')}: {shown.what}. Per component the block "
    text += f"where {counts[0]} exposed items differ most from {counts[1]} twins."
    means = [group.groupby(["component", "layer"])[shown.measure].mean() for group in groups]
    table = pd.DataFrame({"exposed": means[0], "twins": means[1]}).dropna()
    table["difference"] = table["exposed"] - table["twins"]
    largest = table["difference"].abs().groupby(level=0, sort=True).idxmax()
    table = table.loc[list(largest)].map("{:+.3g}".format).reset_index()
    return text, table.rename(columns={"layer": "block"})
