"""Counting how often a test rejects permuted labels and how often it finds what is there."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paradox.mechanisms.tables.pairs import ARM, Array, Pairs
from paradox.stats.bootstrap import binomial_interval
from paradox.stats.rates import ALPHA, Test, false_positives, power

TESTED = ["analysis", "component", "measure", *ARM, "state"]
CELL = [*TESTED, "kind", "exposure", "pairs"]
ALL = "all"


class Sides(NamedTuple):
    """What one test is about."""

    name: tuple[str, ...]  # values of the columns `TESTED`
    seed: str  # of the training, or ``"all"`` where the test is of the mean over seeds
    values: Array  # shape (pairs, 2, layers): exposed item and twin
    inside: NDArray[np.bool_]  # which of all pairs these are
    layers: list[int]  # numbers of the layers


def count(tested: list[Sides], test: Test, pairs: Pairs, spec: dict[str, Any]) -> pd.DataFrame:
    """Return runs and rejections of a test, one row per kind, exposure and number of pairs."""
    settings, seed = spec["error_rates"], spec["bootstrap"]["seed"]
    runs = settings["relabellings"]
    rows: list[tuple[Any, ...]] = []
    for sides in tested:
        key = (seed, *sides.name, sides.seed)
        counted = sides.values[pairs.counts[sides.inside]]
        if not np.ptp(counted, axis=1).any():
            continue
        hits = false_positives(test, counted, *key, runs=runs)
        rows.append((*sides.name, "false_positive", None, len(counted), runs, hits))
        if sides.name[TESTED.index("base")] != spec["bases"]["planted"]:
            continue
        for exposure in settings["exposures"]:
            values = sides.values[pairs.exposures[sides.inside] == exposure]
            sizes = {*(n for n in settings["sizes"] if n < len(values)), len(values)} - {0}
            for size in sorted(sizes):
                hits = power(test, values, *key, exposure, runs=runs, pairs=size)
                rows.append((*sides.name, "power", exposure, size, runs, hits))
    return pd.DataFrame(rows, columns=[*CELL, "runs", "rejected"])


def rates(counts: pd.DataFrame) -> pd.DataFrame:
    """Return the rate of every cell, seeds added up, with its exact interval.

    The last rows have all false positives of an analysis together.
    """
    counts = counts.astype({"exposure": float, "component": str})
    cells = counts.groupby(CELL, sort=True, dropna=False)[["runs", "rejected"]].sum().reset_index()
    false = cells[cells["kind"] == "false_positive"]
    whole = false.groupby("analysis")[["runs", "rejected"]].sum().reset_index()
    whole = whole.assign(**dict.fromkeys(TESTED[1:], ALL), kind="false_positive")
    table = pd.concat([cells, whole], ignore_index=True)[list(cells)]
    table[["exposure", "pairs"]] = table[["exposure", "pairs"]].astype("Int64")
    intervals = [
        binomial_interval(k, n) for k, n in zip(table["rejected"], table["runs"], strict=True)
    ]
    table["rate"], table["low"], table["high"] = zip(
        *((each.value, each.low, each.high) for each in intervals), strict=True
    )
    misses = [table["low"] > ALPHA, table["high"] < ALPHA]
    verdict = np.select(misses, ["liberal", "conservative"], "as_stated")
    table["verdict"] = pd.Series(verdict).where(table["kind"] == "false_positive")
    return table
