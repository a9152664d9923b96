"""Step ``eap_summary``: how training changes the scores of edges, over seeds, beside its nulls.

Intervals are of the bootstrap over items and seeds, ``p`` (two-sided) and ``null_low`` to
``null_high`` (middle 95 %) of swaps of base and after within items.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paradox.files import write_table
from paradox.mechanisms.eap.cells import (
    ALL,
    EXPOSED,
    FILTERS,
    GROUPS,
    OWN_AFTER,
    OWN_BASE,
    TWIN,
    Cell,
    read_cells,
)
from paradox.mechanisms.eap.metrics import LEAST
from paradox.mechanisms.eap.null import DEFINITIONS, SIGNS, Null, false_positives, null_of
from paradox.mechanisms.tables.pairs import ARM
from paradox.mechanisms.tables.verdict import NOT, OPEN, REPRODUCED, verdict
from paradox.mechanisms.tables.words import AFTER, BASE, CHANGE, GRADIENT, TEXT, WEIGHTS
from paradox.progress import Progress
from paradox.stats.bootstrap import Resampling, difference_in_differences, mean
from paradox.stats.layers import flips, label_test, max_test

Array = NDArray[np.float64]
Side = tuple[str, str]
DIFFERENCE = "difference"
CROSSED = (BASE, AFTER), (AFTER, BASE)  # text, weights
# Which sides are compared, and the mean taken of.
STATES: dict[str, list[tuple[Side, Side]]] = {
    CHANGE: [(OWN_BASE, OWN_AFTER)],
    WEIGHTS: [(OWN_BASE, CROSSED[0]), (CROSSED[1], OWN_AFTER)],
    TEXT: [(OWN_BASE, CROSSED[1]), (CROSSED[0], OWN_AFTER)],
}
PATTERN = "pattern"
COMPARED = (*SIGNS, "intensity_per_gradient", "loss", "gradient")
# What the paper says of a method.
PUBLISHED = {"grpo": "yes", "ppo": "yes", "dpo": "no"}


class Part(NamedTuple):
    """Some items of a cell: measures of the base, and the changes with their nulls."""

    base: dict[str, Array]
    changes: dict[str, dict[str, Array]]
    nulls: dict[str, Null]


def main(
    spec: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write all tables.

    ``table``: every measure per arm, attribution, alpha, filter, group and state: ``base`` (the
    untrained model on its own text), ``change`` (the trained model on its own text minus that), and
    its parts ``weights`` (same text, other weights; mean of both texts) and ``text``. Filters:
    ``all`` items; ``right`` by both models with every seed; ``similar``, by the published control
    of length, too (``items`` of ``of`` are left). ``methods``: the change of one method minus that
    of another, over equal lengths. ``signature``: the published one, part by part and all together
    (``pattern``). ``rates``: how often the test rejects at 5 % on data swapped within items.
    """
    cells = list(read_cells(inputs["scores"]))
    tables: dict[str, list[Any]] = {name: [] for name in ("table", "signature", "rates")}
    trained: dict[tuple[Any, ...], list[Cell]] = {}
    for done, cell in enumerate(cells, start=1):
        for passed in FILTERS:
            rows = {group: cell.chosen(passed, group) for group in GROUPS}
            parts = {g: _part(cell, r, spec) for g, r in rows.items() if r.sum() >= LEAST}
            tables["table"] += list(_rows(cell, passed, parts, spec))
            tables["signature"] += list(_signature(cell, passed, parts, spec))
        if cell.trained and cell.attribution == GRADIENT:
            key = (cell.arm[0], cell.arm[2], cell.alpha, *cell.items["item"])
            trained.setdefault(key, []).append(cell)
            tables["rates"] += list(false_positives(cell, spec))
        progress("cells", done, len(cells))
    tables["methods"] = [row for arms in trained.values() for row in _methods(arms, spec)]
    for name, rows in tables.items():
        empty = [*ARM, "attribution", "alpha", "measure"]
        write_table(outputs[name], pd.DataFrame(rows) if rows else pd.DataFrame(columns=empty))


def _part(cell: Cell, rows: NDArray[np.bool_], spec: dict[str, Any]) -> Part:
    values = {side: cell.measured(side, rows, cell.tops) for side in cell.sides}
    changes, nulls = {}, {}
    for state, pairs in STATES.items():
        if not all(side in values for pair in pairs for side in pair):
            continue
        changes[state] = _changes(values, pairs)
        scores = [[cell.sides[side].scores[:, rows] for side in pair] for pair in pairs]
        nulls[state] = null_of(changes[state], scores, cell.tops, spec, spec["permutations"])
    return Part(values[OWN_BASE], changes, nulls)


def _changes(
    values: dict[Side, dict[str, Array]], pairs: list[tuple[Side, Side]]
) -> dict[str, Array]:
    return {
        name: sum(values[after][name] - values[before][name] for before, after in pairs)
        / len(pairs)
        for name in values[OWN_BASE]
    }


