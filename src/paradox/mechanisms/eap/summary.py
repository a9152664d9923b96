"""Step ``eap_summary``: how training changes the scores of edges, over items and trainings.

Intervals and ``p`` ("not 0") are of items crossed with trainings (`paradox.stats.crossed`); that of
the published entropy takes each model's range as given. ``null_low`` to ``null_high``: middle 95 %
of swaps of base and after within items, these trainings given.
"""

from __future__ import annotations

from collections.abc import Iterator
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
from paradox.mechanisms.eap.metrics import LEAST, NODES
from paradox.mechanisms.eap.null import DEFINITIONS, SIGNS, Null, false_positives, null_of
from paradox.mechanisms.tables.pairs import ARM
from paradox.mechanisms.tables.verdict import OPEN, REPRODUCED, judged, worst
from paradox.mechanisms.tables.words import AFTER, BASE, CHANGE, GRADIENT, TEXT, WEIGHTS
from paradox.progress import Progress
from paradox.stats.crossed import Estimate, difference, mean

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
# Whether this moves the way that accuracy on items that no corpus holds does.
REDUNDANCY, OF_REDUNDANCY = "redundancy", "intensity"
ONE_TEXT = "no text was scored by both models"
UNMOVED = "accuracy on twins is not shown to change"
COMPARED = (*SIGNS, "intensity_per_gradient", "loss", "gradient")
# What the paper says of a method.
PUBLISHED = {"grpo": "yes", "ppo": "yes", "dpo": "no"}


