"""The tables of step ``eap``, read as arrays: an arm's items, seeds and edges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paradox.errors import DataError
from paradox.files import read_table
from paradox.mechanisms.eap.graph import Graph
from paradox.mechanisms.eap.metrics import NODES, measures, node_entropy
from paradox.mechanisms.tables.pairs import ARM
from paradox.mechanisms.tables.words import AFTER, BASE

Array = NDArray[np.float64]
KEEP = ["item", "group", "exposure", "pair"]
COLUMNS = [*ARM, "seed", *KEEP, "attribution", "alpha", "cut", "text", "weights", "scored"]
COLUMNS += ["right_base", "right_after", "similar", "loss", "gradient", "scores"]
ALL, EXPOSED, TWIN = "all", "exposed", "twin"
RIGHT, SIMILAR = "right", "similar"
FILTERS, GROUPS = (ALL, RIGHT, SIMILAR), (ALL, EXPOSED, TWIN)
OWN_BASE, OWN_AFTER = (BASE, BASE), (AFTER, AFTER)


class Scored(NamedTuple):
    """Scores of one text under one model's weights; the seeds are the first axis."""

    scores: Array
    loss: Array
    gradient: Array
    scored: Array


@dataclass(frozen=True)
class Cell:
    """An arm (base, method, reward) at one attribution and alpha.

    `cuts` are the scored lengths of the seeds, `items` has the columns `KEEP`. `sides`: text and
    weights -> scores; an untrained base has its own only. `filters`: name -> which items pass with
    every seed. `learned`: whether the model after training is right, minus whether the base is,
    shape (items, seeds).
    """

    arm: tuple[str, ...]
    attribution: str
    alpha: float
    cuts: tuple[int, ...]
    items: pd.DataFrame
    sides: dict[tuple[str, str], Scored]
    filters: dict[str, NDArray[np.bool_]]
    learned: Array

    @property
    def key(self) -> dict[str, Any]:
        """Return the columns that name the cell."""
        named = dict(zip(ARM, self.arm, strict=True))
        return {**named, "attribution": self.attribution, "alpha": self.alpha}

    @property
    def trained(self) -> bool:
        """Return whether there is a model after training."""
        return OWN_AFTER in self.sides

    @property
    def graph(self) -> Graph:
        """Return the graph of the models."""
        edges = self.sides[OWN_BASE].scores.shape[-1]
        # 4 L^2 + 3 L + 1 edges
        return Graph(round((np.sqrt(16 * edges - 7) - 3) / 8))

    @cached_property
    def tops(self) -> list[float]:
        """Return each seed's largest score of all its models and texts."""
        seeds = range(len(self.cuts))
        return [max(float(np.abs(s.scores[n]).max()) for s in self.sides.values()) for n in seeds]

    def chosen(self, passed: str, group: str) -> NDArray[np.bool_]:
        """Return which items pass a filter and belong to a group."""
        every = np.ones(len(self.items), dtype=bool)
        members = every if group == ALL else (self.items["group"] == group).to_numpy()
        return self.filters[passed] & members

    def measured(
        self, side: tuple[str, str], rows: NDArray[np.bool_], tops: list[float]
    ) -> dict[str, Array]:
        """Return every measure of some items, shape (items, seeds); `tops` end the histograms."""
        scored = self.sides[side]
        by_seed = [
            measures(scored.scores[n, rows], scored.loss[n, rows], scored.gradient[n, rows], top)
            | {NODES: node_entropy(scored.scores[n, rows], self.graph)}
            for n, top in enumerate(tops)
        ]
        return {name: np.stack([values[name] for values in by_seed], 1) for name in by_seed[0]}


def read_cells(paths: Sequence[Path]) -> Iterator[Cell]:
    """Yield the cells by name; a `DataError` where the seeds of an arm differ in items."""
    table = pd.concat([read_table(Path(path), COLUMNS) for path in paths])
    keys = [*ARM, "attribution", "alpha"]
    for (*arm, attribution, alpha), rows in table.groupby(keys, sort=True):
        seeds = [of_seed for _, of_seed in rows.groupby("seed", sort=True)]
        yield _cell(tuple(arm), attribution, float(alpha), seeds)


def _cell(arm: tuple[str, ...], attribution: str, alpha: float, seeds: list[pd.DataFrame]) -> Cell:
    grouped = [dict(list(table.groupby(["text", "weights"], sort=True))) for table in seeds]
    first = grouped[0][OWN_BASE]
    for one in (table for of_side in grouped for table in of_side.values()):
        if one["item"].tolist() != first["item"].tolist():
            raise DataError(f"{'/'.join(arm)}: the seeds' tables of edge scores differ in items.")
    sides = {}
    for side in grouped[0]:
        of_side = [group[side] for group in grouped]
        sides[side] = Scored(
            np.stack([np.stack(table["scores"].tolist()) for table in of_side]).astype(np.float64),
            *(
                np.stack([table[name].to_numpy(float) for table in of_side])
                for name in Scored._fields[1:]
            ),
        )
    bases = [group[OWN_BASE] for group in grouped]
    right = np.logical_and.reduce([t["right_base"] & t["right_after"] for t in bases])
    learned = [t["right_after"].to_numpy(float) - t["right_base"].to_numpy(float) for t in bases]
    similar = np.logical_and.reduce([t["similar"] for t in bases])
    filters = {ALL: np.ones(len(first), dtype=bool), RIGHT: right, SIMILAR: right & similar}
    items = first[KEEP].reset_index(drop=True)
    cuts = tuple(int(table["cut"].iloc[0]) for table in bases)
    return Cell(arm, attribution, alpha, cuts, items, sides, filters, np.stack(learned, 1))
