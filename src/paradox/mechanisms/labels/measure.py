"""Step ``labels``: which items an arm unlocked, by posterior probability, and who says so wrongly.

`labels` has a row per item; ``{rule}_unchanged`` is how likely the rule would call it leakage had
nothing changed, from samples of the base that the rule did not see. `rules` has a row per rule,
over the items that count as exposed and their own twins (calling at random has precision 1/2):
rates of the leakage label with exact binomial intervals, `kappa` between two halves of the samples
(no mean of items: bootstrap), and the change of accuracy of leakage items in the samples that
labelled them (`gain`) and in the others (`gain_other`). The published rule is that of 2601.11061.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from paradox.arms import with_arm
from paradox.errors import DataError, hint, problems
from paradox.evaluate.arms import Level, levels, read_items
from paradox.files import read_table, write_table
from paradox.mechanisms.tables.pairs import Array
from paradox.mechanisms.tables.verdict import AMBIGUOUS, LABELS
from paradox.progress import Progress
from paradox.seeds import keyed_rng
from paradox.stats.bootstrap import Resampling, binomial_interval, pigeonhole
from paradox.stats.crossed import UNKNOWN, mean

Flags = NDArray[np.bool_]
SAMPLES = ["base", "method", "item", "sample", "correct"]
JEFFREYS = 0.5
NODES = 1000  # of the posterior integral; its error is below 1/NODES


@dataclass(frozen=True)
class Thresholds:
    """When a label is given.

    *Leakage*: the rate rose by more than `delta`; *degraded*: it fell by more; *stable*: both rates
    are above `high`; *persistent*: both are below `low`; *ambiguous*: none has `certainty`.
    """

    delta: float
    certainty: float
    high: float
    low: float


@dataclass(frozen=True)
class Draws:
    """Right and wrong of one checkpoint."""

    sampled: Flags  # shape (items, samples), in an order keyed by item
    greedy: Flags  # shape (items,)


@dataclass(frozen=True)
class Called:
    """One rule's labels."""

    name: str  # ``posterior``, ``greedy`` or ``any_of_<k>``
    labels: NDArray[np.str_]  # of the whole evidence
    # Of either half of the samples; None for ``greedy``, which has one response.
    halves: tuple[NDArray[np.str_], NDArray[np.str_]] | None
    # `change`, `other`: change of accuracy in the samples that made `halves[0]` and in the other
    # half (for ``greedy``: in its response and in all samples).
    change: Array
    other: Array
    k: int  # samples used per side and half


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Label every item by every rule.

    ``spec``: ``arm``, ``labels``, ``exposed_from``, ``seed`` and ``resamples`` (of kappa).
    ``inputs``: ``items``, ``before`` and ``after`` (single samples of the base and of the arm).
    ``outputs``: ``labels`` and ``rules``.

    Raises `DataError` when the files are malformed or do not belong together.
    """
    settings = spec["labels"]
    items = read_items(inputs["items"])
    if "pair" not in items:
        raise DataError(f"{inputs['items']}: column 'pair' is missing; {hint('pair', items)}")
    before = read_draws(inputs["before"], items, spec["arm"]["base"], trained=False)
    after = read_draws(inputs["after"], items, spec["arm"]["base"], trained=True)
    thresholds = Thresholds(*(settings[name] for name in ("delta", "certainty", "high", "low")))
    called = list(calls(before, after, thresholds, settings["any_of"]))
    labels = label_table(items, before, after, thresholds, called)
    progress("labels", 1, 2, "posteriors")
    exposed = levels(items, pd.Index(items["item"]), spec["exposed_from"])[-1]
    resampling = Resampling(spec["seed"], spec["resamples"])
    rules = pd.DataFrame([rule_row(items, exposed, rule, resampling) for rule in called])
    for name, table in {"labels": labels, "rules": rules}.items():
        write_table(outputs[name], with_arm(table, spec["arm"]))
    progress("labels", 2, 2, "rules")


def read_draws(path: Path, items: pd.DataFrame, base: str, trained: bool) -> Draws:
    """Read the single samples of a checkpoint, in the order of `items`.

    Raises `DataError` when an item lacks samples, or they are of another base.
    """
    table = read_table(path, SAMPLES)
    bad = [
        f"base {name!r}: these labels are of base {base!r}"
        for name in table["base"].unique()
        if name != base
    ]
    if trained != (table["method"] != "base").all():
        methods = ", ".join(table["method"].unique())
        bad.append(
            f"method {methods}: needed {'a trained arm' if trained else 'the untrained base'}"
        )
    known = list(items["item"])
    for name in sorted(set(table["item"]) - set(known))[:3]:
        bad.append(f"item {name!r} is not in the item table; {hint(name, known[:5])}")
    grid = table.pivot_table(index="item", columns="sample", values="correct", aggfunc="sum")
    grid = grid.reindex(known)
    if table.duplicated(["item", "sample"]).any() or grid.isna().any(axis=None):
        bad.append("every item needs every sample exactly once")
    if -1 not in grid.columns or grid.shape[1] < 3:
        bad.append("needed a greedy response (sample -1) and at least two samples per item")
    if bad:
        raise DataError(problems(f"{path}: malformed samples", bad))
    sampled = grid.drop(columns=-1).to_numpy(bool)
    count, side = sampled.shape[1], "after" if trained else "before"
    orders = np.array([keyed_rng("labels", side, name).permutation(count) for name in known])
    return Draws(np.take_along_axis(sampled, orders, 1), grid[-1].to_numpy(bool))


def posteriors(
    before: NDArray[np.int64],
    after: NDArray[np.int64],
    trials: tuple[int, int],
    thresholds: Thresholds,
) -> pd.DataFrame:
    """Return the posterior probability of each label for counts of right samples.

    Both rates have Jeffreys' prior, Beta(1/2, 1/2), and are independent.
    """
    pairs, place = np.unique(np.stack([before, after], axis=1), axis=0, return_inverse=True)
    # (right, wrong) of each side, as columns over pairs of counts.
    one, two = (
        (JEFFREYS + pairs[:, [side]], JEFFREYS + trials[side] - pairs[:, [side]]) for side in (0, 1)
    )
    # The mean of F_before over equally likely values of the rate after.
    values, value_of = np.unique(pairs[:, 1], return_inverse=True)
    nodes = (np.arange(NODES) + 0.5) / NODES
    side = JEFFREYS + values[:, None], JEFFREYS + trials[1] - values[:, None]
    grid = special.betaincinv(*side, nodes)[value_of.ravel()]
    rise, fall = (np.clip(grid + move, 0, 1) for move in (-thresholds.delta, thresholds.delta))
    high, low = (
        [special.betainc(*side, at)[:, 0] for side in (one, two)]
        for at in (thresholds.high, thresholds.low)
    )
    probabilities = np.stack(
        [
            special.betainc(*one, rise).mean(axis=1),
            (1 - high[0]) * (1 - high[1]),
            1 - special.betainc(*one, fall).mean(axis=1),
            low[0] * low[1],
        ],
        axis=1,
    )
    return pd.DataFrame(probabilities[place.ravel()], columns=LABELS)


def by_posterior(before: Flags, after: Flags, thresholds: Thresholds) -> NDArray[np.str_]:
    """Return the label of each item from its samples, shape (items, samples) on each side.

    A change comes before a level where both are certain.
    """
    trials = before.shape[1], after.shape[1]
    sure = (
        posteriors(before.sum(axis=1), after.sum(axis=1), trials, thresholds) > thresholds.certainty
    )
    order = ["leakage", "degraded", "stable", "persistent"]
    return np.select([sure[name] for name in order], order, AMBIGUOUS)


def by_cell(before: Flags, after: Flags) -> NDArray[np.str_]:
    """Return the published rule's label from right or wrong on each side, shape (items,)."""
    cells = [~before & after, before & after, before & ~after, ~before & ~after]
    return np.select(cells, LABELS, AMBIGUOUS)


