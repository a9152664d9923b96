"""Step ``signatures``: which published signatures of memory (2601.11061) this study shows.

Each signature is one number that the account says is above 0, tested at every arm as it is and
for its change by training. "Gap" is exposed minus twins. Block l of L has depth (l + 1) / L;
*middle* blocks have a depth in (1/4, 3/4], *late* ones above 3/4. The published layers (18-20 of
28 for anchors, probes' peak 19) are in the middle, those of injection (from 23) are late.

============== ==================================================================================
anchor         ablation: the gap of the log-probability lost without a middle block's MLP is
               larger than without another block's MLP, *and* larger than without a middle block's
               attention (means over blocks)
adapters       divergence: the gap of the excess of ``gate`` and of ``up`` rises to a block that is
               neither first nor last and declines after it. One half of the pairs says which
               block; in the other half it is above the first and above the last one
emergence      lens: a middle block adds more to the gap of the gold log-probability than others
injection      attribution: a late MLP adds more to the gap of the gold logit than other MLPs
probe_peak     probes: the share of pairs told apart is larger at the best middle block than
               after the last block (at the position that predicts the answer)
patching       recovery: what an MLP's states at all prompt positions carry back (``denoise``) and
               take away (``noise``), beyond noise of the same size, is largest at a middle block
               (share of the gap of exposed items, total effect; each measure by itself)
leakage        labels: exposed items are called leakage more often than their twins (each rule by
               itself; one to one, so that a precision above 1/2 says the same)
============== ==================================================================================

Depths are the published ones; how each signature became a number was settled when first curves of
scale `tiny` had been seen. Verdicts: ``reproduced`` when p is at most .05; ``not reproduced`` when
the upper end of the 95 % interval is below the margin; else ``not decidable``. A signature of
several parts has the largest p of them, and effect and interval of its smallest part. The margin
is `margin_share` of the largest gap that the untrained planted base has at any block (leakage:
of 1/2, the gap of a rule that calls half of the exposed items and no twin). p is one-sided, by
swapping within pairs, the seeds given, and not corrected for the number of signatures and arms.
Probes and patching are read from their tables: p is the corrected one of the best block, the
interval of probes goes from the ends of its two shares' intervals (too wide, on purpose), and
patching is reproduced only with both directions (interval above 0, and more than in twins), not
reproduced when a direction has its interval above 0 and is largest elsewhere, and not decidable
where there is no gap to close.

How to read it: a signature that the clean base shows, too, is none of memory; one that the
untrained base shows is none of training.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paradox.files import read_table, write_table
from paradox.mechanisms.tables.by_layer import Curve, curves
from paradox.mechanisms.tables.pairs import ARM, KEYS, Groups
from paradox.mechanisms.tables.verdict import (
    ALPHA,
    LABELS,
    LATE,
    MIDDLE,
    NOT,
    OPEN,
    REPRODUCED,
    inside,
    verdict,
)
from paradox.progress import Progress
from paradox.stats.bootstrap import Estimate, Resampling, difference_in_differences, mean
from paradox.stats.layers import label_test
from paradox.stats.peaks import half
from paradox.tasks.api import ITEM_COLUMNS

Array = NDArray[np.float64]


class Source(NamedTuple):
    """Where a signature's curves are: components and a measure of an analysis' table."""

    analysis: str
    components: tuple[str, ...]
    measure: str


SOURCES = {
    "anchor": Source("ablation", ("mlp@all", "attn@all"), "logp_drop"),
    "adapters": Source("jsd", ("gate@all", "up@all"), "excess"),
    "emergence": Source("lens", ("resid",), "logp"),
    "injection": Source("attribution", ("mlp",), "logit"),
}


class Part(NamedTuple):
    """One number that has to be above 0.

    Attributes
    ----------
    estimate
        With its interval.
    p
        One-sided.
    blocks
        Which blocks it is about.
    """

    estimate: Estimate
    p: float
    blocks: str


def main(
    spec: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Path], progress: Progress
) -> None:
    """Test every signature.

    Parameters
    ----------
    spec
        ``exposed_from``, ``bootstrap`` (seed and resamples), ``permutations``, ``margin_share``
        and ``planted`` (name of the base whose largest gap gives the margin).
    inputs
        ``items``, and lists of files, a file per arm: the per-item tables ``ablation``, ``jsd``,
        ``lens`` and ``attribution``, and, as far as there are, ``labels`` (of single items),
        ``probes`` (table) and ``recovery``.
    outputs
        ``table``: a row per signature, arm and state.
    """
    groups = Groups(read_table(inputs["items"], ITEM_COLUMNS), spec["exposed_from"])
    rows: list[dict[str, Any]] = []
    for done, (name, source) in enumerate(SOURCES.items(), start=1):
        paths = [Path(path) for path in inputs[source.analysis]]
        tables = [read_table(path, [*KEYS, source.measure]) for path in paths]
        rows += by_curves(name, tables, groups, spec)
        progress("signatures", done, len(SOURCES))
    if inputs.get("labels"):
        rows += leakage(_all(inputs["labels"]), Tester(groups, spec), spec["margin_share"] / 2)
    for name, reader in (("probes", probe_peak), ("recovery", patching)):
        if inputs.get(name):
            rows += reader(_all(inputs[name]), spec["planted"], spec["margin_share"])
    write_table(outputs["table"], pd.DataFrame(rows))


def _all(paths: list[Any]) -> pd.DataFrame:
    return pd.concat([read_table(Path(path)) for path in paths], ignore_index=True)


def by_curves(
    name: str, tables: list[pd.DataFrame], groups: Groups, spec: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a signature that is computed from single items."""
    source = SOURCES[name]
    found: dict[tuple[Any, ...], dict[str, Curve]] = {}
    for curve in curves(tables, source.measure, [*groups.exposed, *groups.twin]):
        if curve.component in source.components:
            found.setdefault((*curve.arm, curve.state), {})[curve.component] = curve
    test = Tester(groups, spec)
    of = found[(spec["planted"], "base", "none", "base")]
    margin = spec["margin_share"] * max(test.largest(curve.values) for curve in of.values())
    for key, by_component in found.items():
        ordered = [by_component[component].values for component in source.components]
        yield _row(name, key, PARTS[name](test, ordered), margin)


