"""Step ``perplexity_parts``: how likely each part of a text is, by exposure, along training.

``parts``: a row per arm, checkpoint, exposure (a count; ``exposed``: all that count), group (twins
are the items' own; ``difference`` is exposed minus twin) and part. Parts: ``prompt``, ``mode``
(the words that choose how to answer), ``content`` (the right answer after them), ``answer`` (both,
unforced), ``full`` (prompt and answer): nats per token; ``marginal``: -log p of a right answer by
whatever way, from samples (`paradox.stats.surprisal`), in nats per answer, with ``terms`` and the
standard error of sampling, ``sampling``; ``own`` and ``own_full``: the greedy response of the
arm's last checkpoint, and prompt and response, the published measure, ``tautological``.
``value`` is the mean, ``change`` its change since the untrained base with interval and two-sided
p (`paradox.stats.crossed`: items x replicates). ``verdicts``: what module ``claims`` says.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paradox.evaluate.arms import Arm, Level, Results, levels, read_items, read_results
from paradox.files import write_table
from paradox.mechanisms.perplexity.claims import Case, verdicts
from paradox.progress import Progress
from paradox.stats.crossed import Number, difference, mean
from paradox.stats.surprisal import surprisal, variance

Array = NDArray[np.float64]
Row = dict[str, Any]
FIXED = {name: f"{name}_nll" for name in ("prompt", "mode", "answer", "full")}
FIXED |= {"content": "recall_nll"}
OWN = ("own", "own_full")
PARTS = ("prompt", "mode", "content", "answer", "full", "marginal", *OWN)
SIZES = ["prompt_tokens", "own_nll", "own_tokens", "own_base_nll"]
TWIN, COUNTED = "twin", "exposed"


class Measured(NamedTuple):
    """Parts of some items under an arm at a checkpoint.

    Attributes
    ----------
    now, before
        By part, shape (items, replicates); NaN where an item has none.
    terms, error
        Of the marginal: the terms that are summed, and its variance by sampling.
    """

    now: dict[str, Array]
    before: dict[str, Array]
    terms: int
    error: Array


class Study:
    """Likelihoods and counts of right samples of all arms, and the items."""

    def __init__(self, inputs: dict[str, Any], exposed_from: int) -> None:
        items = read_items(Path(inputs["items"]))
        fixed = [column for part, column in FIXED.items() if part != "mode"]
        nlls = [Path(path) for path in inputs["nlls"]]
        self.nlls = read_results(nlls, [*fixed, "prompt_tokens"], items, ["mode_nll"])
        counts = [Path(path) for path in inputs["evaluations"]]
        self.counts: Results = read_results(counts, ["samples", "correct"], items)
        measured = next(self.nlls.each())
        self.levels = [
            level
            for level in levels(items, measured.index, exposed_from)
            if level.name != TWIN and len(level.items) > 1
        ]
        self.twins = pd.Index(items.loc[items["group"] == "twin", "item"])
        self.twins = self.twins.intersection(measured.index, sort=False)
        # Benchmarks have no pairs.
        pairs = items.set_index("item")["pair"].dropna() if "pair" in items else pd.Series()
        self.pair_of = pairs
        own = pairs[pairs.index.isin(self.twins)]
        self.twin_of = pd.Series(own.index, index=own.to_numpy())

    def twins_of(self, level: Level) -> tuple[pd.Index, bool]:
        """Return the twins of a level's items, and whether each item has its own, in order."""
        pairs = self.pair_of.reindex(level.items)
        unique = pairs.is_unique and self.twin_of.index.is_unique
        if unique and pairs.isin(self.twin_of.index).all():
            return pd.Index(self.twin_of.loc[pairs]), True
        return self.twins, False

    def seldom(self, counted: Level) -> pd.Index:
        """Return the items with exposures too few to count."""
        fewer = [level.items for level in self.levels if not level.items.isin(counted.items).any()]
        return fewer[0].append(fewer[1:]) if fewer else pd.Index([])

    def measured(self, arm: Arm, seeds: list[int], step: int, items: pd.Index) -> Measured:
        """Return all parts of some items."""
        held = self.nlls
        now = {part: held.values(arm, seeds, step, name, items) for part, name in FIXED.items()}
        before = {part: held.before(arm, name, items) for part, name in FIXED.items()}
        right, drawn = (
            self.counts.values(arm, seeds, step, name, items) for name in ("correct", "samples")
        )
        right_before, drawn_before = (
            self.counts.before(arm, name, items) for name in ("correct", "samples")
        )
        samples, samples_before = int(drawn.min()), int(drawn_before.min())
        terms = min(samples, samples_before)
        now["marginal"] = surprisal(right, samples, terms)
        before["marginal"] = surprisal(right_before, samples_before, terms)
        sizes = [held.values(arm, seeds, step, name, items) for name in SIZES]
        tokens, now["own"], own_tokens, before["own"] = sizes
        for values in (now, before):
            whole = values["prompt"] * tokens + values["own"] * own_tokens
            values["own_full"] = whole / (tokens + own_tokens)
        return Measured(now, before, terms, variance(right, samples, terms))


