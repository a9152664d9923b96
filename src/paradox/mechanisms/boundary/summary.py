"""Step ``boundary_summary``: pass@k, coverage and perplexity of all arms, and what follows.

Intervals are of pairs crossed with seeds, p-values take the seeds as given.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paradox.errors import DataError
from paradox.files import read_table, write_table
from paradox.mechanisms.tables.pairs import ARM
from paradox.mechanisms.tables.verdict import ALPHA, NOT, OPEN, REPRODUCED, verdict
from paradox.mechanisms.tables.words import QUANTILES
from paradox.progress import Progress
from paradox.stats.bootstrap import Estimate, Resampling, mean, pigeonhole
from paradox.stats.passk import crossing, pass_at_k, powers, swap_test
from paradox.stats.ratios import Drawn, drawn

Array = NDArray[np.float64]
COLUMNS = [*ARM, "seed", "item", "group", "pair", "source", "temperature", "samples", "right"]
COLUMNS += ["worked", "tokens", "entropy", *QUANTILES]
GROUPS = ("exposed", "twin")
MEASURES = ("right", "worked")
CURVES = ("base", "after", "matched")
SPLITS = dict(zip(("all", "right", "wrong", "same"), QUANTILES, strict=True))
NEAR = 0.1  # relative: what is left of an entropy or a temperature that was matched
TWO_SIDED, ONE_SIDED = 2.80, 2.49  # standard errors that are found with 80 % power at 5 %


@dataclass(frozen=True)
class Settings:
    """How to resample, test and judge."""

    resampling: Resampling
    permutations: int
    margin: float
    chance: float


class Part(NamedTuple):
    """A number that should be above 0, with its p-value and the end of its null."""

    estimate: Estimate
    p: float
    null_high: float
    detectable: float


def main(
    spec: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write all tables of all arms."""
    resampling = Resampling(spec["bootstrap"]["seed"], spec["bootstrap"]["resamples"])
    settings = Settings(resampling, spec["permutations"], spec["margin"], spec["chance"])
    table = pd.concat([read_table(Path(path), COLUMNS) for path in inputs["tables"]])
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
    arms = table.groupby(ARM, sort=True)
    for done, (key, rows) in enumerate(arms, start=1):
        arm = Arm(rows, "/".join(map(str, key)))
        for name, rows_of in TABLES.items():
            tables[name] += (
                {**dict(zip(ARM, key, strict=True)), **row} for row in rows_of(arm, settings)
            )
        progress("arms", done, len(arms))
    for name, rows in tables.items():
        write_table(outputs[name], pd.DataFrame(rows))


class Arm:
    """The rows of one arm, by source and group.

    A `DataError` is raised when a pair lacks an item, a seed or a source, or samples differ in
    number.
    """

    def __init__(self, rows: pd.DataFrame, name: str) -> None:
        self.pairs = sorted(rows["pair"].unique())
        self.seeds = sorted(rows["seed"].unique())
        self.parts = dict(iter(rows.groupby(["source", "group"])))
        want = len(self.pairs) * len(self.seeds)
        sizes = {len(part) for part in self.parts.values()}
        counts = rows.loc[rows["source"].isin(CURVES), "samples"].unique()
        doubled = rows.duplicated(["pair", "seed", "source", "group"]).any()
        if sizes != {want} or len(self.parts) != len(GROUPS) * rows["source"].nunique() or doubled:
            raise DataError(
                f"{name}: every one of {len(self.pairs)} pairs needs one exposed item and one twin "
                f"for each of {len(self.seeds)} seeds and every source."
            )
        if len(counts) != 1:
            raise DataError(f"{name}: items differ in their samples ({sorted(counts)}).")
        self.samples = int(counts[0])
        self.ks = powers(self.samples)

    def values(self, source: str, group: str, column: str) -> Array:
        """Return a column, shape (pairs, seeds); NaN where an item has no such samples."""
        if group == "difference":
            one, other = (self.values(source, side, column) for side in GROUPS)
            return one - other
        rows = self.parts[source, group]
        return rows.pivot(index="pair", columns="seed", values=column).to_numpy(float)

    def passed(self, source: str, group: str, measure: str) -> Array:
        """Return pass@k, shape (pairs, ks, seeds)."""
        if group == "difference":
            one, other = (self.passed(source, side, measure) for side in GROUPS)
            return one - other
        counts = self.values(source, group, measure)
        return pass_at_k(counts, self.samples, self.ks).swapaxes(1, 2)