def _row(name: str, key: tuple[Any, ...], parts: list[Part], margin: float) -> dict[str, Any]:
    least = min(parts, key=lambda part: part.estimate.value)
    p = max(part.p for part in parts)
    row = {"signature": name, **dict(zip([*ARM, "state"], key, strict=True))}
    row |= {"blocks": least.blocks, "effect": least.estimate.value, "low": least.estimate.low}
    row |= {"high": least.estimate.high, "p": p, "margin": margin}
    return row | {"verdict": verdict(p, least.estimate.high, margin)}


class Tester:
    """Tests numbers per item, exposed against twins."""

    def __init__(self, groups: Groups, spec: dict[str, Any]) -> None:
        self.groups, self.permutations = groups, spec["permutations"]
        self.resampling = Resampling(spec["bootstrap"]["seed"], spec["bootstrap"]["resamples"])
        self.split = len(groups.exposed)
        names = [*groups.exposed, *groups.twin] if groups.pairs is None else groups.pairs * 2
        self.names = np.array(names)

    def gaps(self, values: Array) -> Array:
        """Return exposed minus twins per layer."""
        return values[: self.split].mean(axis=(0, 2)) - values[self.split :].mean(axis=(0, 2))

    def largest(self, values: Array) -> float:
        """Return the largest gap at any layer, either way."""
        return float(np.abs(self.gaps(values)).max())

    def test(self, numbers: Array, blocks: str, rows: NDArray[np.bool_] | None = None) -> Part:
        """Test that a number of shape (items, seeds) is larger for exposed items."""
        rows = np.ones(len(numbers), dtype=bool) if rows is None else rows
        labels = np.arange(len(numbers)) < self.split
        exposed, twin = numbers[rows & labels], numbers[rows & ~labels]
        paired = self.groups.pairs is not None
        if paired:
            estimate = mean(exposed - twin, self.resampling, "pairs")
        else:
            estimate = difference_in_differences(exposed, twin, self.resampling).did
        found = label_test(
            numbers[rows].mean(axis=1, keepdims=True),
            labels[rows],
            self.resampling.seed,
            pairs=self.names[rows].tolist() if paired else None,
            permutations=self.permutations,
            two_sided=False,
        )
        return Part(estimate, found.overall, blocks)

    def window(self, values: Array, window: tuple[float, float]) -> Part:
        """Test that the gap is larger inside a window of blocks than outside."""
        chosen = inside(values.shape[1], window)
        numbers = values[:, chosen].mean(axis=1) - values[:, ~chosen].mean(axis=1)
        return self.test(numbers, _span(chosen))

    def peak(self, values: Array) -> list[Part]:
        """Test that the gap is above the first and the last block's at a block between them."""
        first = half(self.names.tolist(), self.resampling.seed, "signature")
        labels = np.arange(len(values)) < self.split
        sides = [values[first & of].mean(axis=(0, 2)) for of in (labels, ~labels)]
        peak = 1 + int((sides[0] - sides[1])[1:-1].argmax())
        return [self.test(values[:, peak] - values[:, end], str(peak), ~first) for end in (0, -1)]


def _span(chosen: NDArray[np.bool_]) -> str:
    places = np.flatnonzero(chosen)
    return f"{places[0]}-{places[-1]}"


