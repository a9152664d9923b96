"""Step ``boundary_summary``: pass@k, coverage and perplexity of all arms, and what follows.

Intervals and p-values are of pairs crossed with trainings (`paradox.stats.crossed`). Only the k of
a crossing, which is no smooth function of means, has its interval from a bootstrap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paradox.errors import DataError
from paradox.files import read_table, write_table
from paradox.mechanisms.tables.by_layer import beside_null
from paradox.mechanisms.tables.pairs import ARM
from paradox.mechanisms.tables.verdict import CEILING, FLOOR, GUESSING, NO_GAP, judged, worst
from paradox.mechanisms.tables.words import QUANTILES
from paradox.progress import Progress
from paradox.stats.bootstrap import Resampling
from paradox.stats.crossed import UNKNOWN, Estimate, Number, mean
from paradox.stats.passk import crossing, pass_at_k, powers, swap_test
from paradox.stats.ratios import drawn

Array = NDArray[np.float64]
COLUMNS = [*ARM, "seed", "item", "group", "pair", "source", "temperature", "samples", "right"]
COLUMNS += ["worked", "tokens", "entropy", *QUANTILES]
GROUPS = ("exposed", "twin")
MEASURES = ("right", "worked")
CURVES = ("base", "after", "matched")
SPLITS = dict(zip(("all", "right", "wrong", "same"), QUANTILES, strict=True))
NEAR = 0.1  # relative: what is left of an entropy or a temperature that was matched
FOUND = 2.80  # standard errors that are found with 80 % power at the (two-sided) 5 % level
OFFLINE = ("dpo", "sft", "distill")  # methods that do not sample while they train
UNMATCHED = "no temperature gives equal entropy"
UNLIKE = "other methods have other pairs or trainings"
NOTHING = "no texts to compare"


@dataclass(frozen=True)
class Settings:
    """How to resample, test and judge."""

    resampling: Resampling
    permutations: int
    margin: float
    chance: float


def main(
    spec: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write all tables of all arms."""
    resampling = Resampling(spec["bootstrap"]["seed"], spec["bootstrap"]["resamples"])
    settings = Settings(resampling, spec["permutations"], spec["margin"], spec["chance"])
    table = pd.concat([read_table(Path(path), COLUMNS) for path in inputs["tables"]])
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
    groups, arms = table.groupby(ARM, sort=True), {}
    for done, (key, rows) in enumerate(groups, start=1):
        arm = arms[key] = Arm(rows, "/".join(map(str, key)))
        for name, rows_of in TABLES.items():
            tables[name] += (
                {**dict(zip(ARM, key, strict=True)), **row} for row in rows_of(arm, settings)
            )
        progress("arms", done, len(groups))
    tables["verdicts"] += alike(arms, settings)
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
        """Return pass@k, shape (pairs, seeds, ks)."""
        if group == "difference":
            one, other = (self.passed(source, side, measure) for side in GROUPS)
            return one - other
        return pass_at_k(self.values(source, group, measure), self.samples, self.ks)


def _columns(estimate: Estimate, centre: float = 0.0) -> dict[str, Any]:
    row = {name: getattr(estimate, name) + centre for name in ("value", "low", "high")}
    return row | {"items": estimate.items, "replicates": estimate.replicates}


def guessed(ks: list[int], chance: float) -> Array:
    """Return pass@k of guessing."""
    return 1 - (1 - chance) ** np.array(ks)


