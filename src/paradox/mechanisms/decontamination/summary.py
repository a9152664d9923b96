"""Step ``tradeoff``: what taking recall away costs, by method, over all arms.

``points``: ``removed``, 1 - gap / gap of the unchanged model (of the log-probability of recall,
exposed minus twins; empty where the unchanged model's interval holds 0); ``chain`` and ``text``,
what is lost of worked chains (share) and on documents (nats per token); ``recall`` and ``at_once``,
shares of exposed items still recalled. Intervals: exact binomial ones of shares where all texts
agree. For ``neurons``, ``p`` compares the gap lost with random neurons' of the same number and
alpha; ``corrected`` is p times the number of doses.

``half``: the least cost of half of memory in worked chains: at a dose that removes at least half
(``dose``) or on the straight line to the first such dose (``dose`` empty); ``reached``: the share
of resamples that get there. A crossing is no smooth function of means, so this interval alone is
of resamples, and left out when less than 95 % get there. The verdict is on the doses tried: at one
and the same (``tried``) more than half is removed, fewer chains are lost than `margin_share`, and
``neurons`` take more than random ones; each to be above 0, p times the number of doses.
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
from paradox.mechanisms.tables.verdict import FLOOR, NO_GAP, among, best, judged, spared, worst
from paradox.mechanisms.tables.words import METHODS, NEURONS, NONE, RANDOM
from paradox.progress import Progress
from paradox.stats.bootstrap import Resampling, share_interval
from paradox.stats.crossed import Estimate, Number, mean
from paradox.stats.ratios import Drawn, drawn

SHOWN = ("removed", *COSTS, "recall", "at_once")
COLUMNS = [*ARM, "seed", "way", "dose", "alpha", "what", "item", "logp", "correct", "pair", "group"]


@dataclass(frozen=True)
class Method:
    """One method of one arm, at rising doses."""

    doses: list[float]  # its doses, without 0
    shown: dict[str, Number]  # `SHOWN` by name, over the doses (as far as there are such texts)
    gaps: Array  # exposed minus twins of recall, shape (pairs, 1 + doses, seeds)
    lost: dict[str, Array]  # `COSTS` by name, shape (texts, doses, seeds)
    gap: bool  # whether there is a gap to remove
    worked: float  # share of chains that the unchanged model works out
    texts: dict[str, int]  # items behind those of `SHOWN` that are shares


def main(
    spec: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write both tables from ``tables`` of step ``decontamination``, one per arm and seed.

    ``spec``: ``bootstrap`` and ``margin_share``.
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
        self.margin = spec["margin_share"]

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
        # Without a gap to begin with, a share of it is anything.
        there = mean(gaps[:, 0], "pairs").estimate().clear_of_zero
        whole = _over(np.repeat(gaps[:, :1], gaps.shape[1] - 1, axis=1), "pairs")
        left = _over(gaps[:, 1:], "pairs") / whole
        shown = {"removed": left * -1 + (1.0 if there else np.nan)}
        lost, worked = {}, np.nan
        for what, measure in (("chain", "correct"), ("text", "logp")):
            if (rows["what"] == what).any():
                values = cube(what, measure)
                lost[what] = values[:, :1] - values[:, 1:]
                shown[what] = _over(lost[what], what)
                worked = values[:, 0].mean() if what == "chain" else worked
        for what in ("recall", "at_once"):
            shown[what] = _over(cube(what, "correct", "exposed")[:, 1:], "pairs")
        texts = dict.fromkeys(("recall", "at_once"), len(gaps))
        texts["chain"] = rows.loc[rows["what"] == "chain", "item"].nunique()
        doses = sorted(rows["dose"].unique())
        return Method(doses, shown, gaps, lost, there, float(worked), texts)

    def points(self, paths: dict[tuple[str, float], Method]) -> Iterator[dict[str, Any]]:
        """Yield the rows of ``points`` of one arm."""
        for (method, alpha), path in paths.items():
            more = _more(path, paths.get((RANDOM, alpha)) if method == NEURONS else None)
            numbers = {name: one.estimates() for name, one in path.shown.items()}
            for place, dose in enumerate(path.doses):
                row: dict[str, Any] = {"way": method, "alpha": alpha, "dose": dose}
                for name in SHOWN:
                    if name not in numbers:
                        continue
                    one = numbers[name][place]
                    both = share_interval(one.value, one.low, one.high, path.texts.get(name, 0))
                    row |= {name: one.value, f"{name}_low": both[0], f"{name}_high": both[1]}
                row |= {"pairs": path.gaps.shape[0], "replicates": path.gaps.shape[2]}
                row["p"] = more[place].p if more else None
                row["corrected"] = among(more[place], len(path.doses)).p if more else None
                yield row

    def half(self, paths: dict[tuple[str, float], Method]) -> Iterator[dict[str, Any]]:
        """Yield the rows of ``half`` of one arm."""
        for (method, alpha), path in paths.items():
            row = {"way": method, "alpha": alpha} | self._cheapest(path)
            more = _more(path, paths.get((RANDOM, alpha)) if method == NEURONS else None)
            yield row | self._verdict(path, more)

    def _verdict(self, path: Method, more: list[Estimate] | None) -> dict[str, Any]:
        """Return the verdict that some dose removes half of memory and leaves chains."""
        doses = len(path.doses)
        numbers = {
            "removed": [among(one, doses) for one in (path.shown["removed"] + -0.5).estimates()]
        }
        if "chain" in path.shown:
            lost = path.lost["chain"]
            numbers["chain"] = [
                among(one, doses)
                if np.ptp(lost[:, n])
                else spared(len(lost), lost.shape[2], self.margin, bool(lost[:, n].any()), doses)
                for n, one in enumerate((path.shown["chain"] * -1 + self.margin).estimates())
            ]
        numbers |= {"more": [among(one, doses) for one in more]} if more else {}
        unable = dict.fromkeys(numbers, "" if path.gap else NO_GAP)
        if path.worked <= self.margin:
            unable["chain"] = unable["chain"] or FLOOR
        rows = []
        for place, dose in enumerate(path.doses):
            parts = [
                {"part": name} | judged(of[place], 0.0, unable=unable[name])
                for name, of in numbers.items()
            ]
            rows.append({"tried": dose, **worst(parts)})
        return best(rows)

    def _cheapest(self, path: Method) -> dict[str, Any]:
        """Return the costs where half of memory is gone at the least loss of chains."""
        gap = drawn(path.gaps, self.resampling, "pairs")
        left = gap / Drawn(gap.value[:1], gap.draws[:, :1])
        none = 1.0 if path.gap else np.nan
        removed = Drawn(none - left.value[1:], none - left.draws[:, 1:])
        costs = {what: drawn(lost, self.resampling, what) for what, lost in path.lost.items()}
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


def _over(values: Array, group: str) -> Number:
    """Return means over items and trainings of values of shape (items, doses, trainings)."""
    return mean(values.swapaxes(1, 2), group)


def _more(path: Method, random: Method | None) -> list[Estimate] | None:
    """Return how much more of the gap chosen neurons take than random ones, at every dose."""
    return _over((random.gaps - path.gaps)[:, 1:], "pairs").estimates() if random else None


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
