"""Step ``eap_summary``: how training changes the scores of edges, over seeds, beside its nulls.

``table``: every measure of `paradox.mechanisms.eap_metrics` per arm, attribution, alpha, filter
and group of items.

- States: ``base`` (the untrained model on its own text), ``change`` (the trained model on its
  own text minus that: the published comparison), and its two parts, which add up to it:
  ``weights`` (same text, other weights; mean of both texts) and ``text`` (same weights, other
  text; mean of both weights).
- Filters: ``all`` items; ``right``, those that both models get right with every seed;
  ``similar``, those that pass the published control of length, too. Both condition on what
  training changed: ``items`` says how many are left of ``of``.
- Groups: all, exposed, twin, and ``difference`` (exposed minus twins).

Intervals are of the bootstrap over items and seeds. ``p`` (two-sided) swaps base and after
within items, or for ``difference`` the labels of items; the seeds are given.

``methods``: the change of one method minus that of another, same base, reward and items, where
both are scored over equal lengths. ``signature``: the published one, that intensity, complexity
and diversity go up and kurtosis down under GRPO and PPO and not under DPO; by the definitions
fixed beforehand and by the published ones; ``pattern`` is all four together. One-sided p; the
margin is `margin_share` of the base's level. ``rates``: how often the test of the change rejects at
5 % when base and after are swapped at random within items, all pooled measures computed anew.

How to read it: intensity follows the loss and the gradient, so it counts only beside
``intensity_per_gradient`` and ``gradient``. What is in ``text`` and not in ``weights`` is that
the model says something else, not that it works in another way.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paradox.files import write_table
from paradox.mechanisms.by_layer import ARM
from paradox.mechanisms.eap import AFTER, BASE, GRADIENT
from paradox.mechanisms.eap_cells import (
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
from paradox.mechanisms.eap_metrics import LEAST, POOLED, pooled, single
from paradox.mechanisms.signatures import ALPHA, NOT, OPEN, REPRODUCED, verdict
from paradox.progress import Progress
from paradox.seeds import keyed_rng
from paradox.stats.bootstrap import (
    Resampling,
    binomial_interval,
    difference_in_differences,
    mean,
)
from paradox.stats.layers import flips, label_test, max_test

Array = NDArray[np.float64]
CHANGE, WEIGHTS, TEXT, DIFFERENCE = "change", "weights", "text", "difference"
PATTERN = "pattern"
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
COMPARED = (*SIGNS, "intensity_per_gradient", "loss", "gradient")
# What the paper says of a method.
PUBLISHED = {"grpo": "yes", "ppo": "yes", "dpo": "no"}


def main(
    spec: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write all tables.

    Parameters
    ----------
    spec
        ``bootstrap`` (seed and resamples), ``permutations``, ``relabellings`` and
        ``margin_share``.
    inputs
        ``scores``: the tables of step ``eap``, one per arm and seed.
    outputs
        ``table``, ``methods``, ``signature`` and ``rates``.
    """
    cells = list(read_cells(inputs["scores"]))
    found: dict[str, list[Any]] = {name: [] for name in ("table", "signature", "rates")}
    trained: dict[tuple[Any, ...], list[Cell]] = {}
    for done, cell in enumerate(cells, start=1):
        for kept in FILTERS:
            values = {group: _values(cell, cell.chosen(kept, group)) for group in GROUPS}
            found["table"] += list(_rows(cell, kept, values, spec))
            found["signature"] += list(_signature(cell, kept, values, spec))
        if cell.trained and cell.attribution == GRADIENT:
            key = (cell.arm[0], cell.arm[2], cell.alpha, *cell.items["item"])
            trained.setdefault(key, []).append(cell)
            found["rates"] += list(false_positives(cell, spec))
        progress("cells", done, len(cells))
    found["methods"] = [row for arms in trained.values() for row in _methods(arms, spec)]
    for name, rows in found.items():
        empty = [*ARM, "attribution", "alpha", "measure"]
        write_table(outputs[name], pd.DataFrame(rows) if rows else pd.DataFrame(columns=empty))


Values = dict[tuple[str, str], dict[str, Array]]


def _values(cell: Cell, rows: NDArray[np.bool_]) -> Values:
    """Return every measure of every side, shape (items, seeds); none of too few items."""
    if rows.sum() < LEAST:
        return {}
    return {side: cell.measured(side, rows) for side in cell.sides}


