"""Step ``clipping``: whether clipping causes a drift under a reward that ignores the response."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paradox.errors import DataError, hint, problems
from paradox.evaluate.arms import ALL_SEEDS, Arm, Results, levels, read_items, read_results
from paradox.files import write_json, write_table
from paradox.mechanisms.clipping.bias import Method, mu
from paradox.mechanisms.clipping.drift import (
    SIDES,
    Curves,
    agreement,
    drift,
    read_base,
    read_curves,
    toward_prior,
)
from paradox.mechanisms.clipping.reading import reading
from paradox.progress import Progress
from paradox.stats.signs import detectable, flip_test, holm, seed_mean, sign_test

Row = dict[str, Any]
COLUMNS = (
    "base reward method epsilon against measure primary seed updates value low high n "
    "positive negative ties predicted sign_p holm_p flip_p detectable"
).split()
WHOLE = ["updates", "n", "positive", "negative", "ties", "predicted"]
Drifts = dict[str, NDArray[np.float64]]  # method -> one value per seed
# Fixed before any result was seen; their sign tests are corrected together (Holm).
PRIMARY = ["toward_prior", "direct", "probability"]
COUNTED = ["samples", "correct", "recall"]


def main(
    spec: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write the table of drifts and tests and a reading of it.

    Each of the methods is compared with those before it; ``gamma`` and ``group`` are of the coin
    reward. ``curves`` (the arms' train.csv) stand beside their items.csv, ``samples`` are the
    untrained base's single ones. A `DataError` is raised when an arm or a seed is missing, or the
    files are malformed or do not fit together.
    """
    methods = [Method(**settings) for settings in spec["methods"]]
    items = read_items(inputs["items"])
    results = read_results(inputs["evaluations"], COUNTED, items)
    step = _check(results, methods, spec)
    progress("clipping", 1, 3, "evaluations")
    curves = _curves(results, methods, inputs, spec)
    progress("clipping", 2, 3, "curves")
    base, drifts = _items(results, methods, items, step, inputs["samples"], spec)
    base["mu"] = mu(spec["gamma"], spec["group"])
    drifts |= from_curves(methods, curves, base["mu"])
    table = rows(drifts, base, methods, spec)
    table["updates"] = max(logged.updates for trainings in curves.values() for logged in trainings)
    write_table(outputs["table"], table)
    write_json(outputs["reading"], reading(table, methods, PRIMARY))
    progress("clipping", 3, 3, "table")


def _check(results: Results, methods: list[Method], spec: dict[str, Any]) -> int:
    """Check that every arm and seed is there; return the last step, the same for all."""
    bad, last = [], set()
    known = [arm.method for arm in results.arms if arm.trained]
    for method in methods:
        arm = Arm(spec["base"], method.name, spec["reward"])
        if arm not in results.tables:
            likely = hint(method.name, dict.fromkeys(known))
            bad.append(f"{'/'.join(arm)}: no results; found methods are {likely}")
            continue
        missing = sorted(set(spec["seeds"]) - set(results.seeds(arm)))
        bad += [f"{'/'.join(arm)}/s{seed}: no results" for seed in missing]
        last |= {max(results.tables[arm][seed]) for seed in results.seeds(arm)}
    if len(last) > 1:
        bad.append(f"arms end at different steps: {sorted(last)}")
    if bad:
        raise DataError(problems("the study of clipping is not complete", bad))
    return last.pop()


def _curves(
    results: Results, methods: list[Method], inputs: dict[str, Any], spec: dict[str, Any]
) -> dict[str, list[Curves]]:
    """Return each method's curves in the order of the seeds."""
    folders = {path.parent: path for path in inputs["curves"]}
    first = max(method.updates_per_rollout for method in methods)
    curves: dict[str, list[Curves]] = {}
    bad = []
    for method, seed in itertools.product(methods, spec["seeds"]):
        parts = Path(spec["base"], method.name, spec["reward"], f"s{seed}").parts
        paths = [path for at, path in folders.items() if at.parts[-len(parts) :] == parts]
        if len(paths) != 1:
            bad.append(f"{'/'.join(parts)}/train.csv: found {len(paths)}, needed 1")
            continue
        curves.setdefault(method.name, []).append(read_curves(paths[0], first))
    if bad:
        raise DataError(problems("the study of clipping is not complete", bad))
    return curves


def _items(
    results: Results,
    methods: list[Method],
    items: pd.DataFrame,
    step: int,
    samples: Path,
    spec: dict[str, Any],
) -> tuple[dict[str, float], dict[str, Drifts]]:
    """Return facts of the base and the drifts that are counted from responses."""
    untrained = results.tables[Arm(spec["base"], "base", "none")]
    before = untrained[min(untrained)][0]
    base = read_base(samples, before.index, before["recall"])
    # The exposed items that count as such, and the twins where there are any.
    sets = {"": before.index} | {
        f"_{level.group}": level.items
        for level in levels(items, before.index, spec["exposed_from"])
        if level.name in ("exposed", "twin")
    }
    drifts: dict[str, Drifts] = {"toward_prior": {}}
    facts = {
        f"{name}{suffix}": base[column][before.index.get_indexer(chosen)]
        for name, column in (("direct", "direct"), ("accuracy", "correct"))
        for suffix, chosen in sets.items()
    }
    shares = {name: float(values.mean()) for name, values in facts.items()}
    # Items are fixed, so this error of a share of all samples is, if anything, too large.
    shares |= {
        f"{name}_error": math.sqrt(shares[name] * (1 - shares[name]) / values.size)
        for name, values in facts.items()
    }
    shares["prior_agreement"] = agreement(base["direct"])
    for method in methods:
        arm = Arm(spec["base"], method.name, spec["reward"])
        for suffix, chosen in sets.items():
            count = results.values(arm, spec["seeds"], step, "samples", chosen)
            for name, column in (("direct", "recall"), ("accuracy", "correct")):
                after = results.values(arm, spec["seeds"], step, column, chosen) / count
                values = drift(facts[name + suffix], after)
                drifts.setdefault(name + suffix, {})[method.name] = values
                if name == "direct" and not suffix:
                    drifts["toward_prior"][method.name] = toward_prior(base["direct"], after)
    return shares, drifts


