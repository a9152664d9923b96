"""Step ``tradeoff``: what taking recall away costs, by method, over all arms.

``points``: ``removed``, 1 - gap / gap of the unchanged model (of the log-probability of recall,
exposed minus twins; empty where the unchanged model's interval holds 0); ``chain`` and ``text``,
what is lost of worked chains (share) and on documents (nats per token); ``recall`` and ``at_once``,
shares of exposed items still recalled. Intervals: pairs (texts) crossed with seeds, denominator
drawn with numerator; exact binomial ones of shares where all texts agree. For ``neurons``, ``p``
and ``corrected`` (of the largest dose) compare the gap lost with random neurons' of the same number
and alpha, labels swapped within pairs.

``half``: the least cost of half of memory in worked chains: at a dose that removes at least half
(``dose``) or on the straight line to the first such dose (``dose`` empty); ``reached``: the share
of resamples that get there; their interval is left out when they are less than 95 %. Verdict:
``reproduced`` when half is removed and the interval of the chains' loss ends below `margin_share`
(``neurons``: with a ``corrected`` p of at most .05, too); ``not reproduced`` when it begins above,
or no dose's interval of ``removed`` reaches one half; else ``not decidable``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from paradox.files import read_table, write_table
from paradox.mechanisms.decontamination.words import COSTS
from paradox.mechanisms.tables.pairs import ARM, Array
from paradox.mechanisms.tables.verdict import NOT, OPEN, REPRODUCED
from paradox.mechanisms.tables.words import METHODS, NEURONS, NONE, RANDOM
from paradox.progress import Progress
from paradox.stats.bootstrap import Resampling, share_interval
from paradox.stats.layers import label_test
from paradox.stats.rates import ALPHA
from paradox.stats.ratios import Drawn, drawn

SHOWN = ("removed", *COSTS, "recall", "at_once")
COLUMNS = [*ARM, "seed", "way", "dose", "alpha", "what", "item", "logp", "correct", "pair", "group"]


@dataclass(frozen=True)
class Method:
    """One method of one arm, at rising doses."""

    doses: list[float]  # its doses, without 0
    shown: dict[str, Drawn]  # `SHOWN` by name, over the doses (as far as there are such texts)
    gaps: Array  # exposed minus twins of recall, shape (pairs, doses, seeds)
    texts: dict[str, int]  # items behind those of `SHOWN` that are shares


def main(
    spec: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write both tables from ``tables`` of step ``decontamination``, one per arm and seed.

    ``spec``: ``bootstrap``, ``permutations`` and ``margin_share``.
    """
    table = pd.concat([read_table(Path(path), COLUMNS) for path in inputs["tables"]])
    compared = Compared(spec)
    points, half = [], []
    arms = list(table.groupby(ARM, sort=True))
    for done, (arm, rows) in enumerate(arms, start=1):
        key = dict(zip(ARM, arm, strict=True))
        paths = compared.paths(rows)
        points += [key | row for row in compared.points(paths)]
        half += [key | row for row in compared.half(paths)]
        progress("arms", done, len(arms))
    write_table(outputs["points"], pd.DataFrame(points))
    write_table(outputs["half"], pd.DataFrame(half))


