"""Step ``separation``: whether the separation force has a peak, and whether in middle layers.

Forces are roots of the squared force (negative where that is), per coordinate of states of size 1.
"""

from __future__ import annotations

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
from paradox.mechanisms.tables.verdict import MIDDLE, inside, verdict
from paradox.mechanisms.trajectories.reading import paragraph
from paradox.progress import Progress
from paradox.stats.bootstrap import (
    Estimate,
    Resampling,
    binomial_interval,
    difference_in_differences,
    mean,
    pigeonhole,
)
from paradox.stats.layers import LayerTest, max_test
from paradox.stats.separation import root

Array = NDArray[np.float64]
MEASURES = ["multi_step", "one_block", "time_only", "kept"]
FORCES = ["force", "force_path", "force_data"]
AREA = ["auc", "auc_low", "auc_high"]


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
    planted base (for flows that of the answer position), of 1 for shares of fits. p treats the
    seeds as given.
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
    verdicts = [*peaks(by_key, spec, resampling), *follows(fits, spec["margin_share"])]
    verdicts += published_peak(published, spec["margin_share"], resampling)
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
    """Yield a row per set of pairs and block; tests and peaks are of the pairs that count."""
    for name, values in curve.sets.items():
        if name in (words.SELECTION, words.TEST):
            continue
        counted = name == words.COUNTED
        tops = draws(values, resampling).argmax(axis=1)
        for layer in range(values.shape[1]):
            estimate = mean(values[:, layer], resampling, "pairs")
            ends = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
            row = {**dict(zip([*ARM, "component", "state"], key, strict=True)), "set": name}
            row |= {"layer": layer} | {end: float(root(of)) for end, of in ends.items()}
            test = curve.test
            row |= {
                "p": test.p[layer] if counted else None,
                "corrected": test.corrected[layer] if counted else None,
                "null_low": float(root(test.low[layer])) if counted else None,
                "null_high": float(root(test.max_high[layer])) if counted else None,
                "peak_share": float((tops == layer).mean()),
            }
            yield row | {"pairs": estimate.items, "seeds": estimate.seeds}


def draws(values: Array, resampling: Resampling, group: str = "pairs") -> Array:
    """Return bootstrap draws of the mean, shape (resamples, layers)."""
    # One name and one number of pairs give one set of weights: the layers stay paired.
    each = [pigeonhole({group: of}, resampling)[group] for of in values.swapaxes(0, 1)]
    return np.stack(each, axis=1)


# --- verdicts -----------------------------------------------------------------------------


def peaks(
    by_key: dict[tuple[str, ...], Curve], spec: dict[str, Any], resampling: Resampling
) -> Iterator[dict[str, Any]]:
    """Yield the rows ``separation_peak`` and ``separation_any`` of every component.

    ``separation_any``: the squared force is above 0 at some block. ``separation_peak``: it is
    larger at a middle block than at any other. One half of the pairs says which two blocks; in the
    other half the first has to be larger (bootstrap over pairs and seeds), and clear of the null of
    all blocks.
    """
    for key, curve in by_key.items():
        # A flow's force is held against that of the data at its position.
        component = words.ANSWER if key[3] in (words.FLOW, words.FLOW_PATH) else key[3]
        like = by_key.get((spec["planted"], "base", "none", component, words.BASE))
        if like is None:
            raise DataError(f"{'/'.join(key)}: the untrained planted base has no such component.")
        margin = spec["margin_share"] * float(like.test.curve.max())
        top = int(curve.test.curve.argmax())
        largest = mean(curve.sets[words.COUNTED][:, top], resampling, "pairs")
        yield row("separation_any", key, str(top), largest, curve.test.overall, margin)
        middle = inside(len(curve.test.curve), MIDDLE)
        if middle.all() or not middle.any():
            continue
        chosen = curve.sets[words.SELECTION].mean(axis=(0, 2))
        best, other = (int(np.where(of, chosen, -np.inf).argmax()) for of in (middle, ~middle))
        above = curve.sets[words.TEST][:, best] - curve.sets[words.TEST][:, other]
        drawn = pigeonhole({"pairs": above}, resampling)["pairs"]
        not_above = (1 + (drawn <= 0).sum()) / (1 + len(drawn))
        p = max(float(not_above), float(curve.test.corrected[best]))
        effect = mean(above, resampling, "pairs")
        yield row("separation_peak", key, f"{best} over {other}", effect, p, margin)


def row(
    name: str, key: tuple[str, ...], blocks: str, effect: Estimate, p: float, margin: float
) -> dict[str, Any]:
    """Return a row of the table of signatures."""
    line = {"signature": f"{name}: {key[3]}", **dict(zip(ARM, key[:3], strict=True))}
    line |= {"state": key[4], "blocks": blocks, "effect": effect.value, "low": effect.low}
    line |= {"high": effect.high, "p": p, "margin": margin, "n": effect.items}
    return line | {"verdict": verdict(p, effect.high, margin)}


def follows(fits: pd.DataFrame, margin: float) -> Iterator[dict[str, Any]]:
    """Yield the rows ``flow_follows``: fits that peak where the data does, against guessing."""
    for key, rows in fits.groupby([*ARM, "variant"], sort=True):
        tops = tops_of(rows, ["force", "force_data"])
        hits, blocks = int((tops["force"] == tops["force_data"]).sum()), rows["layer"].nunique()
        share = binomial_interval(hits, len(tops))
        p = float(stats.binomtest(hits, len(tops), 1 / blocks, alternative="greater").pvalue)
        ends = (end - 1 / blocks for end in (share.value, share.low, share.high))
        above = Estimate(*ends, len(tops), 1)
        state = words.BASE if key[1] == "base" else words.AFTER
        yield row("flow_follows", (*key, state), "", above, p, margin)


def tops_of(rows: pd.DataFrame, measures: list[str]) -> pd.DataFrame:
    """Return the block where each fit is largest, a column per measure."""
    wide = rows.set_index("layer").groupby(["seed", "fit"])[measures]
    return wide.agg(lambda of: of.idxmax())


def middle_share(rows: pd.DataFrame) -> Array:
    """Return which fits of the published construction peak at a middle time."""
    tops = tops_of(rows, ["force"])["force"].to_numpy()
    depth = (tops + 1) / (rows["layer"].max() + 1)
    return ((depth > MIDDLE[0]) & (depth <= MIDDLE[1])).astype(float)


def published_peak(
    published: pd.DataFrame, margin: float, resampling: Resampling
) -> Iterator[dict[str, Any]]:
    """Yield the rows ``published_peak``: fits that peak at a middle time, more than in a null.

    The null (permuted labels or shuffled layers) is the one with more; both have to be beaten, and
    the classifier has to beat guessing.
    """
    for key, rows in published.groupby(ARM, sort=True):
        share = {name: middle_share(of) for name, of in rows.groupby("variant")}
        p, nulls = [], (words.PERMUTED, words.SHUFFLED)
        for name in nulls:
            counts = [[of.sum(), len(of) - of.sum()] for of in (share[words.AS_IS], share[name])]
            p.append(float(stats.fisher_exact(counts, alternative="greater").pvalue))
        most = max(nulls, key=lambda name: share[name].mean())
        effect = difference_in_differences(share[words.AS_IS], share[most], resampling).did
        areas = rows.loc[rows["variant"] == words.AS_IS, "auc_low"]
        guesses = bool((areas <= 0.5).any())
        state = words.BASE if key[1] == "base" else words.AFTER
        whole = 1.0 if guesses else max(p)
        yield row("published_peak", (*key, most, state), "", effect, whole, margin)


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