def _rows(
    cell: Cell, passed: str, parts: dict[str, Part], spec: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield the rows of ``table``; p of ``difference`` is of swapped labels of items.

    ``complexity_published`` takes each model's range as given and has no p for ``difference``.
    """
    resampling = Resampling(spec["bootstrap"]["seed"], spec["bootstrap"]["resamples"])
    key = {**cell.key, "filter": passed, "cut": _cuts(cell)}
    for group, part in parts.items():
        total = int(cell.chosen(ALL, group).sum())
        for state, values in ((BASE, part.base), *part.changes.items()):
            null = part.nulls.get(state)
            p, bands = (null.p(), null.band()) if null else ({}, {})
            for name, value in values.items():
                row = {"group": group, "state": state, "measure": name}
                ends = asdict(mean(value, resampling, group))
                yield {**key, **row, **ends, "p": p.get(name), "of": total, **bands.get(name, {})}
    if not {EXPOSED, TWIN} <= set(parts):
        return
    sides = [{BASE: parts[group].base, **parts[group].changes} for group in (EXPOSED, TWIN)]
    for state, exposed in sides[0].items():
        twin, names = sides[1][state], list(exposed)
        both = np.vstack([np.stack([of[n].mean(1) for n in names], 1) for of in (exposed, twin)])
        labels = np.arange(len(both)) < len(exposed[names[0]])
        test = label_test(both, labels, resampling.seed, "eap", permutations=spec["permutations"])
        for name, p in zip(names, test.p.tolist(), strict=True):
            row = {"group": DIFFERENCE, "state": state, "measure": name}
            did = difference_in_differences(exposed[name], twin[name], resampling).did
            tested = None if name == "complexity_published" else p
            yield {**key, **row, **asdict(did), "p": tested, "of": len(cell.items)}


def _cuts(cell: Cell) -> str:
    return " ".join(map(str, cell.cuts))


def _methods(cells: list[Cell], spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield how the changes of two methods differ, for items that pass the filter with both."""
    for place, one in enumerate(cells):
        for other in cells[place + 1 :]:
            if one.cuts != other.cuts:
                continue
            for passed in FILTERS:
                rows = one.chosen(passed, ALL) & other.chosen(passed, ALL)
                if rows.sum() < LEAST:
                    continue
                key = {**one.key, "other": other.arm[1], "filter": passed, "cut": _cuts(one)}
                for row in _compared(one, other, rows, spec):
                    yield key | row | {"of": len(rows)}


def _compared(
    one: Cell, other: Cell, rows: NDArray[np.bool_], spec: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    resampling = Resampling(spec["bootstrap"]["seed"], spec["bootstrap"]["resamples"])
    tops = list(map(max, one.tops, other.tops))
    values = [{s: cell.measured(s, rows, tops) for s in cell.sides} for cell in (one, other)]
    for state in (CHANGE, WEIGHTS):
        first, second = (_changes(cell_values, STATES[state]) for cell_values in values)
        gaps = np.stack([first[name] - second[name] for name in COMPARED], 1)
        signs, exact = flips(len(gaps), spec["permutations"], resampling.seed, "eap methods")
        columns = gaps.mean(2)
        test = max_test(columns.mean(0), signs @ columns / len(columns), exact)
        for place, name in enumerate(COMPARED):
            ends = asdict(mean(gaps[:, place], resampling, ALL))
            yield {"state": state, "measure": name, **ends, "p": float(test.p[place])}


def _signature(
    cell: Cell, passed: str, parts: dict[str, Part], spec: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield a row per part and one for all parts, for both sets of definitions.

    p is one-sided; the margin is `margin_share` of the base's level.
    """
    resampling = Resampling(spec["bootstrap"]["seed"], spec["bootstrap"]["resamples"])
    for group, part in parts.items():
        if CHANGE not in part.changes:
            continue
        key = {**cell.key, "filter": passed, "cut": _cuts(cell), "group": group}
        one_sided = {sign: part.nulls[CHANGE].p(sign) for sign in (1, -1)}
        for definition, signs in DEFINITIONS.items():
            rows = []
            for name, sign in signs.items():
                p, level = one_sided[sign][name], float(part.base[name].mean())
                effect = mean(sign * part.changes[CHANGE][name], resampling, group)
                margin = spec["margin_share"] * abs(level)
                row = {"definition": definition, "part": name, "sign": sign, "level": level}
                row |= asdict(effect) | {"p": p, "margin": margin}
                rows.append(row | {"verdict": verdict(p, effect.high, margin)})
            whole = {"definition": definition, "part": PATTERN}
            whole |= {name: rows[0][name] for name in ("items", "seeds")}
            whole["p"] = max(row["p"] for row in rows)
            whole["verdict"] = together([row["verdict"] for row in rows])
            claim = PUBLISHED.get(cell.arm[1], "")
            for row in (*rows, whole):
                agrees = _agrees(claim, row["verdict"]) if row is whole else ""
                yield key | row | {"published": claim, "agrees": agrees}


def together(verdicts: list[str]) -> str:
    """Return the verdict on several claims at once.

    >>> together([REPRODUCED, OPEN]), together([REPRODUCED, NOT, OPEN]), together([REPRODUCED])
    ('not decidable', 'not reproduced', 'reproduced')
    """
    if NOT in verdicts:
        return NOT
    return REPRODUCED if set(verdicts) == {REPRODUCED} else OPEN


def _agrees(claim: str, called: str) -> str:
    """Say whether what the paper has for a method was found."""
    if not claim or called == OPEN:
        return ""
    return "yes" if (called == REPRODUCED) == (claim == "yes") else "no"
