"""Per-item results of all arms, checked and put side by side.

An *arm* is base x method x reward; it holds seeds, a seed optimiser steps, and a step one row per
item. Step 0 is the untrained base, which is an arm of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paradox.errors import DataError, hint, problems
from paradox.files import read_table

KEYS = ["base", "method", "reward", "seed", "step"]
GROUPS = ["exposed", "twin"]
ALL_SEEDS = "all"


class Arm(NamedTuple):
    """One arm without its seed; the untrained base is ``Arm(base, "base", "none")``."""

    base: str
    method: str
    reward: str

    @property
    def trained(self) -> bool:
        """Whether this arm went through training."""
        return self.method != "base"

    @property
    def untrained(self) -> Arm:
        """The arm of the same base before training."""
        return Arm(self.base, "base", "none")


@dataclass(frozen=True)
class Level:
    """Items that are summed up together."""

    # ``"twin"``, an exposure count such as ``"32"``, or ``"exposed"`` for all exposed items
    # with at least `exposed_from` exposures (or of unknown exposure)
    name: str
    group: str  # exposed or twin
    exposure: int | None  # the exposure count; None for ``"exposed"``
    items: pd.Index  # names of the items, in the order of the item table


@dataclass(frozen=True)
class Results:
    """Per-item tables of all arms."""

    # Maps an arm to seed to step to a table indexed by item; all have the same items in the
    # same order
    tables: dict[Arm, dict[int, dict[int, pd.DataFrame]]]

    def each(self) -> Iterator[pd.DataFrame]:
        """Yield the table of every arm, seed and step."""
        for by_seed in self.tables.values():
            for by_step in by_seed.values():
                yield from by_step.values()

    @property
    def arms(self) -> list[Arm]:
        """All arms, sorted; a base's untrained arm comes before its trained ones."""
        return sorted(self.tables, key=lambda arm: (arm.base, arm.trained, arm))

    def seeds(self, arm: Arm, step: int | None = None) -> list[int]:
        """Return the arm's seeds (those that have `step`, when given)."""
        held = self.tables.get(arm, {})
        return sorted(seed for seed in held if step is None or step in held[seed])

    def steps(self, arm: Arm, seeds: Sequence[int]) -> list[int]:
        """Return the steps that all `seeds` of the arm have."""
        sets = [set(self.tables[arm][seed]) for seed in seeds]
        return sorted(set.intersection(*sets)) if sets else []

    def values(
        self, arm: Arm, seeds: Sequence[int], step: int, column: str, items: pd.Index
    ) -> NDArray[np.float64]:
        """Return one column as an array of shape (items, seeds)."""
        held = self.tables[arm]
        columns = [held[seed][step].loc[items, column].to_numpy(float) for seed in seeds]
        return np.stack(columns, axis=1)

    def before(self, arm: Arm, column: str, items: pd.Index) -> NDArray[np.float64]:
        """Return one column of the untrained base, shape (items, 1)."""
        base = arm.untrained
        seed = min(self.tables[base])
        return self.values(base, [seed], 0, column, items)


