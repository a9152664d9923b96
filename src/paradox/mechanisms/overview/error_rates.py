"""Step ``error_rates``: how far the tests of the mechanisms can be trusted.

The rate of rejections at the 5 % level of every test of exposed items against their twins:
``false_positive`` with labels permuted within pairs, ``power`` with so many pairs of one exposure,
drawn with replacement from those of the planted base. Where all pairs have equal sides there is no
row. ``verdict``: .05 is inside the rate's exact interval (``as_stated``), below it (``liberal``) or
above it (``conservative``).

*Equivalence*: whether the clean base's difference is within a margin at every layer, `margin_share`
of the planted base's largest for the same arm, measure and state, over pairs and replicates
(`paradox.stats.crossed`); ``smallest``: from which margin, in the measure's unit, it would hold.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from paradox.errors import DataError
from paradox.files import read_table, write_table
from paradox.mechanisms.tables.by_layer import curves
from paradox.mechanisms.tables.pairs import KEYS, Pairs
from paradox.mechanisms.tables.rates import ALL, CELL, TESTED, Sides, count, rates
from paradox.progress import Progress
from paradox.stats.crossed import Number, mean
from paradox.stats.layers import equivalent_everywhere
from paradox.stats.rates import largest_layer
from paradox.tasks.api import ITEM_COLUMNS


def main(
    spec: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write both tables.

    ``spec``: ``tested`` (a list of ``name``, ``how`` it is tested, ``measures`` and, of how
    ``own``, the ``module`` with ``sides`` and ``test``), ``exposed_from``, ``bootstrap``, ``bases``
    (names of the ``planted`` base and, or null, of the ``clean`` one) and ``error_rates``.
    ``inputs``: ``items``, and by the name of each test a list of the files that it reads.
    ``outputs``: ``rates`` and ``equivalence``.

    Raises `DataError` when items have no pairs, or tables do not fit.
    """
    pairs = Pairs(read_table(inputs["items"], ITEM_COLUMNS), spec["exposed_from"])
    missing = set(spec["error_rates"]["exposures"]) - set(pairs.exposures)
    if missing:
        raise DataError(
            f"key error_rates.exposures: no exposed item has {sorted(missing)} exposures; "
            f"found: {sorted(set(pairs.exposures))}."
        )
    counts: list[pd.DataFrame] = []
    curved: list[Curved] = []
    permutations = spec["error_rates"]["permutations"]
    for done, tested in enumerate(spec["tested"], start=1):
        name = tested["name"]
        paths = [Path(path) for path in inputs[name]]
        if tested["how"] == "counted":
            counts.append(_counted(paths, spec["bases"]["planted"]).assign(analysis=name))
        elif tested["how"] == "own":
            module = importlib.import_module(tested["module"])
            sides = list(module.sides(paths, tested["measures"], pairs))
            counts.append(count(sides, module.test(permutations), pairs, spec))
        else:
            by_layer = list(of_layers(name, paths, tested["measures"], pairs))
            sides = [curve.sides for curve in by_layer]
            counts.append(count(sides, largest_layer(permutations), pairs, spec))
            curved += by_layer
        progress("analyses", done, len(spec["tested"]), name)
    write_table(outputs["rates"], rates(pd.concat(counts, ignore_index=True)))
    write_table(outputs["equivalence"], equivalences(curved, pairs, spec))


# --- reading ------------------------------------------------------------------------------


def _counted(paths: list[Path], planted: str) -> pd.DataFrame:
    """Return what an analysis has counted for itself: power of the planted base only."""
    columns = [*CELL[1:], "runs", "rejected"]
    counts = pd.concat([read_table(path, columns)[columns] for path in paths])
    return counts[(counts["base"] == planted) | (counts["kind"] == "false_positive")]


class Curved(NamedTuple):
    """A curve over layers."""

    sides: Sides  # as mean over replicates
    gap: Number  # exposed item minus twin of the pairs that count, per layer


def of_layers(
    analysis: str, paths: list[Path], measures: list[str], pairs: Pairs
) -> Iterator[Curved]:
    """Yield every curve of a mechanism's tables by layer."""
    tables = [read_table(path, [*KEYS, *measures]) for path in paths]
    every = np.ones(len(pairs.names), dtype=bool)
    for measure in measures:
        for curve in curves(tables, measure, pairs.items):
            values = pairs.sides(curve.values.mean(axis=2))
            name = (analysis, curve.component, measure, *curve.arm, curve.state)
            split = len(pairs.names)
            gaps = (curve.values[:split] - curve.values[split:])[pairs.counts].swapaxes(1, 2)
            yield Curved(Sides(name, ALL, values, every, curve.layers), mean(gaps, "pairs"))


# --- equivalence --------------------------------------------------------------------------


def equivalences(curved: list[Curved], pairs: Pairs, spec: dict[str, Any]) -> pd.DataFrame:
    """Return, for every curve of the clean base, whether it is flat within a margin."""
    clean, planted = spec["bases"]["clean"], spec["bases"]["planted"]
    place = TESTED.index("base")
    gaps = {curve.sides.name: curve.gap for curve in curved}
    rows = []
    for curve, gap in curved:
        like = gaps.get((*curve.name[:place], planted, *curve.name[place + 1 :]))
        if curve.name[place] != clean or like is None:
            continue
        effect = float(np.abs(like.value).max())
        # Without any effect to compare with, nothing is equivalent.
        margin = max(spec["error_rates"]["margin_share"] * effect, np.finfo(float).tiny)
        p, tests = equivalent_everywhere(gap, margin)
        ends = [max(-test.low, test.high) for test in tests]
        worst = int(np.argmax(ends))
        row = dict(zip(TESTED, curve.name, strict=True))
        row |= {"pairs": gap.items, "replicates": gap.replicates}
        row |= {"effect": effect, "margin": margin, "layer": curve.layers[worst]}
        row |= {"low": tests[worst].low, "high": tests[worst].high, "smallest": ends[worst]}
        rows.append(row | {"p": p, "equivalent": all(test.equivalent for test in tests)})
    columns = [*TESTED, "pairs", "replicates", "effect", "margin", "layer", "low", "high"]
    return pd.DataFrame(rows, columns=[*columns, "smallest", "p", "equivalent"])
