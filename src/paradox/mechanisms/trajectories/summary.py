"""Step ``separation``: whether the separation force has a peak at an inner block.

Forces are roots of the squared force (negative where that is), per coordinate of states of size 1.
Intervals and ``p`` are of pairs crossed with trainings (`paradox.stats.crossed`); how often a block
is the largest when pairs are drawn again is no mean, and a bootstrap.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from paradox.errors import DataError, hint
from paradox.files import read_table, write_json, write_table
from paradox.mechanisms.tables import words
from paradox.mechanisms.tables.pairs import ARM
from paradox.mechanisms.tables.signatures import MISSING, Part, row
from paradox.mechanisms.tables.verdict import MIDDLE, inside
from paradox.mechanisms.trajectories.reading import paragraph
from paradox.progress import Progress
from paradox.stats.bootstrap import Resampling, binomial_interval, pigeonhole
from paradox.stats.crossed import Estimate, mean
from paradox.stats.layers import LayerTest, max_test
from paradox.stats.separation import root

Array = NDArray[np.float64]
MEASURES = ["multi_step", "one_block", "time_only", "kept"]
FORCES = ["force", "force_path", "force_data"]
AREA = ["auc", "auc_low", "auc_high"]
GUESSES = "its classifier guesses"


class Curve(NamedTuple):
    """A component of an arm at one state.

    `sets`: set of pairs -> pseudo-values of shape (pairs, blocks, seeds); `test` is of the pairs
    that count, mean over seeds.
    """

    sets: dict[str, Array]
    test: LayerTest


def main(
    spec: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write the tables of all arms and their reading; a `DataError` without the planted base.

    Margins of ``signatures`` are `margin_share` of the largest squared force of the untrained
    planted base (for flows that of the answer position), of 1 for shares of fits.
    """
    tables = {
        name: pd.concat([read_table(Path(path), [*ARM, "seed"]) for path in inputs[name]])
        for name in ("pairs", "null", "fits")
    }
    bases = set(tables["pairs"]["base"])
    if spec["planted"] not in bases:
        raise DataError(f"key planted: no base {spec['planted']!r}; {hint(spec['planted'], bases)}")
    resampling = Resampling(spec["bootstrap"]["seed"], spec["bootstrap"]["resamples"])
    by_key = curves(tables["pairs"], tables["null"])
    table = pd.DataFrame(
        [row for key, curve in by_key.items() for row in layers(key, curve, resampling)]
    )
    models = dict(iter(tables["fits"].groupby("model")))
    fits = models[words.FLOW]
    published = models.get(words.PUBLISHED_FLOW, fits[:0])
    rows = [*flow_rows(fits, words.FLOW, FORCES, MEASURES)]
    rows += flow_rows(published, words.PUBLISHED_FLOW, FORCES[:1], AREA)
    flows = pd.DataFrame(rows)
    verdicts = [*peaks(by_key, spec), *follows(fits, spec["margin_share"])]
    verdicts += published_peak(published, spec["margin_share"])
    signatures = pd.DataFrame(verdicts)
    for name, rows in {"table": table, "flows": flows, "signatures": signatures}.items():
        write_table(outputs[name], rows)
    claim = spec["claims"]["separation_peak"]
    text = paragraph(table, flows, signatures, claim, spec["planted"])
    write_json(outputs["reading"], {"paragraphs": {"trajectories": text}})
    progress("arms", len(inputs["pairs"]), len(inputs["pairs"]))


def curves(pairs: pd.DataFrame, null: pd.DataFrame) -> dict[tuple[str, ...], Curve]:
    """Return curves by arm, component, state; `DataError` where seeds differ in pairs or layers."""
    keys, by_key = [*ARM, "component", "state"], {}
    nulls = dict(iter(null.groupby(keys)))
    for key, rows in pairs.groupby(keys, sort=True):
        sets = {str(name): _cube(of, "pair", key) for name, of in rows.groupby("set", sort=True)}
        drawn = _cube(nulls[key], "draw", key).mean(axis=2)
        exact = bool(nulls[key]["exact"].iloc[0])
        observed = sets[words.COUNTED].mean(axis=(0, 2))
        by_key[key] = Curve(sets, max_test(observed, drawn, exact, two_sided=False))
    return by_key


def _cube(table: pd.DataFrame, unit: str, key: tuple[str, ...]) -> Array:
    """Return values of shape (units, layers, seeds)."""
    names, places = zip(
        *(pd.factorize(table[by])[::-1] for by in (unit, "layer", "seed")), strict=True
    )
    shape = tuple(len(of) for of in names)
    at = np.ravel_multi_index(places, shape)
    if len(table) != np.prod(shape) or len(np.unique(at)) < len(at):
        raise DataError(f"{'/'.join(key)}: seeds differ in their values of {unit!r} and 'layer'.")
    values = np.empty(len(table))
    values[at] = table["value"].to_numpy()
    return values.reshape(shape)[:, np.argsort(names[1])]


def layers(key: tuple[str, ...], curve: Curve, resampling: Resampling) -> Iterator[dict[str, Any]]:
    """Yield a row per set of pairs and block; ``p`` is of "above 0" at a block named beforehand.

    ``corrected`` and the null have labels swapped within pairs, given these trainings.
    """
    for name, values in curve.sets.items():
        if name in (words.SELECTION, words.TEST):
            continue
        counted = name == words.COUNTED
        tops = draws(values, resampling).argmax(axis=1)
        estimates = mean(values.swapaxes(1, 2), "pairs").estimates()
        for layer, estimate in enumerate(estimates):
            ends = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
            line = {**dict(zip([*ARM, "component", "state"], key, strict=True)), "set": name}
            line |= {"layer": layer} | {end: float(root(of)) for end, of in ends.items()}
            test = curve.test
            line |= {
                "p": estimate.p,
                "corrected": test.corrected[layer] if counted else None,
                "null_low": float(root(test.low[layer])) if counted else None,
                "null_high": float(root(test.max_high[layer])) if counted else None,
                "peak_share": float((tops == layer).mean()),
            }
            yield line | {"pairs": estimate.items, "replicates": estimate.replicates}