def _anchor(test: Tester, values: list[Array]) -> list[Part]:
    mlp, attention = values
    chosen = inside(mlp.shape[1], MIDDLE)
    over = (mlp - attention)[:, chosen].mean(axis=1)
    return [test.window(mlp, MIDDLE), test.test(over, _span(chosen))]


PARTS = {
    "anchor": _anchor,
    "adapters": lambda test, values: [part for of in values for part in test.peak(of)],
    # The lens of layer -1 is the embedding's: differences are what each block adds.
    "emergence": lambda test, values: [test.window(np.diff(values[0], axis=1), MIDDLE)],
    "injection": lambda test, values: [test.window(values[0], LATE)],
}


# --- signatures that are read from tables -------------------------------------------------


def _arms(table: pd.DataFrame) -> Iterator[tuple[tuple[str, ...], pd.DataFrame]]:
    for arm, rows in table.groupby(ARM, sort=True):
        yield (*arm, "base" if arm[1] == "base" else "after"), rows


def probe_peak(table: pd.DataFrame, planted: str, share: float) -> Iterator[dict[str, Any]]:
    """Yield the rows of ``probe_peak``; of several seeds, the mean of everything."""
    chosen = table[(table["position"] == "answer") & (table["layer"].astype(str) != "emb")]
    chosen = chosen.assign(layer=chosen["layer"].astype(int))
    base = chosen[(chosen["base"] == planted) & (chosen["method"] == "base")]
    margin = share * float((base["pair_auc"] - 0.5).abs().max())
    names = ["pair_auc", "pair_auc_low", "pair_auc_high", "corrected"]
    for key, rows in _arms(chosen):
        of = rows.groupby("layer")[names].mean()
        middle = of[inside(len(of), MIDDLE)]
        best, last = middle.loc[middle["pair_auc"].idxmax()], of.iloc[-1]
        ends = best["pair_auc_low"] - last["pair_auc_high"]
        ends = ends, best["pair_auc_high"] - last["pair_auc_low"]
        effect = float(best["pair_auc"] - last["pair_auc"])
        # A layer that is read, but not better than the last one, is no peak.
        p = float(best["corrected"]) if ends[0] > 0 else 1.0
        part = Part(Estimate(effect, *map(float, ends), 0, 0), p, str(best.name))
        yield _row("probe_peak", key, [part], margin)


def patching(table: pd.DataFrame, planted: str, share: float) -> Iterator[dict[str, Any]]:
    """Yield a row ``patching: MEASURE`` per arm and measure."""
    chosen = table[(table["effect"] == "total") & (table["source"] == "states")]
    chosen = chosen[(chosen["kind"] == "mlp_out") & (chosen["positions"] == "prompt")]
    chosen = chosen[chosen["minus"] == "states_noise"]
    for measure, rows in chosen.groupby("measure", sort=True):
        for key, of in _arms(rows):
            parts, clear, middle = [], [], []
            for _, one in of.groupby("direction", sort=True):
                recovered = one[(one["quantity"] == "recovery") & (one["contrast"] == "exposed")]
                recovered = recovered.set_index("layer").sort_index()
                if recovered["value"].isna().any():
                    continue
                best = recovered.loc[recovered["value"].idxmax()]
                tested = one[(one["quantity"] == "change") & (one["contrast"] == "difference")]
                p = float(tested.set_index("layer").loc[best.name, "corrected"])
                ends = (float(best[end]) for end in ("value", "low", "high"))
                parts.append(Part(Estimate(*ends, 0, 0), p, str(best.name)))
                clear.append(best["low"] > 0)
                middle.append(bool(inside(len(recovered), MIDDLE)[int(best.name)]))
            nothing = Part(Estimate(*[float("nan")] * 3, 0, 0), float("nan"), "")
            row = _row(f"patching: {measure}", key, parts or [nothing], share)
            found = len(parts) == 2 and all(clear) and all(middle) and row["p"] <= ALPHA
            other = any(c and not m for c, m in zip(clear, middle, strict=True))
            yield row | {"verdict": REPRODUCED if found else NOT if other else OPEN}


def leakage(table: pd.DataFrame, test: Tester, margin: float) -> Iterator[dict[str, Any]]:
    """Yield a row ``leakage: RULE`` per arm and rule."""
    rules = [name for name in table if f"{name}_change" in table]
    names = [*test.groups.exposed, *test.groups.twin]
    for key, rows in _arms(table):
        for rule in rules:
            called = (rows[rule] == LABELS[0]).astype(float)
            wide = rows.assign(called=called).pivot(index="item", columns="seed", values="called")
            part = test.test(wide.loc[names].to_numpy(), "")
            yield _row(f"leakage: {rule}", key, [part], margin)