def from_curves(
    methods: list[Method], curves: dict[str, list[Curves]], strength: float
) -> dict[str, Drifts]:
    """Return the measures that come from the logs of training.

    ``bias`` is the expected gradient factor of an update, averaged over updates and tokens:
    mu x (P(below) - P(above)); 0 where nothing is clipped. ``bias_high`` and ``bias_low`` are
    its parts from tokens of high and low old probability. ``outside`` is the share of tokens
    outside the band (outside +-.2 for a method without one).
    """
    drifts: dict[str, Drifts] = {}
    for method in methods:
        trainings = curves[method.name]
        columns = {name: [c.change[name] for c in trainings] for name in ("probability", "entropy")}
        columns |= {name: [c.shares[name] for c in trainings] for name in SIDES}
        columns["outside"] = [c.share() / c.updates for c in trainings]
        acting = strength * method.clips
        for prior in ("", "high", "low"):
            parts = (prior,) if prior else ()
            columns["bias" + (f"_{prior}" if prior else "")] = [
                acting * (c.share("below", *parts) - c.share("above", *parts)) / c.updates
                for c in trainings
            ]
        for name, values in columns.items():
            drifts.setdefault(name, {})[method.name] = np.array(values)
    return drifts


def predicted(base: dict[str, float]) -> dict[str, int]:
    """Return the direction that the clipping account predicts for a method that clips.

    The share of direct responses should move to the side of 1/2 on which the base has it; when
    that share is not clear of 1/2 (by 1.96 standard errors), there is no direction to predict.
    """
    direction = {"toward_prior": 1, "probability": 1, "entropy": -1}
    for name in ("direct", "direct_exposed", "direct_twin"):
        if name in base and abs(base[name] - 0.5) > 1.96 * base[f"{name}_error"]:
            direction[name] = int(np.sign(base[name] - 0.5))
    return direction


def rows(
    drifts: dict[str, Drifts], base: dict[str, float], methods: list[Method], spec: dict[str, Any]
) -> pd.DataFrame:
    """Return the tidy table: facts of the base, each seed's values, and tests over seeds.

    ``against`` names the method that was subtracted, seed by seed; empty for a method's own
    drift. Rows with ``seed`` = "all" hold the mean over seeds, Student's 95 % interval and the
    tests. Shares of tokens cannot be negative, so their own rows have no tests.
    """
    head = {"base": spec["base"], "reward": spec["reward"]}
    lines: list[Row] = [
        head | {"method": "base", "against": "", "measure": name, "seed": ALL_SEEDS, "value": value}
        for name, value in base.items()
    ]
    direction = predicted(base)
    for index, method in enumerate(methods):
        for against in [None, *methods[:index]]:
            key = head | {"method": method.name, "against": against.name if against else ""}
            key["epsilon"] = method.epsilon
            tested = []
            for name, by_method in drifts.items():
                values = by_method[method.name] - (by_method[against.name] if against else 0.0)
                line = key | {"measure": name, "primary": name in PRIMARY}
                lines += [
                    line | {"seed": seed, "value": float(value)}
                    for seed, value in zip(spec["seeds"], values, strict=True)
                ]
                more = np.sign(method.rank - (against.rank if against else 0.0))
                line["predicted"] = int(more * direction.get(name, 0))
                share = not against and name in (*SIDES, "outside")
                tested.append(line | seed_row(values, tests=not share))
            _correct(tested)
            lines += tested
    table = pd.DataFrame(lines).reindex(columns=COLUMNS).astype(dict.fromkeys(WHOLE, "Int64"))
    return table.assign(primary=table["primary"].eq(True))


def seed_row(values: NDArray[np.float64], tests: bool = True) -> Row:
    """Return mean, interval and tests over seeds."""
    mean = seed_mean(values)
    row: Row = {"seed": ALL_SEEDS, "value": mean.value, "low": mean.low, "high": mean.high}
    row["n"] = mean.n
    if not tests:
        return row
    signs = sign_test(values)
    return row | {
        "positive": signs.positive,
        "negative": signs.negative,
        "ties": signs.ties,
        "sign_p": signs.p,
        "flip_p": flip_test(values),
        "detectable": _detectable(signs.n),
    }


@lru_cache
def _detectable(n: int) -> float:
    return detectable(n) if n else math.nan


def _correct(tested: list[Row]) -> None:
    """Add Holm's p-values over the primary measures of one method or one comparison."""
    chosen = [row for row in tested if row["primary"]]
    for row, p in zip(chosen, holm([row["sign_p"] for row in chosen]), strict=True):
        row["holm_p"] = p