def draws(values: Array, resampling: Resampling, group: str = "pairs") -> Array:
    """Return bootstrap draws of the mean, shape (resamples, layers)."""
    # One name and one number of pairs give one set of weights: the layers stay paired.
    each = [pigeonhole({group: of}, resampling)[group] for of in values.swapaxes(0, 1)]
    return np.stack(each, axis=1)


# --- verdicts -----------------------------------------------------------------------------


def peaks(by_key: dict[tuple[str, ...], Curve], spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the rows ``separation_peak`` and ``separation_any`` of every component.

    One half of the pairs says which block has the largest squared force; in the other half it is
    above 0 (``separation_any``). ``separation_peak``: of the blocks that are neither first nor
    last, the largest is above the first *and* above the last block, in the other half.
    """
    for key, curve in by_key.items():
        # A flow's force is held against that of the data at its position.
        component = words.ANSWER if key[3] in (words.FLOW, words.FLOW_PATH) else key[3]
        like = by_key.get((spec["planted"], "base", "none", component, words.BASE))
        if like is None:
            raise DataError(f"{'/'.join(key)}: the untrained planted base has no such component.")
        largest = float(like.test.curve.max())
        margin = spec["margin_share"] * largest if largest > 0 else math.nan
        chosen, rest = curve.sets[words.SELECTION].mean(axis=(0, 2)), curve.sets[words.TEST]
        arm = *key[:3], key[4]
        top = int(chosen.argmax())
        force = Part(mean(rest[:, top], "pairs").estimate(), str(top))
        yield row(f"separation_any: {key[3]}", arm, [force], margin)
        parts = [MISSING]
        if len(chosen) > 2:
            peak = 1 + int(chosen[1:-1].argmax())
            above = [mean(rest[:, peak] - rest[:, end], "pairs") for end in (0, -1)]
            parts = [Part(number.estimate(), str(peak)) for number in above]
        yield row(f"separation_peak: {key[3]}", arm, parts, margin)


def follows(fits: pd.DataFrame, margin: float) -> Iterator[dict[str, Any]]:
    """Yield the rows ``flow_follows``: fits that peak where the data does, against guessing.

    Interval and p are binomial: of fits, given these items and trainings.
    """
    for key, rows in fits.groupby([*ARM, "variant"], sort=True):
        tops = tops_of(rows, ["force", "force_data"])
        hits, guess = int((tops["force"] == tops["force_data"]).sum()), 1 / rows["layer"].nunique()
        share = binomial_interval(hits, len(tops))
        p = float(stats.binomtest(hits, len(tops), guess, alternative="greater").pvalue)
        ends = [end - guess for end in (share.value, share.low, share.high)]
        above = Estimate(*ends, min(1.0, 2 * p), (ends[2] - ends[1]) / 4, math.nan, len(tops), 1)
        state = words.BASE if key[1] == "base" else words.AFTER
        yield row(f"flow_follows: {key[3]}", (*key[:3], state), [Part(above)], margin)


def tops_of(rows: pd.DataFrame, measures: list[str]) -> pd.DataFrame:
    """Return the block where each fit is largest, a column per measure."""
    wide = rows.set_index("layer").groupby(["seed", "fit"])[measures]
    return wide.agg(lambda of: of.idxmax())


def middle_share(rows: pd.DataFrame) -> Array:
    """Return which fits of the published construction peak at a middle time, (fits, seeds)."""
    tops = tops_of(rows, ["force"])["force"].unstack("seed").to_numpy()
    # Time 0 is layer -1, which is no block.
    return np.append(inside(rows["layer"].max() + 1, MIDDLE), False)[tops].astype(float)


def published_peak(published: pd.DataFrame, margin: float) -> Iterator[dict[str, Any]]:
    """Yield the rows ``published_peak``: fits that peak at a middle time, more than in a null.

    Both nulls (permuted labels, shuffled layers) have to be beaten, over fits and trainings; where
    the classifier only guesses, its force says nothing.
    """
    for key, rows in published.groupby(ARM, sort=True):
        share = {name: middle_share(of) for name, of in rows.groupby("variant")}
        guesses = (rows.loc[rows["variant"] == words.AS_IS, "auc_low"] <= 0.5).any()
        parts = [
            Part(
                mean(share[words.AS_IS] - share[null], "fits").estimate(),
                null,
                GUESSES if guesses else "",
            )
            for null in (words.PERMUTED, words.SHUFFLED)
        ]
        state = words.BASE if key[1] == "base" else words.AFTER
        yield row("published_peak", (*key, state), parts, margin)


# --- flows --------------------------------------------------------------------------------


def flow_rows(
    fits: pd.DataFrame, model: str, forces: list[str], others: list[str]
) -> Iterator[dict[str, Any]]:
    """Yield means of a model's columns per block, and the shares of fits whose force peaks there.

    Layer -1 of the published construction is time 0.
    """
    for key, rows in fits.groupby([*ARM, "variant"], sort=True):
        tops = tops_of(rows, forces)
        for layer, block in rows.groupby("layer", sort=True):
            line = dict(zip([*ARM, "variant"], key, strict=True)) | {"model": model, "layer": layer}
            line |= {name: float(block[name].mean()) for name in [*others, *forces]}
            line |= {f"peaks_{name}": float((tops[name] == layer).mean()) for name in forces}
            yield line | {"fits": len(tops)}