class Compared:
    """Compares the methods of an arm."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.resampling = Resampling(spec["bootstrap"]["seed"], spec["bootstrap"]["resamples"])
        self.permutations, self.margin = spec["permutations"], spec["margin_share"]

    def paths(self, table: pd.DataFrame) -> dict[tuple[str, float], Method]:
        """Return every method of an arm, by its name and alpha."""
        plain = table[table["way"] == NONE]
        order = {method: place for place, method in enumerate(METHODS)}
        groups = sorted(
            table[table["way"] != NONE].groupby(["way", "alpha"]),
            key=lambda one: (order[one[0][0]], one[0][1]),
        )
        return {key: self._path(rows, plain) for key, rows in groups}

    def _path(self, rows: pd.DataFrame, plain: pd.DataFrame) -> Method:
        def cube(what: str, measure: str, group: str | None = None) -> Array:
            """Return values of shape (items, 1 + doses, seeds); the first dose is none."""
            parts = [part[part["what"] == what] for part in (plain.assign(dose=-1.0), rows)]
            both = pd.concat(parts)
            if group:
                both = both[both["group"] == group].assign(item=lambda one: one["pair"])
            wide = both.set_index(["item", "dose", "seed"])[measure].sort_index()
            return wide.to_numpy(float).reshape([len(level) for level in wide.index.levels])

        exposed, twin = (cube("recall", "logp", group) for group in ("exposed", "twin"))
        gaps = exposed - twin
        gap = drawn(gaps, self.resampling, "pairs")
        whole = Drawn(gap.value[:1], gap.draws[:, :1])
        left = gap / whole
        # Without a gap to begin with, a share of it is anything.
        none = 0.0 if whole.clear_of_zero(self.resampling.level) else np.nan
        shown = {"removed": Drawn(none + 1 - left.value[1:], none + 1 - left.draws[:, 1:])}
        for what, measure in (("chain", "correct"), ("text", "logp")):
            if (rows["what"] == what).any():
                values = cube(what, measure)
                shown[what] = drawn(values[:, :1] - values[:, 1:], self.resampling, what)
        for what in ("recall", "at_once"):
            values = cube(what, "correct", "exposed")[:, 1:]
            shown[what] = drawn(values, self.resampling, "pairs")
        texts = dict.fromkeys(("recall", "at_once"), len(gaps))
        texts["chain"] = rows.loc[rows["what"] == "chain", "item"].nunique()
        return Method(sorted(rows["dose"].unique()), shown, gaps, texts)

    def points(self, paths: dict[tuple[str, float], Method]) -> Iterator[dict[str, Any]]:
        """Yield the rows of ``points`` of one arm."""
        for (method, alpha), path in paths.items():
            test = self._test(path, paths.get((RANDOM, alpha))) if method == NEURONS else None
            ends = {name: one.interval(self.resampling.level) for name, one in path.shown.items()}
            for place, dose in enumerate(path.doses):
                row: dict[str, Any] = {"way": method, "alpha": alpha, "dose": dose}
                for name in SHOWN:
                    if name not in path.shown:
                        continue
                    row[name] = path.shown[name].value[place]
                    both = ends[name][0][place], ends[name][1][place]
                    both = share_interval(row[name], *both, path.texts.get(name, 0))
                    row[f"{name}_low"], row[f"{name}_high"] = both
                row |= {"pairs": path.gaps.shape[0], "seeds": path.gaps.shape[2]}
                row["p"] = None if test is None else test.p[place]
                row["corrected"] = None if test is None else test.corrected[place]
                yield row

    def _test(self, path: Method, random: Method | None) -> Any:
        """Test that chosen neurons take more of the gap than random ones, at every dose."""
        if random is None:
            return None
        more = (random.gaps - path.gaps)[:, 1:].mean(axis=2)
        sides = np.concatenate([more, np.zeros_like(more)])
        labels = np.arange(len(sides)) < len(more)
        return label_test(
            sides,
            labels,
            self.resampling.seed,
            pairs=[str(n) for n in range(len(more))] * 2,
            permutations=self.permutations,
            two_sided=False,
        )

    def half(self, paths: dict[tuple[str, float], Method]) -> Iterator[dict[str, Any]]:
        """Yield the rows of ``half`` of one arm."""
        for (method, alpha), path in paths.items():
            removed = path.shown["removed"]
            best = removed.interval(self.resampling.level)[1].max()
            row: dict[str, Any] = {"way": method, "alpha": alpha} | self._cheapest(path)
            p = 0.0
            if method == NEURONS:
                test = self._test(path, paths.get((RANDOM, alpha)))
                p = 1.0 if test is None else float(test.overall)
                row["p"] = p
            yield row | {"margin": self.margin, "verdict": self._verdict(row, best, p)}

    def _cheapest(self, path: Method) -> dict[str, Any]:
        """Return the costs where half of memory is gone at the least loss of chains."""
        removed = path.shown["removed"]
        costs = {what: path.shown[what] for what in COSTS if what in path.shown}
        places: dict[float, dict[str, tuple[float, Array]]] = {
            np.nan: {
                what: (
                    float(at_half(removed.value[None], cost.value[None])[0]),
                    at_half(removed.draws, cost.draws),
                )
                for what, cost in costs.items()
            }
        }
        for place in np.flatnonzero(removed.value >= 0.5):
            over = removed.draws[:, place] >= 0.5
            places[path.doses[place]] = {
                what: (cost.value[place], np.where(over, cost.draws[:, place], np.nan))
                for what, cost in costs.items()
            }
        usable = {
            dose: by_text
            for dose, by_text in places.items()
            if np.isfinite([v for v, _ in by_text.values()]).all()
        }
        if not usable:
            return {"dose": np.nan, "reached": 0.0}
        dose = min(usable, key=lambda dose: [value for value, _ in usable[dose].values()])
        row: dict[str, Any] = {"dose": dose}
        for what, (value, draws) in usable[dose].items():
            got = np.isfinite(draws)
            row["reached"] = float(got.mean())
            enough = row["reached"] >= self.resampling.level
            ends = np.quantile(draws[got], [0.025, 0.975]) if enough else (np.nan, np.nan)
            low, high = share_interval(value, *map(float, ends), path.texts.get(what, 0))
            row |= {what: value, f"{what}_low": low, f"{what}_high": high}
        return row

    def _verdict(self, row: dict[str, Any], best: float, p: float) -> str:
        if best < 0.5:
            return NOT
        if row.get("chain_high", np.nan) < self.margin and p <= ALPHA:
            return REPRODUCED
        return NOT if row.get("chain_low", np.nan) > self.margin else OPEN


def at_half(removed: Array, cost: Array) -> Array:
    """Return the cost where a path first reaches one half, by straight lines between doses.

    `removed`, `cost`: shape (draws, doses); before the first dose both are 0. Shape (draws,) is
    returned, not a number where one half is not reached.

    >>> at_half(np.array([[0.25, 0.75], [0.1, 0.2]]), np.array([[0.0, 1.0], [0.0, 1.0]])).tolist()
    [0.5, nan]
    """
    start = np.zeros((len(removed), 1))
    removed, cost = np.hstack([start, removed]), np.hstack([start, cost])
    over = removed >= 0.5
    costs = np.full(len(removed), np.nan)
    rows = np.flatnonzero(over.any(axis=1))
    after = over[rows].argmax(axis=1)
    low, high = removed[rows, after - 1], removed[rows, after]
    share = (0.5 - low) / (high - low)
    costs[rows] = cost[rows, after - 1] + share * (cost[rows, after] - cost[rows, after - 1])
    return costs
