"""Step ``probes_change``: how training changed the share of pairs that a probe tells apart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from paradox.files import read_table, write_table
from paradox.mechanisms.tables.by_layer import curves
from paradox.mechanisms.tables.pairs import ARM, KEYS, Array
from paradox.mechanisms.tables.words import AFTER, CHANGE
from paradox.progress import Progress
from paradox.seeds import Key
from paradox.stats.crossed import mean
from paradox.stats.layers import LayerTest, flips, max_test


def main(
    spec: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write the table of all arms.

    ``spec``: ``permutations`` and ``bootstrap`` (its seed keys them). ``inputs``: ``tables``, those
    of step ``probes`` with a row per item. ``outputs``: ``table``, a row per arm, position and
    layer (-1 is the embedding).
    """
    tables = [read_table(Path(path), [*KEYS, "won"]) for path in inputs["tables"]]
    rows = list(changes(tables, spec["permutations"], spec["bootstrap"]["seed"]))
    columns = [*ARM, "position", "layer", "change", "low", "high", "p", "corrected", "pairs"]
    write_table(outputs["table"], pd.DataFrame(rows, columns=[*columns, "replicates"]))
    progress("arms", len(tables), len(tables))


def changes(tables: list[pd.DataFrame], permutations: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the rows: interval and ``p`` (of "not 0") over pairs and replicates.

    ``corrected`` swaps the two models within pairs, given these trainings, and takes the largest
    layer. An untrained base has not changed.
    """
    for curve in curves(tables, "won", list(dict.fromkeys(tables[0]["item"]))):
        if curve.state == AFTER:
            continue
        change = curve.values if curve.state == CHANGE else np.zeros_like(curve.values)
        test = swapped(change.mean(axis=2), permutations, seed)
        estimates = mean(change.swapaxes(1, 2), "pairs").estimates()
        for layer, estimate, corrected in zip(curve.layers, estimates, test.corrected, strict=True):
            yield {
                **dict(zip(ARM, curve.arm, strict=True)),
                "position": curve.component,
                "layer": layer,
                "change": estimate.value,
                "low": estimate.low,
                "high": estimate.high,
                "p": estimate.differs,
                "corrected": corrected,
                "pairs": estimate.items,
                "replicates": estimate.replicates,
            }


def swapped(change: Array, permutations: int, *key: Key) -> LayerTest:
    """Test changes of shape (pairs, layers) by swapping the two models within pairs."""
    signs, exact = flips(len(change), permutations, "probes", *key)
    return max_test(change.mean(axis=0), signs @ change / len(change), exact)