def calls(
    before: Draws, after: Draws, thresholds: Thresholds, any_of: list[int]
) -> Iterator[Called]:
    """Yield the labels of every rule.

    Raises `DataError` when a rule wants more samples than half of those there are.
    """
    one, two = before.sampled, after.sampled
    size = min(one.shape[1], two.shape[1]) // 2

    def change(rows: slice) -> Array:
        return two[:, rows].mean(axis=1) - one[:, rows].mean(axis=1)

    first, second = slice(0, size), slice(size, 2 * size)
    halves = tuple(by_posterior(one[:, h], two[:, h], thresholds) for h in (first, second))
    yield Called(
        "posterior", by_posterior(one, two, thresholds), halves, change(first), change(second), size
    )
    step = after.greedy.astype(float) - before.greedy
    every = two.mean(axis=1) - one.mean(axis=1)
    yield Called("greedy", by_cell(before.greedy, after.greedy), None, step, every, 1)
    for k in any_of:
        if not 1 <= k <= size:
            raise DataError(
                f"key labels.any_of: found {k}, allowed: 1 to {size}, half of the samples there "
                "are (key evaluation.samples)."
            )
        parts = slice(0, k), slice(size, size + k)
        halves = tuple(by_cell(one[:, p].any(axis=1), two[:, p].any(axis=1)) for p in parts)
        # Reliability is asked of one labelling, so the first half's is also the whole one.
        other = slice(size, 2 * size)
        yield Called(f"any_of_{k}", halves[0], halves, change(parts[0]), change(other), k)


def unchanged(base: Flags, k: int) -> pd.DataFrame:
    """Return the probability of each cell per item, had its rate on both sides been the base's.

    Unbiased in the samples: with f of n wrong, C(f, m) / C(n, m) estimates (1-p)^m. NaN where
    there are fewer than 2k samples.
    """
    count, wrong = base.shape[1], (~base).sum(axis=1)
    if count < 2 * k:
        return pd.DataFrame(np.nan, index=range(len(base)), columns=LABELS)
    once, twice = (special.binom(wrong, m) / special.binom(count, m) for m in (k, 2 * k))
    moved = once - twice
    return pd.DataFrame(dict(zip(LABELS, (moved, 1 - 2 * once + twice, moved, twice), strict=True)))


