"""Step ``error_rates``: how far the tests of the mechanisms can be trusted.

Three questions, about every test of exposed items against their twins:

- ``false_positive``: how often does it reject at the 5 % level when labels are permuted (swapped
  within pairs)? Every relabelling counts as data: it is tested against permutations of its own.
- ``power``: how often does it reject when only so many pairs of one exposure are there, drawn
  with replacement from those of the planted base?
- *equivalence*: on the clean base, is the difference within a margin at every layer? A test that
  finds nothing there says less: it may have too few pairs to find anything.

The tests are: for tables by layer, that some layer differs (the largest layer, permutations); for
``partial_prompts``, the permutation test of each ratio and measure; for ``labels``, that the
interval of a rule's precision leaves out 1/2; for ``probes``, that of the largest layer and that
of the change since the base, both counted by step ``probes``, which has the activations.

How to read it: ``verdict`` says whether .05 is inside the exact interval of the rate
(``as_stated``). A test that rejects more often (``liberal``) is wrong; one that rejects less
often (``conservative``) wastes power, as tests of few discrete values do. About 1 row in 20
misses by chance: the row ``all`` of each analysis sums up. Rates are about the given items and
trainings; relabellings are independent between rows and between seeds. Where all pairs have
equal sides, there is nothing to be tested and no row.

The margin of equivalence is `margin_share` of the planted base's largest difference for the same
arm, measure and state: measures have different units, and what has to be excluded on the clean
base is a noteworthy part of what memory does. ``smallest`` is the margin, in the measure's own
unit, from which the claim would hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paradox.errors import DataError, problems
from paradox.files import read_table, write_table
from paradox.mechanisms.tables.by_layer import curves
from paradox.mechanisms.tables.pairs import ARM, KEYS, Pairs
from paradox.mechanisms.tables.rates import ALL, CELL, TESTED, Sides, count, rates
from paradox.progress import Progress
from paradox.stats.bootstrap import Resampling, binomial_interval
from paradox.stats.layers import equivalent_everywhere
from paradox.stats.rates import largest_layer
from paradox.tasks.api import ITEM_COLUMNS

Array = NDArray[np.float64]
LABELS, PARTIAL = "labels", "partial_prompts"
# These count for themselves, where their states are.
COUNTED = ("probes", "trajectories")


def main(
    spec: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write both tables.

    Parameters
    ----------
    spec
        ``measures`` (maps an analysis to the columns to test), ``exposed_from``, ``bootstrap``
        (seed and resamples), ``bases`` (names of the ``planted`` base and, or null, of the
        ``clean`` one) and ``error_rates``: ``relabellings``, ``permutations``, ``exposures`` and
        ``sizes`` (numbers of pairs) of the power, and ``margin_share``.
    inputs
        ``items``, and lists of files: the per-item tables of each analysis of ``measures``,
        ``labels`` (its table of items) and ``probes`` (its table of rates), as far as there are.
    outputs
        ``rates`` and ``equivalence``.

    Raises
    ------
    DataError
        When items have no pairs, or tables do not fit.
    """
    pairs = Pairs(read_table(inputs["items"], ITEM_COLUMNS), spec["exposed_from"])
    missing = set(spec["error_rates"]["exposures"]) - set(pairs.exposures)
    if missing:
        raise DataError(
            f"key error_rates.exposures: no exposed item has {sorted(missing)} exposures; "
            f"found: {sorted(set(pairs.exposures))}."
        )
    analyses = [name for name in inputs if name != "items"]
    counts: list[pd.DataFrame] = []
    curved: list[Sides] = []
    test = largest_layer(spec["error_rates"]["permutations"])
    for done, analysis in enumerate(analyses, start=1):
        paths = [Path(path) for path in inputs[analysis]]
        if analysis in COUNTED:
            columns = [*CELL[1:], "runs", "rejected"]
            made = pd.concat([read_table(path, columns)[columns] for path in paths])
            planted = made["base"] == spec["bases"]["planted"]
            made = made[planted | (made["kind"] == "false_positive")]
            counts.append(made.assign(analysis=analysis))
        elif analysis == LABELS:
            found = list(of_labels(paths, pairs))
            counts.append(count(found, by_precision, pairs, spec))
        else:
            read = of_partial_prompts if analysis == PARTIAL else of_layers
            found = list(read(analysis, paths, spec["measures"][analysis], pairs))
            counts.append(count(found, test, pairs, spec))
            curved += found if analysis != PARTIAL else []
        progress("analyses", done, len(analyses), analysis)
    write_table(outputs["rates"], rates(pd.concat(counts, ignore_index=True)))
    write_table(outputs["equivalence"], equivalences(curved, pairs, spec))


# --- reading ------------------------------------------------------------------------------