def main(
    spec: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write the table and the verdicts.

    Parameters
    ----------
    spec
        ``exposed_from``, ``margin_share`` and ``bases`` (names of the ``planted`` and the
        ``clean`` one, or None).
    inputs
        ``nlls`` of step ``perplexity`` and ``evaluations`` of step ``evaluate``, a file per arm
        and seed; ``items``.
    outputs
        ``parts`` and ``verdicts``.
    """
    study = Study(inputs, spec["exposed_from"])
    table: list[Row] = []
    judged: list[Row] = []
    for done, arm in enumerate(study.nlls.arms, start=1):
        table += rows(study, arm)
        for group, case in cases(study, arm, spec):
            judged += [{**arm._asdict(), **row} for row in verdicts(case, group)]
        progress("arms", done, len(study.nlls.arms))
    write_table(outputs["parts"], pd.DataFrame(table))
    write_table(outputs["verdicts"], pd.DataFrame(judged))


# --- the table ------------------------------------------------------------------------------


def rows(study: Study, arm: Arm) -> Iterator[Row]:
    """Yield the rows of an arm."""
    seeds = study.nlls.seeds(arm)
    for step in study.nlls.steps(arm, seeds):
        for level in study.levels:
            exposed = study.measured(arm, seeds, step, level.items)
            groups: dict[str, tuple[Measured, ...]] = {"exposed": (exposed,)}
            twins, paired = study.twins_of(level)
            if len(twins) > 1:
                twin = study.measured(arm, seeds, step, twins)
                groups |= {"twin": (twin,), "difference": (exposed, twin)}
            for group, sides in groups.items():
                named = {**arm._asdict(), "step": step, "exposure": level.name, "group": group}
                yield from (named | row for row in _parts(arm, sides, paired))


def _parts(arm: Arm, sides: tuple[Measured, ...], paired: bool) -> Iterator[Row]:
    for part in PARTS:
        now = [side.now[part] for side in sides]
        if any(np.isnan(values).all() for values in now):
            continue
        number = _number(now, paired)
        row: Row = {"part": part, "tautological": part in OWN}
        ends = number.estimate()
        row |= {"value": ends.value, "value_low": ends.low, "value_high": ends.high}
        row |= dict.fromkeys(("change", "low", "high", "p", "sampling", "terms"))
        if arm.trained:
            moved = [side.now[part] - side.before[part] for side in sides]
            number = _number(moved, paired)
            ends, tail = number.estimate(), float(number.above())
            row |= {"change": ends.value, "low": ends.low, "high": ends.high}
            row |= {"p": 2 * min(tail, 1 - tail)}
        if part == "marginal":
            errors = [side.error.sum() / side.error.size**2 for side in sides]
            row |= {"sampling": float(np.sqrt(sum(errors))), "terms": sides[0].terms}
        yield row | {"items": ends.items, "replicates": ends.replicates}


def _number(sides: list[Array], paired: bool) -> Number:
    """Return the mean of one side, or exposed items minus twins."""
    if len(sides) == 1:
        return mean(sides[0])
    return mean(sides[0] - sides[1], "pairs") if paired else difference(*sides)


# --- the verdicts ---------------------------------------------------------------------------


def cases(study: Study, arm: Arm, spec: dict[str, Any]) -> Iterator[tuple[str, Case]]:
    """Yield what claims on a trained arm are judged by: groups of items that count, with names.

    On the clean base exposed items and twins are alike: nobody has seen either.
    """
    level = next((level for level in study.levels if level.name == COUNTED), None)
    if not arm.trained or level is None:
        return
    seeds, share = study.nlls.seeds(arm), spec["margin_share"]
    twins, paired = study.twins_of(level)
    exposed, before = _changes(study, arm, seeds, level.items)
    if arm.base == spec["bases"]["clean"]:
        unseen, before = _changes(study, arm, seeds, level.items.append(twins))
        yield "unseen", Case({"items": (1.0, unseen)}, before, share)
        return
    yield "exposed", Case({"items": (1.0, exposed)}, before, share)
    seldom = study.seldom(level)
    if len(seldom) > 1:
        few, before_few = _changes(study, arm, seeds, seldom)
        yield "seldom", Case({"items": (1.0, few)}, before_few, share)
    if len(twins) > 1:
        twin, before_twin = _changes(study, arm, seeds, twins)
        yield "twin", Case({"items": (1.0, twin)}, before_twin, share)
        sides = {"exposed": (1.0, exposed), "twin": (-1.0, twin)}
        if paired:
            sides = {"pairs": (1.0, {part: exposed[part] - twin[part] for part in exposed})}
        yield "difference", Case(sides, before, share)
    other = arm._replace(base=spec["bases"]["clean"] or arm.base)
    shared = [seed for seed in seeds if seed in study.nlls.seeds(other)]
    if other != arm and shared and arm.base == spec["bases"]["planted"]:
        apart, _ = _changes(study, arm, shared, level.items)
        clean, _ = _changes(study, other, shared, level.items)
        sides = {"items": (1.0, {part: _last(apart[part]) - _last(clean[part]) for part in apart})}
        yield "beyond", Case(sides, before, share)


def _last(course: Array) -> Array:
    return course[:, :, -1:]


def _changes(
    study: Study, arm: Arm, seeds: list[int], items: pd.Index
) -> tuple[dict[str, Array], dict[str, float]]:
    """Return by part the changes, shape (items, replicates, steps), and the base's means."""
    found = [study.measured(arm, seeds, step, items) for step in study.nlls.steps(arm, seeds)]
    there = [part for part in FIXED if np.isfinite(found[0].before[part]).all()]
    changes = {
        part: np.stack([each.now[part] - each.before[part] for each in found], axis=2)
        for part in there
    }
    return changes, {part: float(found[0].before[part].mean()) for part in there}
