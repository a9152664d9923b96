"""Step ``rule_rates``: how often the rule of verdicts is wrong, by simulated studies.

A study has pairs of an exposed item and its twin, trainings (replicates) and blocks. Pairs are
drawn with replacement from those of the ablation of MLPs in this run, their mean taken away: what
is left is the spread of items and of the rest, with its skew and its ties between blocks and
between base and change. To it a replicate adds noise of a known size, in standard errors of the
mean over items (``observed``: the size that the run's own trainings have, root mean square over
arms that have several), and a *world* adds what is true:

``no memory``
    No gap anywhere.
``memory kept``
    The untrained base has a gap, at the claim's blocks larger by ``effect`` margins; training
    changes nothing.
``memory changed``
    The untrained base has a gap that is alike at all blocks; training adds ``effect`` margins at
    the claim's blocks.

Each study goes through a signature's own function (`paradox.mechanisms.tables.signatures.Tester`),
the model of intervals and the rule. The base's largest true gap is the run's, the margin that
share of the largest gap which the simulated base shows. ``wrong`` is the share of studies whose
verdict denies the truth, with its exact interval: *reproduced* or *present but negligible* of
nothing, *reproduced* of an effect up to the margin, *not reproduced* or *present but negligible* of
a larger one. *Not decidable* is never wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paradox.errors import DataError
from paradox.files import read_table, write_table
from paradox.mechanisms.tables.by_layer import curves
from paradox.mechanisms.tables.pairs import KEYS, Groups
from paradox.mechanisms.tables.signatures import Part, Tester, row
from paradox.mechanisms.tables.verdict import (
    ANCHOR,
    MIDDLE,
    NEGLIGIBLE,
    NOT,
    OPEN,
    REPRODUCED,
    inside,
)
from paradox.progress import Progress
from paradox.seeds import keyed_rng
from paradox.stats.bootstrap import binomial_interval
from paradox.stats.crossed import UNKNOWN
from paradox.tasks.api import ITEM_COLUMNS

Array = NDArray[np.float64]
COMPONENT, MEASURE = "mlp@all", "logp_drop"
REPLICATES = (3, 5, 8)
# Seed standard deviations in standard errors of the mean over items; None: as observed.
SPREADS = (0.0, 1.0, 2.0, 3.3, None)
EFFECTS = (0.0, 0.5, 1.0, 2.0, 5.0)  # in margins
NONE, KEPT, CHANGED = "no memory", "memory kept", "memory changed"
# World, the state that is judged, and the effects that the claim is simulated with there.
CASES = (
    (NONE, "after", EFFECTS[:1]),
    (NONE, "change", EFFECTS[:1]),
    (KEPT, "after", EFFECTS),
    (KEPT, "change", EFFECTS[:1]),
    (CHANGED, "change", EFFECTS),
)
SHARES = {REPRODUCED: "reproduced", NEGLIGIBLE: "negligible", NOT: "not_reproduced"}
SHARES |= {OPEN: "not_decidable"}


def main(
    spec: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write the table.

    ``spec``: ``error_rates`` (``studies``, simulated per row, and ``margin_share``),
    ``exposed_from``, ``bootstrap`` (its seed keys the studies) and ``bases`` (the name of the
    ``planted`` one). ``inputs``: ``items``, and ``tables``, the ablation's of every arm.
    ``outputs``: ``table``, a row per world, state, rule, effect, number and spread of replicates.

    Raises `DataError` when items have no pairs.
    """
    groups = Groups(read_table(inputs["items"], ITEM_COLUMNS), spec["exposed_from"])
    if groups.pairs is None:
        raise DataError("column 'pair' of the item table: studies are simulated pair by pair.")
    tables = [read_table(Path(path), [*KEYS, MEASURE]) for path in inputs["tables"]]
    seen = observed(tables, groups, spec["bases"]["planted"])
    settings, seed = spec["error_rates"], spec["bootstrap"]["seed"]
    cells = [
        Cell(world, state, effect, replicates, spread)
        for (world, state, effects), replicates, spread in product(CASES, REPLICATES, SPREADS)
        if spread is not None or np.isfinite(seen.spread(state))
        # Without any gap there is no margin to count effects in.
        for effect in (effects if settings["margin_share"] * seen.gap > 0 else EFFECTS[:1])
    ]
    test, rows = _Many(groups, seed), []
    for done, cell in enumerate(cells, start=1):
        studies = Studies(seen, cell, settings["studies"], seed)
        rows += list(judge(studies, test, settings["margin_share"]))
        progress("cells", done, len(cells), cell.world)
    write_table(outputs["table"], pd.DataFrame(rows))


# --- what was observed ---------------------------------------------------------------------