def label_table(
    items: pd.DataFrame, before: Draws, after: Draws, thresholds: Thresholds, called: list[Called]
) -> pd.DataFrame:
    """Return one row per item: counts, posterior probabilities and the label of each rule."""
    counts = [side.sampled.sum(axis=1) for side in (before, after)]
    trials = before.sampled.shape[1], after.sampled.shape[1]
    table = items[["item", "group", "exposure"]].reset_index(drop=True)
    for name, right, count in zip(("before", "after"), counts, trials, strict=True):
        table[f"correct_{name}"], table[f"samples_{name}"] = right, count
        table[f"rate_{name}"] = (right + JEFFREYS) / (count + 2 * JEFFREYS)
    table = table.join(posteriors(*counts, trials, thresholds).add_prefix("p_"))
    for rule in called:
        table[rule.name] = rule.labels
        for half, labels in zip("ab", rule.halves or (), strict=False):
            table[f"{rule.name}_{half}"] = labels
        table[f"{rule.name}_change"], table[f"{rule.name}_change_other"] = rule.change, rule.other
        if rule.name.startswith("any_of"):
            nothing = unchanged(before.sampled[:, rule.k :], rule.k)
            table[f"{rule.name}_unchanged"] = nothing[LABELS[0]]
    return table


def rule_row(
    items: pd.DataFrame, exposed: Level, rule: Called, resampling: Resampling
) -> dict[str, Any]:
    """Return how well a rule's leakage label finds exposed items, and how well it repeats."""
    positive = items["item"].isin(exposed.items).to_numpy()
    twins = items["pair"].isin(items["pair"][positive]).to_numpy() & (items["group"] == "twin")
    leakage = rule.labels == LABELS[0]
    true, false = int((leakage & positive).sum()), int((leakage & twins).sum())
    row: dict[str, Any] = {
        "rule": rule.name,
        "exposed": int(positive.sum()),
        "twins": int(twins.sum()),
    }
    row |= {"called_exposed": true, "called_twins": false}
    # Without twins nothing could have been called wrongly.
    called = (true + false) * bool(twins.any())
    for name, part, whole in (
        ("precision", true, called),
        ("false_discovery", false, called),
        ("recall", true, int(positive.sum())),
        ("false_positive", false, int(twins.sum())),
    ):
        row |= _ends(name, binomial_interval(part, whole) if whole else None)
    row |= _repeat(rule, resampling)
    source = rule.halves[0] if rule.halves else rule.labels
    for name, values in (("gain", rule.change), ("gain_other", rule.other)):
        chosen = values[source == LABELS[0]]
        # A single item has no interval.
        row |= _ends(name, mean(chosen).estimate() if len(chosen) > 1 else UNKNOWN)
    return row


def _ends(name: str, estimate: Any) -> dict[str, Any]:
    ends = (estimate.value, estimate.low, estimate.high) if estimate else (None,) * 3
    return dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))


def _repeat(rule: Called, resampling: Resampling) -> dict[str, Any]:
    names = ["kappa", "kappa_low", "kappa_high", "leakage_kappa", "leakage_kappa_low"]
    names += ["leakage_kappa_high", "change_correlation"]
    if rule.halves is None:
        return dict.fromkeys(names)
    one, two = rule.halves
    every = kappa(one, two, resampling)
    only = kappa(one == LABELS[0], two == LABELS[0], resampling)
    both = rule.change.std() * rule.other.std() > 0
    r = float(np.corrcoef(rule.change, rule.other)[0, 1]) if both else None
    return dict(zip(names, (*every, *only, r), strict=True))


def kappa(
    one: NDArray[Any], two: NDArray[Any], resampling: Resampling
) -> tuple[float | None, float | None, float | None]:
    """Return Cohen's kappa of two labellings with its interval over items.

    None where all items have one label: agreement then says nothing.
    """
    kinds = sorted({*one.tolist(), *two.tolist()})
    shares = {"agree": one == two}
    shares |= {
        f"{side} {kind}": labels == kind
        for side, labels in (("1", one), ("2", two))
        for kind in kinds
    }
    if len(kinds) < 2:
        return None, None, None
    # One group of items, so all shares of a resample are of the same items.
    draws = {n: pigeonhole({"items": v}, resampling)["items"] for n, v in shares.items()}
    whole = {n: np.array([v.mean()]) for n, v in shares.items()}
    value, drawn = (
        (by_share["agree"] - chance) / np.where(chance < 1, 1 - chance, np.nan)
        for by_share in (whole, draws)
        for chance in [sum(by_share[f"1 {kind}"] * by_share[f"2 {kind}"] for kind in kinds)]
    )
    tail = (1 - resampling.level) / 2
    low, high = np.nanquantile(drawn, [tail, 1 - tail])
    return float(value[0]), float(low), float(high)