def states(values: Values) -> dict[str, dict[str, Array]]:
    """Return the measures per state; the parts of a change where both models were crossed."""
    base = values[OWN_BASE]
    found = {BASE: base}
    if OWN_AFTER not in values:
        return found
    after = values[OWN_AFTER]
    found[CHANGE] = {name: after[name] - base[name] for name in base}
    if (BASE, AFTER) in values:
        one, other = values[(BASE, AFTER)], values[(AFTER, BASE)]  # text, weights
        found[WEIGHTS] = {n: (one[n] - base[n] + after[n] - other[n]) / 2 for n in base}
        found[TEXT] = {n: (other[n] - base[n] + after[n] - one[n]) / 2 for n in base}
    return found


def swap_p(changes: Array, spec: dict[str, Any], two_sided: bool = True) -> Array:
    """Return p per column: base and after are swapped within items, shape (items, columns)."""
    seed = spec["bootstrap"]["seed"]
    signs, exact = flips(len(changes), spec["permutations"], seed, "eap")
    null = signs @ changes / len(changes)
    return max_test(changes.mean(0), null, exact, two_sided).p


def _rows(
    cell: Cell, kept: str, groups: dict[str, Values], spec: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    how = Resampling(spec["bootstrap"]["seed"], spec["bootstrap"]["resamples"])
    key = {**cell.key, "filter": kept, "cut": _cuts(cell)}
    by_group = {group: states(values) for group, values in groups.items() if values}
    for group, by_state in by_group.items():
        of = int(cell.chosen(ALL, group).sum())
        for state, found in by_state.items():
            names = list(found)
            tested = swap_p(_columns(found, names), spec) if state != BASE else [None] * len(names)
            for name, p in zip(names, tested, strict=True):
                row = {"group": group, "state": state, "measure": name}
                yield {**key, **row, **_estimated(mean(found[name], how, group)), "p": p, "of": of}
    if not {EXPOSED, TWIN} <= set(by_group):
        return
    for state, exposed in by_group[EXPOSED].items():
        twin, names = by_group[TWIN][state], list(exposed)
        both = np.vstack([_columns(exposed, names), _columns(twin, names)])
        labels = np.arange(len(both)) < len(next(iter(exposed.values())))
        test = label_test(both, labels, how.seed, "eap", permutations=spec["permutations"])
        for name, p in zip(names, test.p, strict=True):
            row = {"group": DIFFERENCE, "state": state, "measure": name}
            did = difference_in_differences(exposed[name], twin[name], how).did
            yield {**key, **row, **_estimated(did), "p": p, "of": len(cell.items)}


def _columns(found: dict[str, Array], names: list[str]) -> Array:
    return np.stack([found[name].mean(1) for name in names], 1)


def _estimated(estimate: Any) -> dict[str, Any]:
    ends = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return ends | {"items": estimate.items, "seeds": estimate.seeds}


def _cuts(cell: Cell) -> str:
    return " ".join(map(str, cell.cuts))


# --- method against method ----------------------------------------------------------------


def _methods(cells: list[Cell], spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield how the changes of two methods differ, for items that pass the filter with both."""
    how = Resampling(spec["bootstrap"]["seed"], spec["bootstrap"]["resamples"])
    for place, one in enumerate(cells):
        for other in cells[place + 1 :]:
            if one.cuts != other.cuts:
                continue
            for kept in FILTERS:
                rows = one.chosen(kept, ALL) & other.chosen(kept, ALL)
                key = {**one.key, "other": other.arm[1], "filter": kept, "cut": _cuts(one)}
                for row in _compared(one, other, rows, how, spec):
                    yield key | row | {"of": len(rows)}


def _compared(
    one: Cell, other: Cell, rows: NDArray[np.bool_], how: Resampling, spec: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    if rows.sum() < LEAST:
        return
    both = [states(_values(cell, rows)) for cell in (one, other)]
    for state in (CHANGE, WEIGHTS):
        gaps = {name: both[0][state][name] - both[1][state][name] for name in COMPARED}
        tested = swap_p(_columns(gaps, list(COMPARED)), spec)
        for (name, gap), p in zip(gaps.items(), tested, strict=True):
            yield {"state": state, "measure": name, **_estimated(mean(gap, how, ALL)), "p": p}


# --- the published signature --------------------------------------------------------------


def _signature(
    cell: Cell, kept: str, groups: dict[str, Values], spec: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield a row per part and one for all parts, for both sets of definitions."""
    how = Resampling(spec["bootstrap"]["seed"], spec["bootstrap"]["resamples"])
    for group, values in groups.items():
        if OWN_AFTER not in values:
            continue
        key = {**cell.key, "filter": kept, "cut": _cuts(cell), "group": group}
        by_state = states(values)
        for definition, signs in DEFINITIONS.items():
            parts = []
            for name, sign in signs.items():
                change = by_state[CHANGE][name]
                p = float(swap_p(sign * change.mean(1, keepdims=True), spec, False)[0])
                level = float(by_state[BASE][name].mean())
                margin = spec["margin_share"] * abs(level)
                found = mean(sign * change, how, group)
                said = verdict(p, found.high, margin)
                row = {"definition": definition, "part": name, "sign": sign, "base": level}
                row |= _estimated(found) | {"p": p, "margin": margin, "verdict": said}
                parts.append(row)
            yield from (key | row | _published(cell, row["verdict"], False) for row in parts)
            said = together([row["verdict"] for row in parts])
            row = {"definition": definition, "part": PATTERN, "verdict": said}
            row |= {name: parts[0][name] for name in ("items", "seeds")}
            row["p"] = max(row["p"] for row in parts)
            yield key | row | _published(cell, said, True)


def together(verdicts: list[str]) -> str:
    """Return the verdict on several claims at once.

    >>> together([REPRODUCED, OPEN]), together([REPRODUCED, NOT, OPEN]), together([REPRODUCED])
    ('not decidable', 'not reproduced', 'reproduced')
    """
    if NOT in verdicts:
        return NOT
    return REPRODUCED if set(verdicts) == {REPRODUCED} else OPEN


def _published(cell: Cell, said: str, whole: bool) -> dict[str, str]:
    """Say what the paper has for this method, and whether that was found."""
    claim = PUBLISHED.get(cell.arm[1], "")
    if not claim or not whole or said == OPEN:
        return {"published": claim, "agrees": ""}
    return {"published": claim, "agrees": str((said == REPRODUCED) == (claim == "yes")).lower()}


# --- false positives ----------------------------------------------------------------------


def relabelled(cell: Cell, swaps: NDArray[np.bool_], spec: dict[str, Any]) -> dict[str, Array]:
    """Return the p-values of the change when base and after are swapped for some items.

    Parameters
    ----------
    swaps
        Whose labels are swapped (with every seed), shape (relabellings, items).

    Returns
    -------
    dict
        Measure -> p of each relabelling.
    """
    sides = [cell.sides[OWN_BASE], cell.sides[OWN_AFTER]]
    seeds = range(len(cell.cuts))
    alone = [
        [single(side.scores[n], side.loss[n], side.gradient[n]) for n in seeds] for side in sides
    ]
    names = [name for name in DEFINITIONS["fixed"] | DEFINITIONS["published"] if name not in POOLED]
    own = {name: np.stack([[of[n][name] for n in seeds] for of in alone]).mean(1) for name in names}
    tops, tested = cell.tops, []
    for swap in swaps:
        signs = np.where(swap, -1.0, 1.0)
        columns = [signs * (own[name][1] - own[name][0]) for name in names]
        change = 0.0
        for n in seeds:
            parts = [side.scores[n] for side in sides]
            given = [np.where(swap[:, None], parts[1 - k], parts[k]) for k in (0, 1)]
            before, after = (pooled(scores, tops[n]) for scores in given)
            change += np.stack([after[name] - before[name] for name in POOLED]) / len(cell.cuts)
        tested.append(swap_p(np.stack([*columns, *change], 1), spec))
    return dict(zip([*names, *POOLED], np.array(tested).T, strict=True))


def false_positives(cell: Cell, spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield how often the test of each measure's change rejects where nothing is."""
    rng = keyed_rng(spec["bootstrap"]["seed"], "eap relabelled", *map(str, cell.key.values()))
    swaps = rng.integers(0, 2, (spec["relabellings"], len(cell.items))) == 1
    for name, p in relabelled(cell, swaps, spec).items():
        hits = int((p <= ALPHA).sum())
        rate = binomial_interval(hits, len(p))
        row = {"measure": name, "items": len(cell.items), "runs": len(p), "rejected": hits}
        yield {**cell.key, **row, "rate": rate.value, "low": rate.low, "high": rate.high}
