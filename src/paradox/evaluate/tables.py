"""Step ``tables``: sum up all arms, with intervals, in the tables that figures and texts use.

Intervals and equivalence are of items crossed with replicates (`paradox.stats.crossed`): rows with
``seed`` = "all" have all trainings, rows with a number one. *Before* is the untrained base, one and
the same for all replicates: these are trainings of this base and say nothing about other bases, and
the noise of its samples counts as part of the items' spread. Shares lie between 0 and 1;
log-likelihoods are negative, in nats per token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paradox.errors import DataError
from paradox.evaluate.arms import ALL_SEEDS, Arm, Level, Results, levels, read_items, read_results
from paradox.evaluate.summary import summarise
from paradox.files import write_json, write_table
from paradox.progress import Progress
from paradox.stats.bootstrap import Proportion, binomial_interval, chance_range
from paradox.stats.crossed import Estimate, Number, difference, mean

EVALUATED = ["samples", "correct", "recall", "greedy_correct"]
SCORED = ["prompt_nll", "recall_nll", "recall_greedy"]
# Benchmarks need not come with worked solutions.
WORKED = ["reason_nll", "chain_nll"]
# "gap" is the paradox in one number: it falls when the answer gets likelier than the prompt does.
QUANTITIES = ["prompt", "recall", "reason", "chain", "gap"]
RATES = {"accuracy": "accuracy", "greedy": "greedy_correct", "recall_share": "recall_share"}
Row = dict[str, Any]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Study:
    """Everything the tables are made from."""

    results: Results
    levels: list[Level]

    @property
    def exposed(self) -> Level:
        """The exposed items that count as such."""
        return self.levels[-1]

    @property
    def twin(self) -> Level | None:
        """The twins, where there are any."""
        return self.levels[0] if self.levels[0].group == "twin" else None

    def slices(self, arm: Arm) -> Iterator[tuple[str, list[int], list[int]]]:
        """Yield (name, seeds, steps) for each seed of the arm, then for all seeds."""
        seeds = self.results.seeds(arm)
        for seed in seeds:
            yield str(seed), [seed], self.results.steps(arm, [seed])
        yield ALL_SEEDS, seeds, self.results.steps(arm, seeds)

    def points(self) -> Iterator[tuple[Row, Arm, list[int], int]]:
        """Yield (columns that name it, arm, seeds, step) for each step of each arm's slices."""
        for arm in self.results.arms:
            for seed, seeds, steps in self.slices(arm):
                for step in steps:
                    yield {**arm._asdict(), "seed": seed, "step": step}, arm, seeds, step