class Arm(NamedTuple):
    """How a trained arm's pairs (exposed minus twin) spread, means over pairs taken away."""

    change: Array  # mean over replicates of the change by training, shape (pairs, blocks)
    rest: Array  # of a pair under a replicate, shape (pairs, blocks, replicates)
    between: float  # variance of replicates beyond what the rest explains, mean over blocks


class Observed(NamedTuple):
    """What the studies are made of."""

    base: Array  # of the untrained planted base, means taken away, shape (pairs, blocks)
    gap: float  # its largest mean gap at any block
    arms: list[Arm]  # its trained arms

    def profile(self, arm: Arm, state: str) -> Array:
        """Return how pairs spread at a state, shape (pairs, blocks)."""
        return arm.change + self.base * (state == "after")

    def spread(self, state: str) -> float:
        """Return the seed standard deviation in standard errors of the mean over pairs.

        NaN where no arm has a second training.
        """
        shares = []
        for arm in self.arms:
            if arm.rest.shape[2] < 2:
                continue
            of_items = self.profile(arm, state).var(axis=0, ddof=1).mean() / len(self.base)
            shares.append(arm.between / of_items if of_items > 0 else 0.0)
        return float(np.sqrt(np.mean(shares))) if shares else np.nan


def observed(tables: list[pd.DataFrame], groups: Groups, planted: str) -> Observed:
    """Return the spread of items, replicates and the rest in the tables of the planted base.

    Without a trained arm, changes spread as the untrained base does. Raises `DataError` when the
    tables have no untrained planted base.
    """
    base, arms = None, []
    for curve in curves(tables, MEASURE, [*groups.exposed, *groups.twin]):
        if curve.component != COMPONENT or curve.arm[0] != planted:
            continue
        apart = curve.values[: len(groups.exposed)] - curve.values[len(groups.exposed) :]
        if curve.state == "base":
            base = apart.mean(axis=2)
        elif curve.state == "change":
            arms.append(_arm(apart))
    if base is None:
        raise DataError(f"no table has component {COMPONENT!r} of the untrained base {planted!r}.")
    middle = base.mean(axis=0)
    return Observed(base - middle, float(np.abs(middle).max()), arms or [_arm(base[..., None])])


def _arm(values: Array) -> Arm:
    pairs, _, replicates = values.shape
    of_pair, of_replicate = values.mean(axis=2, keepdims=True), values.mean(axis=0, keepdims=True)
    change = (of_pair - of_pair.mean(axis=0))[..., 0]
    if replicates == 1:
        return Arm(change, np.zeros_like(values), 0.0)
    rest = (values - of_pair - of_replicate + of_pair.mean(axis=0)) * np.sqrt(
        replicates / (replicates - 1)
    )
    explained = (rest**2).sum(axis=(0, 2)) / (pairs - 1) / replicates / pairs
    between = of_replicate[0].var(axis=1, ddof=1) - explained
    return Arm(change, rest, float(max(between.mean(), 0.0)))


# --- simulated studies ---------------------------------------------------------------------


class Cell(NamedTuple):
    """What is true in some studies: a row of the table but for the rule."""

    world: str
    state: str
    effect: float  # in margins
    replicates: int
    spread: float | None  # of replicates, as in `SPREADS`

    @property
    def denied(self) -> tuple[str, ...]:
        """The verdicts that deny the truth.

        >>> Cell(NONE, "after", 0.5, 3, None).denied
        ('reproduced',)
        """
        if self.effect <= 0:
            return (REPRODUCED, NEGLIGIBLE)
        return (REPRODUCED,) if self.effect <= 1 else (NOT, NEGLIGIBLE)

    @property
    def claim(self) -> str:
        """Whether the claim holds: ``false``, ``negligible`` (up to the margin) or ``true``."""
        return "false" if self.effect <= 0 else "negligible" if self.effect <= 1 else "true"