def of_layers(
    analysis: str, paths: list[Path], measures: list[str], pairs: Pairs
) -> Iterator[Sides]:
    """Yield every curve of a mechanism's tables by layer, as mean over seeds."""
    tables = [read_table(path, [*KEYS, *measures]) for path in paths]
    every = np.ones(len(pairs.names), dtype=bool)
    for measure in measures:
        for curve in curves(tables, measure, pairs.items):
            values = curve.values.mean(axis=2).reshape(2, len(pairs.names), -1).swapaxes(0, 1)
            name = (analysis, curve.component, measure, *curve.arm, curve.state)
            yield Sides(name, ALL, values, every, curve.layers)


def of_partial_prompts(
    analysis: str, paths: list[Path], measures: list[str], pairs: Pairs
) -> Iterator[Sides]:
    """Yield every ratio and measure, of pairs of which both questions were cut."""
    for path in paths:
        table = read_table(path, [*ARM, "seed", "item", "ratio", *measures])
        for (*arm, seed, ratio), cut in table.groupby([*ARM, "seed", "ratio"], sort=True):
            wide = cut.set_index("item")[measures].reindex(pairs.items).to_numpy(float)
            both = wide.reshape(2, len(pairs.names), -1).swapaxes(0, 1)
            inside = np.isfinite(both).all(axis=(1, 2))
            state = "base" if arm[1] == "base" else "after"
            for place, measure in enumerate(measures):
                name = (analysis, str(ratio), measure, *arm, state)
                yield Sides(name, str(seed), both[inside][:, :, [place]], inside, [0])


def of_labels(paths: list[Path], pairs: Pairs) -> Iterator[Sides]:
    """Yield what every rule calls leakage."""
    every = np.ones(len(pairs.names), dtype=bool)
    for path in paths:
        table = read_table(path, [*ARM, "seed", "item", "posterior"])
        lost = sorted(set(pairs.items) - set(table["item"]))
        if lost or table["item"].duplicated().any():
            raise DataError(
                problems(
                    f"{path}: every item needs one row of labels",
                    [f"item {name!r} has none" for name in lost[:3]] or ["an item has several"],
                )
            )
        arm = tuple(table[ARM].iloc[0])
        # A rule that repeats on another half has columns of its own for the halves.
        for rule in (c.removesuffix("_change") for c in table if c.endswith("_change")):
            called = (table.set_index("item")[rule] == "leakage").loc[pairs.items]
            values = called.to_numpy(float).reshape(2, -1).T[:, :, None]
            name = (LABELS, rule, "leakage", *arm, "change")
            yield Sides(name, str(table["seed"].iloc[0]), values, every, [0])


def by_precision(samples: Array, _: np.random.Generator) -> NDArray[np.bool_]:
    """Return where the interval of the precision of calling items exposed leaves out 1/2."""
    totals = samples[..., 0].sum(axis=1).astype(int)
    return np.array([_off(int(exposed), int(twins)) for exposed, twins in totals])


@lru_cache(maxsize=4096)
def _off(true: int, false: int) -> bool:
    if not true + false:
        return False
    found = binomial_interval(true, true + false)
    return not found.low <= 0.5 <= found.high


# --- counting -----------------------------------------------------------------------------


# --- equivalence --------------------------------------------------------------------------


def equivalences(found: list[Sides], pairs: Pairs, spec: dict[str, Any]) -> pd.DataFrame:
    """Return, for every curve of the clean base, whether it is flat within a margin."""
    resampling = Resampling(spec["bootstrap"]["seed"], spec["bootstrap"]["resamples"])
    clean, planted = spec["bases"]["clean"], spec["bases"]["planted"]
    place = TESTED.index("base")
    by_name = {of.name: of.values[pairs.counts] for of in found}
    labels = np.arange(2 * len(pairs.counted)) < len(pairs.counted)
    rows = []
    for of in found:
        like = by_name.get((*of.name[:place], planted, *of.name[place + 1 :]))
        if of.name[place] != clean or like is None:
            continue
        effect = float(np.abs((like[:, 0] - like[:, 1]).mean(axis=0)).max())
        # Without any effect to compare with, nothing is equivalent.
        margin = max(spec["error_rates"]["margin_share"] * effect, np.finfo(float).tiny)
        values = by_name[of.name].swapaxes(0, 1).reshape(len(labels), -1)
        p, tests = equivalent_everywhere(values, labels, margin, resampling, pairs.counted * 2)
        ends = [max(-test.low, test.high) for test in tests]
        worst = int(np.argmax(ends))
        row = dict(zip(TESTED, of.name, strict=True)) | {"pairs": len(pairs.counted)}
        row |= {"effect": effect, "margin": margin, "layer": of.layers[worst]}
        row |= {"low": tests[worst].low, "high": tests[worst].high, "smallest": ends[worst]}
        rows.append(row | {"p": p, "equivalent": all(test.equivalent for test in tests)})
    columns = [*TESTED, "pairs", "effect", "margin", "layer", "low", "high", "smallest", "p"]
    return pd.DataFrame(rows, columns=[*columns, "equivalent"])