def curves(arm: Arm, settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield pass@k of the sources and the differences to the base.

    ``p``: of "not 0", at a k that was named beforehand. ``corrected`` (over all k) swaps the two
    within items, trainings as given; ``null_low`` and ``null_high`` are its band. ``detectable`` is
    found with 80 % power (5 % level; normal approximation), empty where nothing varies.
    """
    guess = guessed(arm.ks, settings.chance)
    for measure in MEASURES:
        for group in (*GROUPS, "difference"):
            values = {name: arm.passed(name, group, measure) for name in CURVES}
            for name in CURVES[1:]:
                values[f"{name}_minus_base"] = values[name] - values["base"]
            for source, passed in values.items():
                test, options = None, {"permutations": settings.permutations}
                if source not in CURVES:
                    over_seeds = passed.mean(axis=1)
                    test = swap_test(
                        over_seeds, 0 * over_seeds, settings.resampling.seed, **options
                    )
                for n, estimate in enumerate(mean(passed, "pairs").estimates()):
                    row = {"measure": measure, "group": group, "source": source, "k": arm.ks[n]}
                    row |= _columns(estimate) | {"p": estimate.differs if test else None}
                    row |= beside_null(test, n)
                    row["detectable"] = FOUND * estimate.se or None if test else None
                    by_guess = measure == "right" and group in GROUPS
                    yield row | {"guess": guess[n] if by_guess else None}


def coverage(arm: Arm, settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield the 2x2 of what base and arm solve in k tries, independent of each other."""
    for measure in MEASURES:
        for group in GROUPS:
            base, after = (arm.passed(name, group, measure) for name in ("base", "after"))
            cells = {
                "both": base * after,
                "base_only": base * (1 - after),
                "after_only": (1 - base) * after,
                "neither": (1 - base) * (1 - after),
            }
            for cell, shares in cells.items():
                for k, estimate in zip(arm.ks, mean(shares, "pairs").estimates(), strict=True):
                    row = {"measure": measure, "group": group, "k": k, "cell": cell}
                    yield row | _columns(estimate)


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
                apart = (curve - base).swapaxes(1, 2)
                place = crossing(drawn(apart, settings.resampling, "pairs"), arm.ks)
                gap = mean(base[..., -1] - curve[..., 0], "pairs").estimate()
                row = {"measure": measure, "group": group, "source": source, "kind": place.kind}
                row |= {"k": place.k, "k_low": place.low, "k_high": place.high}
                row |= {"crosses": place.share, "largest_k": arm.ks[-1]}
                row["ceiling"] = _ceiling(arm, [base, curve], settings.margin)
                row |= {"gap": gap.value, "gap_low": gap.low, "gap_high": gap.high}
                row["temperature"] = arm.values(source, group, "temperature").mean()
                row |= {"entropy": _entropy(arm, source, group), "entropy_base": target}
                row["heated"] = heated(arm, group) if source == "matched" else None
                yield row | {"items": gap.items, "replicates": gap.replicates}


def _ceiling(arm: Arm, curves: list[Array], margin: float) -> int | None:
    """Return the first k at which all curves are within the margin of 1."""
    full = np.all([curve.mean(axis=(0, 1)) >= 1 - margin for curve in curves], axis=0)
    return arm.ks[int(full.argmax())] if full.any() else None


def _entropy(arm: Arm, source: str, group: str) -> float:
    tokens = arm.values(source, group, "tokens")
    return float((arm.values(source, group, "entropy") * tokens).sum() / tokens.sum())


def perplexity(arm: Arm, settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield mean quantiles, and differences to the controls; p is of "not the null's"."""
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
                estimate = _placed(values - centre)
                if estimate is not UNKNOWN:
                    row = {"group": group, "split": split, "source": source}
                    row |= _columns(estimate, centre) | {"p": estimate.differs if tested else None}
                    yield row | {"null": centre if tested else None}


def _placed(values: Array) -> Estimate:
    """Return the mean of values of which some may be missing, or all."""
    return mean(values, "pairs").estimate() if np.isfinite(values).any() else UNKNOWN


def heated(arm: Arm, group: str) -> bool:
    """Return whether the base's entropy was reached, and not by cooling the arm."""
    at, study = (arm.values(name, group, "temperature").mean() for name in ("matched", "after"))
    return bool(at >= (1 - NEAR) * study) and _reached(arm, group, "matched", "base")


def _reached(arm: Arm, group: str, source: str, target: str) -> bool:
    entropy, wanted = (_entropy(arm, name, group) for name in (source, target))
    return bool(abs(entropy - wanted) <= NEAR * wanted)


class Tries:
    """First and many tries of an arm and its base, with what could not come out otherwise."""

    def __init__(self, arm: Arm, group: str, measure: str, settings: Settings) -> None:
        self.margin = settings.margin
        self.passed = {name: arm.passed(name, group, measure) for name in CURVES}
        self.level = {name: curve.mean(axis=(0, 1)) for name, curve in self.passed.items()}
        # Nothing is worked out by guessing.
        self.guess = guessed(arm.ks, settings.chance if measure == "right" else 0.0)
        # What is left from one try of the arm to the most of its base, shape (pairs, seeds).
        self.gap = self.passed["base"][..., -1] - self.passed["after"][..., 0]

    @property
    def guessable(self) -> bool:
        """Whether guessing alone solves everything in the most tries."""
        return bool(self.guess[-1] >= 1 - self.margin)

    def apart(self, one: str, other: str) -> Number:
        """Return one source's pass@k minus another's, at every k."""
        return mean(self.passed[one] - self.passed[other], "pairs")

    def full(self, *sources: str, place: int = -1) -> bool:
        """Return whether all are within the margin of 1."""
        return all(self.level[name][place] >= 1 - self.margin for name in sources)

    def first(self) -> str:
        """Return why an arm's first try above its base's says nothing, or nothing."""
        if self.guess[0] - self.level["base"][0] > self.margin:
            return GUESSING
        return CEILING if self.full("base", place=0) else ""

    def last(self, source: str) -> str:
        """Return why these data could not show the base above an arm in many tries, or nothing."""
        if self.guessable:
            return GUESSING
        if self.level["base"][-1] <= self.margin:
            return FLOOR
        return CEILING if self.full("base", source) else ""

    def crossing(self) -> tuple[list[Estimate], str]:
        """Return the parts of ``crossing``."""
        apart = self.apart("after", "base")
        parts = [apart[0].estimate(), (apart * -1)[-1].estimate()]
        return parts, self.last("after") or self.first()

    def matched_below(self) -> tuple[list[Estimate], str]:
        """Return the part of ``matched_below``."""
        return [self.apart("base", "matched")[-1].estimate()], self.last("matched")

    def covered(self) -> tuple[list[Estimate], str]:
        """Return the part of ``covered``."""
        base, after = (self.passed[name][..., -1] for name in ("base", "after"))
        unable = FLOOR if self.level["after"][-1] <= self.margin else ""
        unable = CEILING if self.full("base") else unable
        unable = GUESSING if self.guessable else unable
        return [mean(self.margin - (1 - base) * after, "pairs").estimate()], unable

    def efficiency(self) -> tuple[list[Estimate], str]:
        """Return the parts of ``efficiency``."""
        gained, left = self.apart("after", "base")[0], mean(self.gap, "pairs")
        way = self.level["base"][-1] - self.level["base"][0]
        unable = self.first() or (NO_GAP if way <= self.margin else "")
        unable = GUESSING if self.guessable else unable
        return [gained.estimate(), (left - gained).estimate()], unable

    def above_all(self) -> tuple[list[Estimate], str]:
        """Return the parts of ``above_all``."""
        room = np.flatnonzero(self.level["base"] < 1 - self.margin)
        apart = self.apart("after", "base")
        if len(room) < 2:
            return [], CEILING
        beyond = (self.guess - self.level["base"])[room] > self.margin
        return [apart[int(n)].estimate() for n in room], GUESSING if beyond.all() else ""


def verdicts(arm: Arm, settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield the verdict on every signature (2504.13837), each of numbers that should be above 0.

    ``crossing``: pass@1 above the base's and, at the largest k, below it. ``matched_below``: below
    it also at equal entropy (where that took no cooling, which would be no control). ``covered``:
    the margin minus the share of items solved by the arm only, judged at 0. ``efficiency``: pass@1
    above the base's, and the way that is left to the base's pass@k at the largest k longer than
    what was gained. ``above_all``: above the base at every k that leaves room (at two of them at
    least). ``likelier``: 1/2 minus the arm's quantile. ``low_perplexity``: that, and the sharpened
    base's quantile minus the arm's (where the base has the arm's entropy).
    """
    for group in GROUPS:
        for measure in MEASURES:
            tries = Tries(arm, group, measure, settings)
            yield _row("crossing", group, measure, *tries.crossing(), settings.margin)
            parts, unable = tries.matched_below()
            unable = unable if heated(arm, group) else UNMATCHED
            yield _row("matched_below", group, measure, parts, unable, settings.margin)
            yield _row("covered", group, measure, *tries.covered(), 0.0)
            yield _row("efficiency", group, measure, *tries.efficiency(), settings.margin)
            yield _row("above_all", group, measure, *tries.above_all(), settings.margin)
        for split in ("all", "same"):
            after, sharp = (arm.values(n, group, SPLITS[split]) for n in ("after", "sharpened"))
            likelier, beyond = _placed(0.5 - after), _placed(sharp - after)
            unable = NOTHING if likelier is UNKNOWN else ""
            yield _row("likelier", group, split, [likelier], unable, settings.margin)
            unable = NOTHING if UNKNOWN in (likelier, beyond) else _floor(sharp, settings.margin)
            unable = unable if _reached(arm, group, "sharpened", "after") else UNMATCHED
            yield _row("low_perplexity", group, split, [likelier, beyond], unable, settings.margin)


def _floor(sharpened: Array, margin: float) -> str:
    """Say whether the sharpened base's texts are so likely that no others can be likelier."""
    return FLOOR if np.nanmean(sharpened) <= margin else ""


def alike(arms: dict[Any, Arm], settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield the verdict that an arm's gap in sampling efficiency is that of other methods.

    Of methods that sample while they train, under one reward and on one base; each but the first
    in the order of names is compared with all before it. The number is the margin minus how far the
    gaps are apart, either way, judged at 0.
    """
    online = [key for key in arms if key[1] not in (*OFFLINE, "base")]
    for place, key in enumerate(online):
        others = [arms[one] for one in online[:place] if (one[0], one[2]) == (key[0], key[2])]
        for group, measure in product(GROUPS if others else (), MEASURES):
            own = Tries(arms[key], group, measure, settings)
            parts: list[Estimate] = []
            unable = ""
            for arm in others:
                if (arm.pairs, arm.seeds) != (arms[key].pairs, arms[key].seeds):
                    unable = UNLIKE
                    continue
                other = Tries(arm, group, measure, settings)
                apart = mean(own.gap - other.gap, "pairs")
                parts += [(apart * sign + settings.margin).estimate() for sign in (1, -1)]
                unable = unable or _extreme(own, other)
            row = _row("alike", group, measure, parts, unable, 0.0)
            yield {**dict(zip(ARM, key, strict=True)), **row}


def _extreme(*arms: Tries) -> str:
    """Say why the gaps of arms are alike whatever they learned, or nothing."""
    if arms[0].guessable:
        return GUESSING
    if all(arm.full("after", place=0) for arm in arms):
        return CEILING
    return FLOOR if all(arm.level["after"][0] <= arm.margin for arm in arms) else ""


def _row(
    signature: str,
    group: str,
    measure: str,
    parts: list[Estimate],
    unable: str,
    margin: float,
) -> dict[str, Any]:
    row = {"signature": signature, "group": group, "measure": measure}
    row["detail"] = f"{group}, worked" if measure == "worked" else group
    return row | worst([judged(part, margin, unable=unable) for part in parts or [UNKNOWN]])


TABLES = {
    "curves": curves,
    "coverage": coverage,
    "crossings": crossings,
    "perplexity": perplexity,
    "verdicts": verdicts,
}