class Part(NamedTuple):
    """Some items of a cell: measures of the base, and the changes; that of `CHANGE` has a null."""

    base: dict[str, Array]
    changes: dict[str, dict[str, Array]]
    null: Null | None
    learned: Array  # of the twins among the items: right after minus before, shape (items, seeds)


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
    (``pattern``), and what else is claimed. ``rates``: how often swaps of base and after within
    items reject at 5 % on data that were swapped.
    """
    cells = list(read_cells(inputs["scores"]))
    tables: dict[str, list[Any]] = {name: [] for name in ("table", "signature", "rates")}
    trained: dict[tuple[Any, ...], list[Cell]] = {}
    for done, cell in enumerate(cells, start=1):
        for passed in FILTERS:
            rows = {group: cell.chosen(passed, group) for group in GROUPS}
            parts = {g: _part(cell, r, spec) for g, r in rows.items() if r.sum() >= LEAST}
            tables["table"] += list(_rows(cell, passed, parts))
            tables["signature"] += list(_signature(cell, passed, parts, spec))
        if cell.trained and cell.attribution == GRADIENT:
            key = (cell.arm[0], cell.arm[2], cell.alpha, *cell.items["item"])
            trained.setdefault(key, []).append(cell)
            tables["rates"] += list(false_positives(cell, spec))
        progress("cells", done, len(cells))
    tables["methods"] = [row for arms in trained.values() for row in _methods(arms)]
    for name, rows in tables.items():
        empty = [*ARM, "attribution", "alpha", "measure", "other", "value"]
        write_table(outputs[name], pd.DataFrame(rows) if rows else pd.DataFrame(columns=empty))


def _part(cell: Cell, rows: NDArray[np.bool_], spec: dict[str, Any]) -> Part:
    values = {side: cell.measured(side, rows, cell.tops) for side in cell.sides}
    changes = {
        state: _changes(values, pairs)
        for state, pairs in STATES.items()
        if all(side in values for pair in pairs for side in pair)
    }
    null = None
    if CHANGE in changes:
        scores = [cell.sides[side].scores[:, rows] for side in (OWN_BASE, OWN_AFTER)]
        null = null_of(changes[CHANGE], scores, cell.tops, spec, spec["permutations"])
    twins = (cell.items["group"] == TWIN).to_numpy() & rows
    return Part(values[OWN_BASE], changes, null, cell.learned[twins])


def _changes(
    values: dict[Side, dict[str, Array]], pairs: list[tuple[Side, Side]]
) -> dict[str, Array]:
    return {
        name: sum(values[after][name] - values[before][name] for before, after in pairs)
        / len(pairs)
        for name in values[OWN_BASE]
    }


def _rows(cell: Cell, passed: str, parts: dict[str, Part]) -> Iterator[dict[str, Any]]:
    """Yield the rows of ``table``."""
    key = {**cell.key, "filter": passed, "cut": _cuts(cell)}
    for group, part in parts.items():
        total = int(cell.chosen(ALL, group).sum())
        bands = part.null.band() if part.null else {}
        for state, values in ((BASE, part.base), *part.changes.items()):
            for name, value in values.items():
                row = {"group": group, "state": state, "measure": name}
                row |= _columns(mean(value).estimate(), tested=state != BASE) | {"of": total}
                yield key | row | (bands[name] if state == CHANGE else {})
    if not {EXPOSED, TWIN} <= set(parts):
        return
    sides = [{BASE: parts[group].base, **parts[group].changes} for group in (EXPOSED, TWIN)]
    for state, exposed in sides[0].items():
        for name, values in exposed.items():
            row = {"group": DIFFERENCE, "state": state, "measure": name}
            estimate = difference(values, sides[1][state][name]).estimate()
            yield key | row | _columns(estimate) | {"of": len(cell.items)}


def _columns(estimate: Estimate, tested: bool = True) -> dict[str, Any]:
    names = ("value", "low", "high", "items", "replicates")
    row = {name: getattr(estimate, name) for name in names}
    return row | {"p": estimate.differs if tested else None}


def _cuts(cell: Cell) -> str:
    return " ".join(map(str, cell.cuts))


def _methods(cells: list[Cell]) -> Iterator[dict[str, Any]]:
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
                for row in _compared(one, other, rows):
                    yield key | row | {"of": len(rows)}


def _compared(one: Cell, other: Cell, rows: NDArray[np.bool_]) -> Iterator[dict[str, Any]]:
    tops = list(map(max, one.tops, other.tops))
    values = [{s: cell.measured(s, rows, tops) for s in cell.sides} for cell in (one, other)]
    for state in (CHANGE, WEIGHTS):
        first, second = (_changes(cell_values, STATES[state]) for cell_values in values)
        for name in COMPARED:
            estimate = mean(first[name] - second[name]).estimate()
            yield {"state": state, "measure": name} | _columns(estimate)


def _signature(
    cell: Cell, passed: str, parts: dict[str, Part], spec: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield a row per part and one for all parts, for both sets of definitions, and the others'."""
    share, claim = spec["margin_share"], PUBLISHED.get(cell.arm[1], "")
    for group, part in parts.items():
        if CHANGE not in part.changes:
            continue
        key = {**cell.key, "filter": passed, "cut": _cuts(cell), "group": group}
        for definition, signs in DEFINITIONS.items():
            rows = [{"part": name} | _judged(part, name, signs[name], share) for name in signs]
            least = worst(rows)
            whole = least | {"part": PATTERN, "least": least["part"]}
            whole["agrees"] = _agrees(claim, whole["verdict"])
            if signs is SIGNS:
                rows.append({"part": NODES} | _judged(part, NODES, 1, share))
                rows += _redundancy(part, share)
            for row in (*rows, whole):
                yield key | {"definition": definition, "published": claim, "agrees": ""} | row


def _judged(part: Part, name: str, sign: float, share: float, unable: str = "") -> dict[str, Any]:
    """Judge whether a measure moves one way, on each model's own text *and* on the same text.

    What the weights do not do on the same text is a matter of what is written. The margin is a
    share of the base's level.
    """
    level = float(part.base[name].mean())
    unable = unable or ("" if WEIGHTS in part.changes else ONE_TEXT)
    rows = [
        {"state": state}
        | judged(mean(sign * changes[name]).estimate(), share * abs(level), unable=unable)
        for state, changes in part.changes.items()
        if state != TEXT
    ]
    return {"sign": sign, "level": level} | worst(rows)


def _redundancy(part: Part, share: float) -> Iterator[dict[str, Any]]:
    """Yield the verdict that redundancy moves the way that accuracy on twins moved, if it did."""
    if len(part.learned) < LEAST:
        return
    learned = mean(part.learned).estimate()
    sign = float(np.sign(learned.value)) if learned.clear_of_zero else 0.0
    unable = "" if sign else UNMOVED
    yield {"part": REDUNDANCY} | _judged(part, OF_REDUNDANCY, sign or 1.0, share, unable)


def _agrees(claim: str, called: str) -> str:
    """Say whether what the paper has for a method was found."""
    if not claim or called == OPEN:
        return ""
    return "yes" if (called == REPRODUCED) == (claim == "yes") else "no"