def curves(arm: Arm, settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield pass@k of the sources and the differences to the base.

    ``p`` and ``corrected`` (over all k) swap the two within items, ``null_low`` and ``null_high``
    are the band of the latter; ``detectable`` is found with 80 % power (5 % level; normal
    approximation).
    """
    guess = 1 - (1 - settings.chance) ** np.array(arm.ks)
    for measure in MEASURES:
        for group in (*GROUPS, "difference"):
            values = {name: arm.passed(name, group, measure) for name in CURVES}
            for name in CURVES[1:]:
                values[f"{name}_minus_base"] = values[name] - values["base"]
            for source, passed in values.items():
                estimate = drawn(passed, settings.resampling, "pairs")
                low, high = estimate.interval(settings.resampling.level)
                test = None
                if source not in CURVES:
                    sides = passed.mean(axis=2), np.zeros(passed.shape[:2])
                    test = swap_test(
                        *sides, settings.resampling.seed, permutations=settings.permutations
                    )
                for n, k in enumerate(arm.ks):
                    row = {"measure": measure, "group": group, "source": source, "k": k}
                    row |= {"value": estimate.value[n], "low": low[n], "high": high[n]}
                    for name in ("p", "corrected"):
                        row[name] = getattr(test, name)[n] if test else None
                    for name in ("low", "high"):
                        row[f"null_{name}"] = getattr(test, f"max_{name}")[n] if test else None
                    spread = estimate.draws[:, n].std()
                    row["detectable"] = TWO_SIDED * spread if test else None
                    guessed = measure == "right" and group in GROUPS
                    row["guess"] = guess[n] if guessed else None
                    yield row | {"items": passed.shape[0], "seeds": passed.shape[2]}


def cells(arm: Arm, group: str, measure: str) -> dict[str, Array]:
    """Return each item's probability of each cell of the 2x2, shape (pairs, ks, seeds)."""
    base, after = (arm.passed(name, group, measure) for name in ("base", "after"))
    return {
        "both": base * after,
        "base_only": base * (1 - after),
        "after_only": (1 - base) * after,
        "neither": (1 - base) * (1 - after),
    }


def coverage(arm: Arm, settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield the 2x2 of what base and arm solve in k tries, independent of each other."""
    for measure in MEASURES:
        for group in GROUPS:
            for cell, shares in cells(arm, group, measure).items():
                estimate = drawn(shares, settings.resampling, "pairs")
                low, high = estimate.interval(settings.resampling.level)
                for n, k in enumerate(arm.ks):
                    row = {"measure": measure, "group": group, "k": k, "cell": cell}
                    row |= {"value": estimate.value[n], "low": low[n], "high": high[n]}
                    yield row | {"items": shares.shape[0], "seeds": shares.shape[2]}


def crossings(arm: Arm, settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield where curves cross, the gap in sampling efficiency, and temperatures.

    ``k`` is ``inf`` where the arm is nowhere below its base, 0 where it is from the first; the gap
    is the base's pass@k at the largest k minus the arm's pass@1.
    """
    for measure in MEASURES:
        for group in GROUPS:
            base = arm.passed("base", group, measure)
            target = _entropy(arm, "base", group)
            for source in CURVES[1:]:
                curve = arm.passed(source, group, measure)
                place = crossing(drawn(curve - base, settings.resampling, "pairs"), arm.ks)
                gap = mean(base[:, -1] - curve[:, 0], settings.resampling, "pairs")
                row = {"measure": measure, "group": group, "source": source, "kind": place.kind}
                row |= {"k": place.k, "k_low": place.low, "k_high": place.high}
                row |= {"crosses": place.share, "largest_k": arm.ks[-1]}
                row["ceiling"] = _ceiling(arm, [base, curve], settings.margin)
                row |= {"gap": gap.value, "gap_low": gap.low, "gap_high": gap.high}
                row["temperature"] = arm.values(source, group, "temperature").mean()
                row |= {"entropy": _entropy(arm, source, group), "entropy_base": target}
                row["heated"] = heated(arm, group) if source == "matched" else None
                yield row | {"items": gap.items, "seeds": gap.seeds}


def _ceiling(arm: Arm, curves: list[Array], margin: float) -> int | None:
    """Return the first k at which all curves are within the margin of 1."""
    full = np.all([curve.mean(axis=(0, 2)) >= 1 - margin for curve in curves], axis=0)
    return arm.ks[int(full.argmax())] if full.any() else None


def _entropy(arm: Arm, source: str, group: str) -> float:
    tokens = arm.values(source, group, "tokens")
    return float((arm.values(source, group, "entropy") * tokens).sum() / tokens.sum())


def perplexity(arm: Arm, settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield mean quantiles (each item counts once), and differences to the controls."""
    for group in (*GROUPS, "difference"):
        for split in SPLITS:
            names = ("base", "after", "sharpened", "cold")
            placed = {name: arm.values(name, group, SPLITS[split]) for name in names}
            null = 0.0 if group == "difference" else 0.5
            rows = [(name, values, null) for name, values in placed.items()]
            for name in names[2:]:
                rows.append((f"after_minus_{name}", placed["after"] - placed[name], 0.0))
            for source, values, centre in rows:
                # Right and wrong samples are parts of the same: nothing says 1/2 of them.
                tested = split in ("all", "same") or "minus" in source or group == "difference"
                part = _number(values - centre, settings, two_sided=True)
                if part is None:
                    continue
                ends = part.estimate
                row = {"group": group, "split": split, "source": source}
                row |= {"value": ends.value + centre, "low": ends.low + centre}
                row |= {"high": ends.high + centre, "p": part.p if tested else None}
                row |= {"null": centre if tested else None}
                row |= {"null_high": centre + part.null_high if tested else None}
                row |= {"detectable": part.detectable}
                yield row | {"items": ends.items, "seeds": ends.seeds}


def _number(values: Array, settings: Settings, two_sided: bool = False) -> Part | None:
    """Test that a mean over (pairs, seeds), some NaN, is above 0; None where nothing is there."""
    there = np.isfinite(values)
    if not there.any():
        return None
    top = pigeonhole({"pairs": np.where(there, values, 0)}, settings.resampling)["pairs"]
    bottom = pigeonhole({"pairs": there}, settings.resampling)["pairs"]
    draws = (top / np.where(bottom > 0, bottom, np.nan))[bottom > 0]
    tail = (1 - settings.resampling.level) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    items = there.any(axis=1)
    each = np.nanmean(values[items], axis=1)[:, None]
    key, several = settings.resampling.seed, settings.permutations
    test = swap_test(each, 0 * each, key, permutations=several, two_sided=two_sided)
    estimate = Estimate(float(values[there].mean()), low, high, int(items.sum()), values.shape[1])
    width = TWO_SIDED if two_sided else ONE_SIDED
    return Part(estimate, test.overall, float(test.max_high[0]), width * float(draws.std()))


def p_values(
    after: Array, base: Array, swapped: NDArray[np.bool_], settings: Settings, *key: int
) -> dict[str, float]:
    """Return the p-values behind ``crossing`` with base and arm swapped in some pairs.

    `after` and `base` are pass@k, shape (pairs, ks, seeds); `key` names the draw of the
    permutations behind each p-value. No pair swapped gives the p-values of the data.
    """
    sign = np.where(swapped, -1.0, 1.0)[:, None]
    apart = (after - base).mean(axis=2) * sign
    options: dict[str, Any] = {"permutations": settings.permutations}
    key = (settings.resampling.seed, *key)

    def one(values: Array) -> float:
        return swap_test(values, 0 * values, *key, two_sided=False, **options).overall

    p = {"first": one(apart[:, :1]), "last": one(-apart[:, -1:])}
    p["crossing"] = max(p.values())
    return p | {"any": swap_test(apart, 0 * apart, *key, **options).overall}


def heated(arm: Arm, group: str) -> bool:
    """Return whether the base's entropy was reached, and not by cooling the arm."""
    at, study = (arm.values(name, group, "temperature").mean() for name in ("matched", "after"))
    return bool(at >= (1 - NEAR) * study) and _reached(arm, group, "matched", "base")


def _reached(arm: Arm, group: str, source: str, target: str) -> bool:
    entropy, wanted = (_entropy(arm, name, group) for name in (source, target))
    return bool(abs(entropy - wanted) <= NEAR * wanted)


def verdicts(arm: Arm, settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield the verdict on every signature (2504.13837), each a number that should be above 0.

    ``crossing``: pass@1 above the base's and, at the largest k, below it. ``matched_below``: below
    it also at equal entropy (where that took no cooling, which would be no control). ``covered``:
    the margin minus the share of items solved by the arm only. ``above_all``: above the base at
    every k that leaves room (at two of them at least). ``low_perplexity``: 1/2 minus the arm's
    quantile and the sharpened base's minus it (where that has the arm's entropy). The largest p and
    the smallest part count; p is one-sided by swaps within items (``covered``: by bootstrap), not
    corrected for their number.
    """
    for group in GROUPS:
        for measure in MEASURES:
            base, after, matched = (arm.passed(name, group, measure) for name in CURVES)
            parts = [(after - base)[:, 0], (base - after)[:, -1]]
            yield _row("crossing", group, measure, parts, settings)
            parts = [(base - matched)[:, -1]] if heated(arm, group) else []
            yield _row("matched_below", group, measure, parts, settings)
            yield _covered(arm, group, measure, settings)
            room = np.flatnonzero(base.mean(axis=(0, 2)) < 1 - settings.margin)
            parts = [(after - base)[:, n] for n in room] if len(room) > 1 else []
            yield _row("above_all", group, measure, parts, settings)
        for split in ("all", "same"):
            after, sharp = (arm.values(n, group, SPLITS[split]) for n in ("after", "sharpened"))
            parts = [0.5 - after, sharp - after]
            parts = parts if _reached(arm, group, "sharpened", "after") else []
            yield _row("low_perplexity", group, split, parts, settings)


def _row(
    signature: str, group: str, measure: str, parts: list[Array], settings: Settings
) -> dict[str, Any]:
    tested = [part for part in (_number(values, settings) for values in parts) if part]
    row: dict[str, Any] = {"signature": signature, "group": group, "measure": measure}
    if not tested or len(tested) < len(parts):
        names = ("effect", "low", "high", "p", "null_high", "detectable", "margin", "items")
        return row | dict.fromkeys(names) | {"verdict": OPEN}
    least = min(tested, key=lambda part: part.estimate.value)
    p, ends = max(part.p for part in tested), least.estimate
    row |= {"effect": ends.value, "low": ends.low, "high": ends.high, "p": p}
    row |= {"null_high": least.null_high, "detectable": least.detectable}
    row |= {"margin": settings.margin, "items": ends.items}
    return row | {"verdict": verdict(p, ends.high, settings.margin)}


def _covered(arm: Arm, group: str, measure: str, settings: Settings) -> dict[str, Any]:
    after_only = cells(arm, group, measure)["after_only"][:, -1:]
    gained: Drawn = drawn(after_only, settings.resampling, "pairs")
    low, high = (float(end[0]) for end in gained.interval(settings.resampling.level))
    # One is added to both counts so that a finite number of resamples never gives p = 0.
    beyond = int((gained.draws[:, 0] >= settings.margin).sum())
    p = (beyond + 1) / (len(gained.draws) + 1)
    row = {"signature": "covered", "group": group, "measure": measure}
    row |= {"effect": settings.margin - gained.value[0], "low": settings.margin - high}
    row |= {"high": settings.margin - low, "p": p, "null_high": None}
    row |= {"detectable": ONE_SIDED * float(gained.draws.std()), "margin": settings.margin}
    called = REPRODUCED if p <= ALPHA else NOT if low > settings.margin else OPEN
    return row | {"items": len(arm.pairs), "verdict": called}


TABLES = {
    "curves": curves,
    "coverage": coverage,
    "crossings": crossings,
    "perplexity": perplexity,
    "verdicts": verdicts,
}
