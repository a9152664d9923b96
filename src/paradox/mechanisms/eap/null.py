"""Bands of what training changes in edge scores: base and after swapped within items.

They take the trainings as given; intervals and p-values of the tables do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from paradox.mechanisms.eap.cells import OWN_AFTER, OWN_BASE, Cell
from paradox.mechanisms.eap.metrics import POOLED, single, swapped
from paradox.mechanisms.tables.verdict import ALPHA
from paradox.seeds import keyed_rng
from paradox.stats.bootstrap import binomial_interval
from paradox.stats.layers import flips, max_test

Array = NDArray[np.float64]
# What is said to go up (1) or down (-1).
SIGNS = {"intensity": 1, "complexity": 1, "kurtosis": -1, "diversity": 1}
DEFINITIONS = {
    "fixed": SIGNS,
    "published": {
        "intensity_published": 1,
        "complexity_published": 1,
        "kurtosis_published": -1,
        "diversity": 1,
    },
}


class Null(NamedTuple):
    """Mean changes of measures, beside those of relabellings.

    `observed` and `drawn` have the shapes (measures,) and (relabellings, measures); `exact`: these
    are all relabellings.
    """

    names: list[str]
    observed: Array
    drawn: Array
    exact: bool

    def p(self) -> dict[str, float]:
        """Return two-sided p-values."""
        test = max_test(self.observed, self.drawn, self.exact)
        return dict(zip(self.names, test.p.tolist(), strict=True))

    def band(self) -> dict[str, dict[str, float]]:
        """Return the middle 95 % of the null of each measure, ``null_low`` to ``null_high``."""
        ends = np.quantile(self.drawn, [0.025, 0.975], axis=0).T.tolist()
        return {
            name: dict(zip(("null_low", "null_high"), both, strict=True))
            for name, both in zip(self.names, ends, strict=True)
        }


def null_of(
    changes: dict[str, Array],
    scores: list[Array],
    tops: list[float],
    spec: dict[str, Any],
    permutations: int,
    *key: int,
) -> Null:
    """Return the changes of every measure beside those with base and after swapped within items.

    `changes`: measure -> values of shape (items, seeds). `scores`: before and after, each of shape
    (seeds, items, edges), from which the pooled measures are computed anew; `tops` end the seeds'
    histograms. `key` names the draw.
    """
    names = list(changes)
    columns = np.stack([changes[name].mean(1) for name in names], 1)
    signs, exact = flips(len(columns), permutations, spec["bootstrap"]["seed"], "eap", *key)
    drawn, observed = signs @ columns / len(columns), columns.mean(0)
    # The observed labelling is the last.
    every = np.vstack([signs, np.ones(len(columns))])
    pooled = [swapped(*(side[n] for side in scores), every, top) for n, top in enumerate(tops)]
    places = [names.index(name) for name in POOLED]
    *drawn[:, places], observed[places] = np.mean(pooled, axis=0)
    return Null(names, observed, drawn, exact)


def relabelled(
    cell: Cell, swaps: NDArray[np.bool_], spec: dict[str, Any], permutations: int
) -> dict[str, Array]:
    """Return measure -> p of each relabelling, which swaps base and after with every seed.

    `swaps` says for which items, shape (relabellings, items). Each relabelling is data of its own,
    tested against permutations of its own.
    """
    sides, seeds = [cell.sides[OWN_BASE], cell.sides[OWN_AFTER]], range(len(cell.cuts))
    alone = [[single(s.scores[n], s.loss[n], s.gradient[n]) for n in seeds] for s in sides]
    names = dict.fromkeys(name for signs in DEFINITIONS.values() for name in signs)
    unswapped = {
        name: np.subtract(
            *(np.stack([seeded[n][name] for n in seeds], 1) for seeded in alone[::-1])
        )
        for name in names
        if name not in POOLED
    }
    # What is pooled is computed from the swapped scores.
    nothing = dict.fromkeys(POOLED, np.zeros((len(cell.items), len(seeds))))
    tested = []
    for number, swap in enumerate(swaps):
        signs = np.where(swap, -1.0, 1.0)[:, None]
        scores = [np.where(swap[:, None], sides[1 - k].scores, sides[k].scores) for k in (0, 1)]
        changes = {name: signs * change for name, change in unswapped.items()} | nothing
        tested.append(null_of(changes, scores, cell.tops, spec, permutations, number).p())
    return {name: np.array([p[name] for p in tested]) for name in names}


def false_positives(cell: Cell, spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield how often the test of each measure's change rejects where nothing is."""
    settings = spec["rates"]
    rng = keyed_rng(spec["bootstrap"]["seed"], "eap relabelled", *map(str, cell.key.values()))
    swaps = rng.integers(0, 2, (settings["relabellings"], len(cell.items))) == 1
    for name, p in relabelled(cell, swaps, spec, settings["permutations"]).items():
        hits = int((p <= ALPHA).sum())
        rate = binomial_interval(hits, len(p))
        row = {"measure": name, "items": len(cell.items), "runs": len(p), "rejected": hits}
        yield {**cell.key, **row, "rate": rate.value, "low": rate.low, "high": rate.high}