class Studies:
    """Simulated studies of a cell, without what is true in it.

    ``base``: exposed minus twin of the untrained base, shape (studies, pairs, blocks). ``values``:
    the same of the state that is judged, shape (studies, pairs, blocks, replicates). ``spread``: of
    replicates, in standard errors of the mean over items.
    """

    def __init__(self, seen: Observed, cell: Cell, count: int, seed: int) -> None:
        self.seen, self.cell = seen, cell
        self.spread = seen.spread(cell.state) if cell.spread is None else cell.spread
        rng = keyed_rng("rule rates", seed, *map(str, cell))
        pairs, blocks = seen.base.shape
        self.base = np.empty((count, pairs, blocks))
        self.values = np.empty((count, pairs, blocks, cell.replicates))
        for place, arm in enumerate(seen.arms):
            mine = slice(place, None, len(seen.arms))
            size = len(range(count)[mine])
            drawn = rng.integers(0, pairs, (size, pairs))
            self.base[mine] = seen.base[drawn]
            seeds = rng.integers(0, arm.rest.shape[2], (size, pairs, cell.replicates))
            rest = arm.rest[drawn[:, :, None], :, seeds].swapaxes(2, 3)
            # A replicate's noise has the ties between blocks that items have.
            profile = seen.profile(arm, cell.state)
            noise = rng.normal(size=(size, cell.replicates, pairs)) @ profile
            noise *= self.spread / np.sqrt(pairs * (pairs - 1))
            items = profile[drawn][..., None]
            self.values[mine] = items + rest + noise.swapaxes(1, 2)[:, None]

    def true(self, blocks: NDArray[np.bool_], share: float) -> tuple[Array, Array]:
        """Return the true gap of the base and of what is judged, per block.

        ``blocks``: which the claim is about. ``share``: of the largest gap, the margin.
        """
        world, nothing = self.cell.world, np.zeros(len(blocks))
        if world == NONE:
            return nothing, nothing
        over = self.cell.effect * share * self.seen.gap
        flat = nothing + self.seen.gap
        if world == CHANGED:
            return flat, over * blocks
        base = np.where(blocks, flat, flat - over)
        return base, base if self.cell.state == "after" else nothing


# --- their verdicts ------------------------------------------------------------------------

Parts = Callable[[Tester, Array], list[Part]]
# What a claim looks at: its blocks, and the function that makes its numbers.
RULES: dict[str, tuple[tuple[float, float], Parts]] = {
    "window": (MIDDLE, lambda test, values: [test.window(values, MIDDLE)]),
    "local": (ANCHOR, lambda test, values: test.local(values, ANCHOR)),
    "peak": (ANCHOR, lambda test, values: test.peak(values)),
}


class _Many(Tester):
    """Keeps the numbers that are to be tested, for those of many studies in one go."""

    def __init__(self, groups: Groups, seed: int) -> None:
        super().__init__(groups, seed)
        self.kept: list[tuple[Array, NDArray[np.bool_] | None]] = []

    def test(self, numbers: Array, blocks: str, rows: NDArray[np.bool_] | None = None) -> Part:
        self.kept.append((numbers, rows))
        return Part(UNKNOWN, blocks)

    def tested(self, asked: list[list[Part]]) -> Iterator[list[Part]]:
        """Yield the parts of each study with their estimates; all studies have as many."""
        count = len(asked[0])
        columns = []
        for part in range(count):
            kept = self.kept[part::count]
            together = np.stack([numbers for numbers, _ in kept], axis=-1)
            columns.append(self.number(together, kept[0][1]).estimates())
        self.kept = []
        for parts, estimates in zip(asked, zip(*columns, strict=True), strict=True):
            yield [part._replace(estimate=of) for part, of in zip(parts, estimates, strict=True)]


def judge(studies: Studies, test: _Many, share: float) -> Iterator[dict[str, Any]]:
    """Yield the row of each rule that these blocks allow."""
    cell, blocks = studies.cell, studies.base.shape[2]
    for rule, (window, parts) in RULES.items():
        chosen = inside(blocks, window)
        if blocks < 3 or not chosen.any() or chosen.all():
            continue
        if rule == "peak":  # of one block
            chosen = np.arange(blocks) == np.flatnonzero(chosen)[0]
        base, judged = studies.true(chosen, share)
        # Pairs are all that counts: an exposed item has the difference, its twin 0.
        bases = _sides(studies.base + base)
        values = _sides(studies.values + judged[:, None])
        asked = [parts(test, study) for study in values]
        found: Counter[str] = Counter()
        for one, study in zip(test.tested(asked), bases, strict=True):
            margin = share * test.largest(study[..., None])
            found[row(rule, ("", "", "", cell.state), one, margin)["verdict"]] += 1
        count = len(values)
        named = {"world": cell.world, "state": cell.state, "rule": rule, "claim": cell.claim}
        named |= {"effect": cell.effect, "replicates": cell.replicates}
        named |= {"seed_sd": studies.spread, "observed": cell.spread is None, "studies": count}
        wrong = binomial_interval(sum(found[each] for each in cell.denied), count)
        shares = {column: found[each] / count for each, column in SHARES.items()}
        yield named | shares | {"wrong": wrong.value, "low": wrong.low, "high": wrong.high}


def _sides(apart: Array) -> Array:
    """Return exposed items and then twins, with these differences; pairs are the second axis."""
    return np.concatenate([apart, np.zeros_like(apart)], axis=1)
