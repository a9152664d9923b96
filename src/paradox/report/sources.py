"""What the paper may quote: the files it was given, and how numbers are printed in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from paradox.errors import DataError, hint
from paradox.files import read_json, read_table
from paradox.mechanisms.tables.verdict import UNTESTABLE
from paradox.mechanisms.tables.words import BEYOND_CLEAN
from paradox.report.numbers import number

KINDS = {".svg": "figure ", ".json": "reading "}


class Claim(NamedTuple):
    """A published claim, as its analysis declares it.

    Rows of the table of verdicts are called as it, or begin with its name.
    """

    name: str
    # What follows "that".
    words: str
    # A key of the references.
    source: str
    # Of the paper that judges it, or nothing.
    section: str
    # What may follow the name, and how it is put into words.
    details: dict[str, str]

    def covers(self, signature: str) -> bool:
        """Whether a row of the table of verdicts is about this claim."""
        rest = signature.removeprefix(self.name)
        return signature.startswith(self.name) and rest[:1] in ("", ":", ",")

    def detail(self, signature: str) -> str:
        """Return what a row is about in particular, in words, or nothing."""
        parts = signature.removeprefix(self.name).lstrip(":, ").split(": ")
        known = self.details | {"": "", BEYOND_CLEAN: BEYOND_CLEAN}
        return ", ".join(known.get(part, f"rule {part.replace('_', ' ')}") for part in parts)

    def about(self, signature: str) -> str:
        """Return the claim with what a row is about in particular."""
        detail = self.detail(signature)
        return self.words + (f" ({detail})" if detail else "")


class Sources:
    """Tables, readings and figures by name.

    The name is a file's without its suffix, for figures and readings with that word before it;
    files of another grid have its name before theirs (``methods/did``). `planted` is the
    contaminated base, where there is one; `claims` are the published ones that the paper judges.
    """

    def __init__(
        self, files: Iterable[Path], planted: str | None = None, claims: Sequence[Claim] = ()
    ) -> None:
        self.planted, self.claims = planted, list(claims)
        self.files = {KINDS.get(path.suffix, "") + _named(path): path for path in files}
        self._read: dict[str, pd.DataFrame] = {}

    def has(self, *names: str) -> bool:
        """Whether all of these files were given."""
        return all(name in self.files for name in names)

    def claim(self, signature: str) -> Claim:
        """Return the claim of a row of the table of verdicts; none is a `DataError`."""
        for claim in self.claims:
            if claim.covers(signature):
                return claim
        known = [claim.name for claim in self.claims]
        raise DataError(
            f"verdicts: signature {signature!r} is not a claim; {hint(signature, known)}"
        )

    def judged(self, *columns: str) -> pd.DataFrame:
        """Return the rows of the table of verdicts on claims that the paper judges."""
        table = self.table("verdicts", "signature", "verdict", *columns)
        table = table[table["verdict"] != UNTESTABLE]
        return table[[any(c.covers(str(name)) for c in self.claims) for name in table["signature"]]]

    def untestable(self) -> pd.DataFrame:
        """Return the rows of the table of verdicts on claims that cannot be tested here."""
        table = self.table("verdicts", "signature", "verdict", "reason")
        return table[table["verdict"] == UNTESTABLE]

    def path(self, name: str) -> Path:
        """Return a file; one that was not given is a `DataError`."""
        if name not in self.files:
            raise DataError(f"the paper quotes {name!r}, not given; {hint(name, self.files)}")
        return self.files[name]

    def table(self, name: str, *columns: str) -> pd.DataFrame:
        """Read a table that has `columns`."""
        if name not in self._read:
            self._read[name] = read_table(self.path(name))
        table = self._read[name]
        for column in columns:
            if column not in table.columns:
                raise DataError(f"{self.path(name)}: no column {column!r}; {hint(column, table)}")
        return table

    def said(self, name: str, key: str) -> Any:
        """Return an entry of a reading (JSON)."""
        path = self.path(f"reading {name}")
        entries = read_json(path)
        if key not in entries:
            raise DataError(f"{path}: no entry {key!r}; {hint(key, entries)}")
        return entries[key]

    def rows(self, name: str, *columns: str, **key: Any) -> pd.DataFrame:
        """Return the rows of a table with the values of `key`; none is a `DataError`."""
        table = self.table(name, *columns, *key)
        for column, value in key.items():
            # An empty field of a csv is a missing value, and a name of digits is a number.
            chosen = table[table[column].astype("string").fillna("") == str(value)]
            if chosen.empty:
                allowed = hint(value, sorted(table[column].dropna().unique(), key=str))
                given = ", ".join(f"{one} = {two!r}" for one, two in key.items())
                raise DataError(
                    f"{self.path(name)}: no row with {given}; {column} = {value!r} is not "
                    f"there; {allowed}"
                )
            table = chosen
        return table

    def row(self, name: str, *columns: str, **key: Any) -> dict[str, Any]:
        """Return the one row with the values of `key`; several are a `DataError`."""
        rows = self.rows(name, *columns, **key)
        if len(rows) > 1:
            raise DataError(f"{self.path(name)}: {len(rows)} rows with {key}, expected one.")
        return rows.iloc[0].to_dict()


def _named(path: Path) -> str:
    *_, grids, grid, _, _ = ("", "", "", "", *path.parts)
    return f"{grid}/{path.stem}" if grids == "grids" else path.stem


def percent(value: float, low: float, high: float) -> str:
    """Print a share with its interval in per cent.

    >>> percent(0.049, 0.045, 0.053)
    '4.9 % [4.5, 5.3]'
    """
    return number(100 * value, 100 * low, 100 * high, "%", ".1f")


def probability(value: float) -> str:
    """Print a p-value.

    >>> probability(0.00049975), probability(0.4), probability(1.0)
    ('p = 0.0005', 'p = 0.4', 'p = 1')
    """
    return f"p = {value:.2g}"


def printed(value: Any) -> Any:
    """Return texts with true minus signs before numbers, in whatever they are nested.

    >>> printed(["-0.5 [-1, 2]", {"a": "blocks 0-5"}])
    ['−0.5 [−1, 2]', {'a': 'blocks 0-5'}]
    """
    if isinstance(value, str):
        return re.sub(r"(?<![\w.])-(?=[\d.])", "−", value)
    if isinstance(value, list):
        return [printed(each) for each in value]
    if isinstance(value, dict):
        return {key: printed(each) for key, each in value.items()}
    return value
