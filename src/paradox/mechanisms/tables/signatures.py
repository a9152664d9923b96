"""How a signature is tested: a number per item that is larger for exposed items than twins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paradox.files import read_table
from paradox.mechanisms.tables.by_layer import Curve, curves
from paradox.mechanisms.tables.pairs import ARM, KEYS, Array, Groups
from paradox.mechanisms.tables.verdict import inside, verdict
from paradox.stats.bootstrap import Estimate, Resampling, difference_in_differences, mean
from paradox.stats.layers import label_test
from paradox.stats.peaks import half

Rows = Iterator[dict[str, Any]]


class Part(NamedTuple):
    """One number that has to be above 0."""

    estimate: Estimate  # with its interval
    p: float  # one-sided
    blocks: str  # which blocks it is about


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
        tested = label_test(
            numbers[rows].mean(axis=1, keepdims=True),
            labels[rows],
            self.resampling.seed,
            pairs=self.names[rows].tolist() if paired else None,
            permutations=self.permutations,
            two_sided=False,
        )
        return Part(estimate, tested.overall, blocks)

    def window(self, values: Array, window: tuple[float, float]) -> Part:
        """Test that the gap is larger inside a window of blocks than outside."""
        chosen = inside(values.shape[1], window)
        numbers = values[:, chosen].mean(axis=1) - values[:, ~chosen].mean(axis=1)
        return self.test(numbers, span(chosen))

    def peak(self, values: Array) -> list[Part]:
        """Test that the gap is above the first and the last block's at a block between them."""
        first = half(self.names.tolist(), self.resampling.seed, "signature")
        labels = np.arange(len(values)) < self.split
        sides = [values[first & side].mean(axis=(0, 2)) for side in (labels, ~labels)]
        peak = 1 + int((sides[0] - sides[1])[1:-1].argmax())
        return [self.test(values[:, peak] - values[:, end], str(peak), ~first) for end in (0, -1)]


@dataclass(frozen=True)
class Given:
    """What the function of a signature is given."""

    name: str  # the signature's
    paths: list[Path]  # the files that it reads, a file per arm
    test: Tester  # tests numbers per item
    planted: str  # the base that holds the items
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
    by_state: dict[tuple[Any, ...], dict[str, Curve]] = {}
    for curve in curves(tables, measure, [*groups.exposed, *groups.twin]):
        if curve.component in components:
            by_state.setdefault((*curve.arm, curve.state), {})[curve.component] = curve
    untrained = by_state[(given.planted, "base", "none", "base")]
    largest = max(given.test.largest(curve.values) for curve in untrained.values())
    for key, by_component in by_state.items():
        ordered = [by_component[component].values for component in components]
        yield row(given.name, key, parts(given.test, ordered), given.share * largest)


def row(name: str, key: tuple[Any, ...], parts: list[Part], margin: float) -> dict[str, Any]:
    """Return the row of an arm and state; its p is the largest, its effect the smallest part's."""
    least = min(parts, key=lambda part: part.estimate.value)
    p = max(part.p for part in parts)
    line = {"signature": name, **dict(zip([*ARM, "state"], key, strict=True))}
    line |= {"blocks": least.blocks, "effect": least.estimate.value, "low": least.estimate.low}
    line |= {"high": least.estimate.high, "p": p, "margin": margin}
    return line | {"verdict": verdict(p, least.estimate.high, margin)}


def by_arm(table: pd.DataFrame) -> Iterator[tuple[tuple[str, ...], pd.DataFrame]]:
    """Yield the rows of every arm with its key: base, method, reward and state."""
    for arm, rows in table.groupby(ARM, sort=True):
        yield (*arm, "base" if arm[1] == "base" else "after"), rows


def span(chosen: NDArray[np.bool_]) -> str:
    """Return the first and last of chosen blocks, as the tables print them."""
    places = np.flatnonzero(chosen)
    return f"{places[0]}-{places[-1]}"