def read_results(
    paths: Sequence[Path],
    columns: Sequence[str],
    items: pd.DataFrame,
    optional: Sequence[str] = (),
) -> Results:
    """Read per-item result files of all arms and check that they fit together.

    Files have `KEYS`, item and the measured columns; the order of the table `items` is kept. Fields
    of `columns` must hold finite numbers; those of `optional` may be empty for some items, the same
    ones in every arm. A `DataError` names every file, arm and step that is malformed, or has not
    the items of the others.
    """
    if not paths:
        raise DataError("no result files were given; at least the untrained base is needed.")
    frames = [read_table(Path(path), [*KEYS, "item", *columns, *optional]) for path in paths]
    bad = [
        line
        for path, frame in zip(paths, frames, strict=True)
        for line in _bad_fields(path, frame, columns)
    ]
    if bad:
        raise DataError(problems("malformed results", bad))
    everything = pd.concat(frames, ignore_index=True)
    unknown = sorted(set(everything["item"]) - set(items["item"]))
    if unknown:
        raise DataError(
            f"{len(unknown)} measured items are not in the item table, the first is "
            f"{unknown[0]!r}: the results belong to another item table."
        )
    present = set(everything["item"])
    order = pd.Index([name for name in items["item"] if name in present], name="item")
    tables: dict[Arm, dict[int, dict[int, pd.DataFrame]]] = {}
    for key, rows in everything.groupby(KEYS, sort=True):
        base, method, reward, seed, step = key
        table = rows.set_index("item")
        if not table.index.is_unique or len(table) != len(order):
            measured = table.index.nunique()
            bad.append(
                f"{base}/{method}/{reward}/s{seed} step {step}: found {len(table)} rows for "
                f"{measured} items, needed one row for each of {len(order)} items"
            )
            continue
        arm = Arm(str(base), str(method), str(reward))
        tables.setdefault(arm, {}).setdefault(int(seed), {})[int(step)] = table.loc[order]
    bad += _missing_bases(tables)
    for name in optional:
        empty = everything[name].isna().groupby(everything["item"])
        mixed = empty.any() & ~empty.all()
        if mixed.any():
            bad.append(f"column {name!r} is empty in some arms only, for {mixed.sum()} items")
    if bad:
        raise DataError(problems("results do not fit together", bad))
    return Results(tables)


def _bad_fields(path: Path, frame: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    lines = [
        f"{path}: column {name!r} has empty fields"
        for name in [*KEYS, "item"]
        if frame[name].isna().any()
    ]
    for name in columns:
        numbers = pd.to_numeric(frame[name], errors="coerce")
        count = int((~np.isfinite(numbers)).sum())
        if count:
            lines.append(f"{path}: column {name!r} has {count} fields that are not finite numbers")
    return lines


def _missing_bases(tables: dict[Arm, dict[int, dict[int, pd.DataFrame]]]) -> list[str]:
    bases = {arm.base for arm in tables}
    return [
        f"{base}: the untrained arm {base}/base/none/s0 with step 0 is missing"
        for base in sorted(bases)
        if not any(0 in steps for steps in tables.get(Arm(base, "base", "none"), {}).values())
    ]


def read_items(path: Path) -> pd.DataFrame:
    """Read the item table and check its groups."""
    items = read_table(path, ["item", "group", "exposure"])
    bad = [
        f"group {name!r} is not known; {hint(name, GROUPS)}"
        for name in sorted(set(items["group"].astype(str)) - set(GROUPS))
    ]
    if items["item"].duplicated().any():
        bad.append(f"item {items['item'][items['item'].duplicated()].iloc[0]!r} stands twice")
    if bad:
        raise DataError(problems(f"{path}: malformed item table", bad))
    return items


def levels(items: pd.DataFrame, measured: pd.Index, exposed_from: int) -> list[Level]:
    """Return the twins, each known exposure, and all exposed items that count as such.

    A `DataError` tells when no exposed item has `exposed_from` exposures.
    """
    known = items[items["item"].isin(measured)]
    twins = known[known["group"] == "twin"]
    exposed = known[known["group"] == "exposed"]
    rows_of = [Level("twin", "twin", 0, pd.Index(twins["item"]))] if len(twins) else []
    for exposure, rows in exposed.dropna(subset="exposure").groupby("exposure", sort=True):
        count = int(exposure)
        rows_of.append(Level(str(count), "exposed", count, pd.Index(rows["item"])))
    enough = exposed[exposed["exposure"].isna() | (exposed["exposure"] >= exposed_from)]
    if enough.empty:
        raise DataError(
            f"no exposed item was measured that has exposed_from = {exposed_from} exposures or "
            f"more (largest found: {exposed['exposure'].max()})."
        )
    return [*rows_of, Level("exposed", "exposed", None, pd.Index(enough["item"]))]
