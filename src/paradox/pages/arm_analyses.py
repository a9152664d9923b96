"""What the analyses found on one arm, from the files of that arm alone.

A summary of single files, without a test: nulls, intervals over seeds and corrections for the
number of blocks belong to all arms together and are on the pages of the mechanisms.
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

    Parameters
    ----------
    tables
        Name below the arm's folder -> how it is shown: the fields of `Shown`, or ``module`` and
        ``function`` that read it, and ``what`` stands above its rows.
    """
    groups = _groups(items, exposed_from)
    for path in paths:
        name = table_name(path)
        how = tables[name]
        if "function" in how:
            read = getattr(importlib.import_module(how["module"]), how["function"])
            yield how["what"], read(path)
        else:
            yield _by_block(name, path, Shown(**how), *groups)


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
    name: str, path: Path, how: Shown, exposed: pd.DataFrame, twins: pd.DataFrame
) -> tuple[str, pd.DataFrame]:
    """Return what an analysis measures and, per component, the block where groups differ most."""
    rows = _rows(path, how)
    groups = [rows[rows["item"].isin(group["item"])] for group in (exposed, twins)]
    counts = [group["item"].nunique() for group in groups]
    text = f"{name.removesuffix('/table')}: {how.what}. Per component the block "
    text += f"where {counts[0]} exposed items differ most from {counts[1]} twins."
    return text, _largest(*groups, how.measure)


def _rows(path: Path, how: Shown) -> pd.DataFrame:
    rows = read_table(path, ["item", "component", "layer", how.measure])
    names = pd.Series(rows["component"].unique())
    return rows[rows["component"].isin(names[names.str.match(how.only)])]


def _largest(exposed: pd.DataFrame, twin: pd.DataFrame, measure: str) -> pd.DataFrame:
    key = ["component", "layer"]
    both = {"exposed": exposed, "twins": twin}
    means = pd.DataFrame({name: of.groupby(key)[measure].mean() for name, of in both.items()})
    means = means.dropna()
    means["difference"] = means["exposed"] - means["twins"]
    largest = means["difference"].abs().groupby(level=0, sort=True).idxmax()
    found = means.loc[list(largest)].map("{:+.3g}".format).reset_index()
    return found.rename(columns={"layer": "block"})
