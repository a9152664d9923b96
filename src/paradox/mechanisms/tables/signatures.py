"""How a signature is tested: a number per item that is larger for exposed items than twins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paradox.files import read_table
from paradox.mechanisms.tables.by_layer import Curve, curves
from paradox.mechanisms.tables.pairs import ARM, KEYS, Array, Groups
from paradox.mechanisms.tables.verdict import NO_BLOCK, inside, judged, worst
from paradox.mechanisms.tables.words import AFTER, BEYOND_CLEAN, CHANGE
from paradox.stats.crossed import UNKNOWN, Estimate, Number, difference, mean
from paradox.stats.peaks import half

Rows = Iterator[dict[str, Any]]


class Part(NamedTuple):
    """One number that has to be above 0."""

    estimate: Estimate
    blocks: str = ""  # which blocks it is about
    unable: str = ""  # why it could not be decided, whatever the data


MISSING = Part(UNKNOWN, unable=NO_BLOCK)


class Tester:
    """Numbers per item, exposed against twins."""

    def __init__(self, groups: Groups, seed: int) -> None:
        self.groups, self.seed = groups, seed
        self.split = len(groups.exposed)
        names = [*groups.exposed, *groups.twin] if groups.pairs is None else groups.pairs * 2
        self.names = np.array(names)

    def gaps(self, values: Array) -> Array:
        """Return exposed minus twins per layer."""
        return values[: self.split].mean(axis=(0, 2)) - values[self.split :].mean(axis=(0, 2))

    def largest(self, values: Array) -> float:
        """Return the largest gap at any layer, either way."""
        return float(np.abs(self.gaps(values)).max())

    def number(self, numbers: Array, rows: NDArray[np.bool_] | None = None) -> Number:
        """Return exposed minus twins of values of shape (items, replicates, ...)."""
        rows = np.ones(len(numbers), dtype=bool) if rows is None else rows
        labels = np.arange(len(numbers)) < self.split
        exposed, twin = numbers[rows & labels], numbers[rows & ~labels]
        if self.groups.pairs is not None:
            return mean(exposed - twin, "pairs")
        return difference(exposed, twin)

    def test(self, numbers: Array, blocks: str, rows: NDArray[np.bool_] | None = None) -> Part:
        """Return exposed minus twins of a number of shape (items, replicates)."""
        return Part(self.number(numbers, rows).estimate(), blocks)

    def window(self, values: Array, window: tuple[float, float]) -> Part:
        """Return how much larger the gap is inside a window of blocks than outside."""
        chosen = inside(values.shape[1], window)
        if chosen.all() or not chosen.any():
            return MISSING
        numbers = values[:, chosen].mean(axis=1) - values[:, ~chosen].mean(axis=1)
        return self.test(numbers, span(chosen))

    def local(self, values: Array, window: tuple[float, float]) -> list[Part]:
        """Return how far the gap in a window is above the block before it and the one after it."""
        places = np.flatnonzero(inside(values.shape[1], window))
        if not len(places):
            return [MISSING]
        within, here = values[:, places].mean(axis=1), span(inside(values.shape[1], window))
        beside = [
            place for place in (places[0] - 1, places[-1] + 1) if 0 <= place < values.shape[1]
        ]
        return [self.test(within - values[:, place], f"{here} / {place}") for place in beside]

    def peak(self, values: Array) -> list[Part]:
        """Return how far the gap at its largest inner block is above the first and last block's.

        One half of the items says which block that is, the other half is measured.
        """
        if values.shape[1] < 3:
            return [MISSING]
        first, peak = self.chosen, 1 + int(self.selection(values)[1:-1].argmax())
        return [self.test(values[:, peak] - values[:, end], f"{peak}", ~first) for end in (0, -1)]

    @cached_property
    def chosen(self) -> NDArray[np.bool_]:
        """Which items are in the half that a block is chosen by; the other half is measured."""
        return half(self.names.tolist(), self.seed, "signature")

    def selection(self, values: Array) -> Array:
        """Return the gap per layer in that half."""
        labels = np.arange(len(values)) < self.split
        one, other = (values[self.chosen & side].mean(axis=(0, 2)) for side in (labels, ~labels))
        return one - other


@dataclass(frozen=True)
class Given:
    """What the function of a signature is given."""

    name: str  # the signature's
    paths: list[Path]  # the files that it reads, a file per arm
    test: Tester
    planted: str  # the base that holds the items
    clean: str | None  # the one that never saw them
    share: float  # the margin, as a share of what the signature's function says

    def table(self) -> pd.DataFrame:
        """Return the tables of all arms, one below the other."""
        return pd.concat([read_table(path) for path in self.paths], ignore_index=True)


def by_curves(
    given: Given,
    components: tuple[str, ...],
    measure: str,
    parts: Callable[[Tester, list[Array]], list[Part]],
) -> Rows:
    """Yield the rows of a signature that is computed from single items.

    `components`, `measure`: which curves of the tables, in this order.
    `parts`: makes the signature's numbers of their values, each of shape (items, layers, seeds).
    The margin is a share of the largest gap that the untrained planted base has at any layer.
    """
    tables = [read_table(path, [*KEYS, measure]) for path in given.paths]
    groups = given.test.groups
    by_state: dict[tuple[str, ...], dict[str, Curve]] = {}
    for curve in curves(tables, measure, [*groups.exposed, *groups.twin]):
        if curve.component in components:
            by_state.setdefault((*curve.arm, curve.state), {})[curve.component] = curve
    untrained = by_state[(given.planted, "base", "none", "base")]
    largest = max(given.test.largest(curve.values) for curve in untrained.values())
    for key, by_component in by_state.items():
        ordered = [by_component[component].values for component in components]
        yield row(given.name, key, parts(given.test, ordered), given.share * largest)
        clean = by_state.get((given.clean or "", *key[1:]))
        if key[0] == given.planted and key[3] == CHANGE and clean:
            both = [(by_component[name], clean[name]) for name in components]
            apart = [_apart(*sides) for sides in both]
            name = f"{given.name}: {BEYOND_CLEAN}"
            yield row(name, (*key[:3], AFTER), parts(given.test, apart), given.share * largest)


def _apart(planted: Curve, clean: Curve) -> Array:
    """Return the planted base's change minus the clean base's, by item and seed."""
    shared = [seed for seed in planted.seeds if seed in clean.seeds]
    sides = [
        curve.values[..., [curve.seeds.index(seed) for seed in shared]]
        for curve in (planted, clean)
    ]
    return sides[0] - sides[1]


def row(name: str, key: tuple[Any, ...], parts: list[Part], margin: float) -> dict[str, Any]:
    """Return the row of an arm and state: that of the part that says least for the claim."""
    named = {"signature": name, **dict(zip([*ARM, "state"], key, strict=True))}
    rows = [
        {"blocks": part.blocks, **judged(part.estimate, margin, unable=part.unable)}
        for part in parts
    ]
    return named | worst(rows)


def by_arm(table: pd.DataFrame) -> Iterator[tuple[tuple[str, ...], pd.DataFrame]]:
    """Yield the rows of every arm with its key: base, method, reward and state."""
    for arm, rows in table.groupby(ARM, sort=True):
        yield (*arm, "base" if arm[1] == "base" else "after"), rows


def span(chosen: NDArray[np.bool_]) -> str:
    """Return the first and last of chosen blocks, as the tables print them."""
    places = np.flatnonzero(chosen)
    return f"{places[0]}-{places[-1]}"