def main(
    spec: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write accuracy, did, perplexity, base and trajectory (csv) and summary (json).

    Parameters
    ----------
    spec
        ``exposed_from`` (an exposed item with fewer exposures does not count as exposed),
        ``equivalence_margin`` (in accuracy), ``chance`` (probability that a guess is right, or
        None) and ``clean_base`` (name of the base that never saw the items, or None).
    inputs
        ``evaluations`` and ``nlls``: per-item files of all arms; ``items``: the item table.
    outputs
        By name.
    """
    evaluated, scored = _read(spec, inputs)
    if not any(arm.trained for arm in evaluated.results.arms):
        raise DataError("no trained arm was given: there is nothing to compare the bases with.")
    makers: dict[str, Callable[[], list[Row]]] = {
        "accuracy": lambda: _accuracy(evaluated),
        "did": lambda: _did(evaluated, spec),
        "perplexity": lambda: _perplexity(scored),
        "base": lambda: _base(evaluated, scored, spec["chance"]),
        "trajectory": lambda: _trajectory(evaluated),
    }
    tables = {}
    for number, (name, make) in enumerate(makers.items(), start=1):
        tables[name] = pd.DataFrame(make())
        if "exposure" in tables[name]:
            tables[name] = tables[name].astype({"exposure": "Int64"})
        write_table(outputs[name], tables[name])
        progress("tables", number, len(makers), name)
    write_json(outputs["summary"], summarise(tables, evaluated.levels, spec))


def base_table(spec: dict[str, Any], inputs: dict[str, Any]) -> pd.DataFrame:
    """Return table ``base`` alone, which needs no trained arm; parameters as those of `main`."""
    evaluated, scored = _read(spec, inputs)
    return pd.DataFrame(_base(evaluated, scored, spec["chance"]))


def _read(spec: dict[str, Any], inputs: dict[str, Any]) -> tuple[Study, Study]:
    """Return what was evaluated and what was scored."""
    items = read_items(inputs["items"])
    evaluated = _study(read_results(inputs["evaluations"], EVALUATED, items), items, spec)
    for table in evaluated.results.each():
        table["accuracy"] = table["correct"] / table["samples"]
        table["recall_share"] = table["recall"] / table["samples"]
    scored = _study(read_results(inputs["nlls"], SCORED, items, WORKED), items, spec)
    for table in scored.results.each():
        table["gap_nll"] = table["recall_nll"] - table["prompt_nll"]
    return evaluated, scored


def _study(results: Results, items: pd.DataFrame, spec: dict[str, Any]) -> Study:
    measured = next(results.each()).index
    return Study(results, levels(items, measured, spec["exposed_from"]))


def _columns(name: str, estimate: Estimate | Proportion | None) -> Row:
    """Return name, name_low and name_high; empty fields where there is no estimate."""
    if estimate is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _contrast(exposed: Array, twin: Array | None) -> dict[str, Number]:
    """Return the means of exposed and twin items and their difference (where twins exist)."""
    numbers = {"exposed": mean(exposed, "exposed")}
    if twin is not None:
        numbers |= {"twin": mean(twin, "twin"), "difference": difference(exposed, twin)}
    return numbers


def _rates(study: Study, arm: Arm, seeds: list[int], step: int, level: Level) -> Row:
    row: Row = {"items": len(level.items), "replicates": len(seeds)}
    samples = study.results.values(arm, seeds, step, "samples", level.items)
    row["samples"] = int(samples.min())
    for name, column in RATES.items():
        values = study.results.values(arm, seeds, step, column, level.items)
        row |= _columns(name, mean(values).estimate())
    return row


def _accuracy(study: Study) -> list[Row]:
    """Return one row per arm, seed, step and exposure level."""
    rows = []
    for key, *point in study.points():
        for level in study.levels:
            about = {"level": level.name, "group": level.group, "exposure": level.exposure}
            rows.append(key | about | _rates(study, *point, level))
    return rows


def _trajectory(study: Study) -> list[Row]:
    """Return accuracy and recall share by step for the two groups of the DiD."""
    groups = [level for level in (study.exposed, study.twin) if level is not None]
    return [
        key | {"group": level.group} | _rates(study, *point, level)
        for key, *point in study.points()
        for level in groups
    ]


def _gain(
    study: Study,
    arm: Arm,
    seeds: list[int],
    step: int,
    level: Level | None,
    column: str = "accuracy",
) -> Array | None:
    if level is None:
        return None
    after = study.results.values(arm, seeds, step, column, level.items)
    return after - study.results.before(arm, column, level.items)


def _did(study: Study, spec: dict[str, Any]) -> list[Row]:
    """Return one row per trained arm and seed, at the last step that its seeds share.

    Beside sampled accuracy stands that of greedy decoding, the published protocol (``greedy_...``);
    ``greedy_room`` is all that it could rise by on exposed items.
    """
    rows = []
    for arm in (arm for arm in study.results.arms if arm.trained):
        for seed, seeds, steps in study.slices(arm):
            if steps:
                key = {**arm._asdict(), "seed": seed, "step": steps[-1], "replicates": len(seeds)}
                rows.append(key | _did_row(study, arm, seeds, steps[-1], spec))
    return rows


def _did_row(study: Study, arm: Arm, seeds: list[int], step: int, spec: dict[str, Any]) -> Row:
    def numbers(column: str) -> dict[str, Number]:
        sides = (
            _gain(study, arm, seeds, step, level, column) for level in (study.exposed, study.twin)
        )
        return _contrast(*sides)

    sampled, greedy = numbers("accuracy"), numbers("greedy_correct")
    estimates = {name: number.estimate() for name, number in sampled.items()}
    did = estimates.get("difference")
    row: Row = {
        "items_exposed": len(study.exposed.items),
        "items_twin": len(study.twin.items) if study.twin else 0,
        **_columns("did", did),
        "clear_of_zero": did.clear_of_zero if did else None,
        **_columns("exposed_gain", estimates["exposed"]),
        **_columns("twin_gain", estimates.get("twin")),
    }
    margin = row["equivalence_margin"] = spec["equivalence_margin"]
    test = sampled["difference"].equivalence(margin) if did else None
    row |= {f"equivalence_{end}": getattr(test, end, None) for end in ("low", "high", "p")}
    row["equivalent"] = test.equivalent if test else None
    truth = arm._replace(reward="ground_truth")
    row |= _against(study, arm, truth, seeds, step, "minus_ground_truth")
    clean = arm._replace(base=spec["clean_base"] or arm.base)
    row |= _against(study, arm, clean, seeds, step, "minus_clean")
    for name, part in {"did": "difference", "exposed_gain": "exposed", "twin_gain": "twin"}.items():
        row |= _columns(f"greedy_{name}", greedy[part].estimate() if part in greedy else None)
    before = study.results.before(arm, "greedy_correct", study.exposed.items)
    return row | {"greedy_room": 1 - before.mean()}


def _against(study: Study, arm: Arm, other: Arm, seeds: list[int], step: int, name: str) -> Row:
    """Return the DiD of `arm` minus that of `other`, over the seeds that both have at `step`.

    Items and seeds are paired: "clear" means that this interval leaves out zero. Two intervals that
    overlap, or one that is clear of zero and one that is not, would not be a test.
    """
    shared = sorted(set(seeds) & set(study.results.seeds(other, step)))
    estimate = None
    if other != arm and shared and study.twin is not None:
        exposed, twin = (
            _gain(study, arm, shared, step, level) - _gain(study, other, shared, step, level)
            for level in (study.exposed, study.twin)
        )
        estimate = difference(exposed, twin).estimate()
    return {
        **_columns(name, estimate),
        f"{name}_replicates": estimate.replicates if estimate else 0,
        f"{name}_clear": estimate.clear_of_zero if estimate else None,
    }


def _perplexity(study: Study) -> list[Row]:
    """Return long rows: measure x quantity x group, per arm, seed and step.

    Measures: ``nll`` (mean), ``change`` (since step 0) and ``minus_ground_truth`` (minus the
    ground-truth arm at the same step, over shared seeds). Group ``difference`` is exposed minus
    twin; for ``change`` this is the difference in differences.
    """
    return [
        key | row
        for key, *point in study.points()
        for quantity in QUANTITIES
        for row in _nll_rows(study, *point, quantity)
    ]


def _nll_rows(study: Study, arm: Arm, seeds: list[int], step: int, quantity: str) -> list[Row]:
    column = f"{quantity}_nll"
    chosen = _scored_items(study, arm, column)
    if not chosen:
        return []
    now = [study.results.values(arm, seeds, step, column, items) for items in chosen]
    measures = {"nll": now}
    if arm.trained:
        before = [study.results.before(arm, column, items) for items in chosen]
        measures["change"] = [after - base for after, base in zip(now, before, strict=True)]
        truth = arm._replace(reward="ground_truth")
        shared = sorted(set(seeds) & set(study.results.seeds(truth, step)))
        if truth != arm and shared:
            measures["minus_ground_truth"] = [
                study.results.values(arm, shared, step, column, items)
                - study.results.values(truth, shared, step, column, items)
                for items in chosen
            ]
    rows = []
    for measure, values in measures.items():
        twin = values[1] if len(values) > 1 else None
        for group, number in _contrast(values[0], twin).items():
            about, estimate = {"quantity": quantity, "measure": measure}, number.estimate()
            ends = {end: getattr(estimate, end) for end in ("value", "low", "high")}
            size = {"items": estimate.items, "replicates": estimate.replicates}
            rows.append(about | {"group": group} | ends | size)
    return rows


def _scored_items(study: Study, arm: Arm, column: str) -> list[pd.Index]:
    """Return the exposed items and the twins that have this quantity; none without exposed."""
    scored = []
    for level in (study.exposed, study.twin):
        if level is not None:
            has = np.isfinite(study.results.before(arm, column, level.items)[:, 0])
            scored.append(level.items[has])
    return [items for items in scored if len(items)] if len(scored[0]) else []


def _base(evaluated: Study, scored: Study, chance: float | None) -> list[Row]:
    """Return what each base knows before training, per exposure level.

    ``recall_answer`` is the share of items whose recalled answer is the model's first choice;
    it and ``greedy`` have exact binomial intervals (one trial per item).
    ``chance_low`` and ``chance_high`` bound what guessing gives for as many items;
    ``minus_twin`` is sampled accuracy less that of twins.
    """
    rows = []
    for arm in (arm for arm in evaluated.results.arms if not arm.trained):
        seed = min(evaluated.results.seeds(arm))
        for level in evaluated.levels:
            rates = _rates(evaluated, arm, [seed], 0, level)
            # One greedy response per item is one trial, so the exact interval applies.
            first = evaluated.results.before(arm, "greedy_correct", level.items)
            rates |= _columns("greedy", binomial_interval(int(first.sum()), len(first)))
            row: Row = {"base": arm.base, "level": level.name, "group": level.group}
            row |= {"exposure": level.exposure, **_recalled(scored, arm, level.name, chance)}
            rows.append(row | rates | _columns("minus_twin", _minus_twin(evaluated, arm, level)))
    return rows


def _minus_twin(study: Study, arm: Arm, level: Level) -> Estimate | None:
    """Return how much more accurate an untrained base is on a level's items than on twins."""
    twins = [other.items for other in study.levels if other.group == "twin"]
    if level.group == "twin" or not twins:
        return None
    accuracy = [study.results.before(arm, "accuracy", items) for items in (level.items, *twins)]
    return difference(*accuracy).estimate()


def _recalled(scored: Study, arm: Arm, level: str, chance: float | None) -> Row:
    held = [entry for entry in scored.levels if entry.name == level]
    if arm not in scored.results.tables or not held:
        return _columns("recall_answer", None) | {"recall_items": 0, **_columns("chance", None)}
    first = scored.results.before(arm, "recall_greedy", held[0].items)
    share = binomial_interval(int(first.sum()), len(first))
    low, high = chance_range(share.n, chance) if chance is not None else (None, None)
    row = _columns("recall_answer", share) | {"recall_items": share.n}
    return row | {"chance": chance, "chance_low": low, "chance_high": high}
