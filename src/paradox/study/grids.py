"""Grids: which arms their products hold, with the keys of ``arms`` laid over each product."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from paradox.study.config import Config, Exclusion
from paradox.study.load import MAIN, grid_file

DEFAULT = "default"
# What a grid makes from all its arms.
SUMMARIES = ("tables", "figures", "reports", "paper")


@dataclass(frozen=True)
class Arm:
    """One cell of base x method x reward x seed; the untrained base is its own arm."""

    base: str
    method: str
    reward: str
    seed: int

    @property
    def key(self) -> str:
        """The arm's folder below ``checkpoints`` and ``runs``."""
        return f"{self.base}/{self.method}/{self.reward}/s{self.seed}"


def arms_of(config: Config) -> list[Arm]:
    """Return the arms of the grid and of those it includes, each once."""
    found: dict[Arm, None] = {}
    for name, place in _products(config):
        taken = {key: _taken(config, name, place, key) for key in _KEYS}
        if taken["bases"] == "all":
            taken["bases"] = list(config.bases)
        arms = (Arm(*cell) for cell in itertools.product(*taken.values()))
        excluded = [entry for _, entry in exclusions(config, name)]
        found |= {arm: None for arm in arms if not any(_matches(e, arm) for e in excluded)}
    return list(found)


def grid_of(path: str) -> str | None:
    """Return the grid that a file below ``results/<scale>`` sums up, if it sums up any."""
    parts = path.split("/")[2:]
    if parts[0] == "grids":
        return parts[1]
    return DEFAULT if parts[0] in SUMMARIES else None


_KEYS = ("bases", "methods", "rewards", "seeds")


def named(config: Config, key: str) -> dict[str, str]:
    """Return the names that a key of the products holds, each with the place it stands at first."""
    found: dict[str, str] = {}
    for name, place in _products(config):
        own = getattr(config.arms, key) is None
        where = f"{grid_file(name)}: products[{place}].{key}" if own else f"{MAIN}: arms.{key}"
        values = _taken(config, name, place, key)
        for value in list(config.bases) if values == "all" else values:
            found.setdefault(value, where)
    return found


def exclusions(config: Config, grid: str | None = None) -> list[tuple[str, Exclusion]]:
    """Return the exclusions of one grid, or of all, each with the place it stands at."""
    if config.arms.exclude is not None:
        return [(f"{MAIN}: arms.exclude[{i}]", e) for i, e in enumerate(config.arms.exclude)]
    chosen = config.grids if grid is None else {grid: config.grids[grid]}
    return [
        (f"{grid_file(name)}: exclude[{index}]", entry)
        for name, own in chosen.items()
        for index, entry in enumerate(own.exclude)
    ]


def _products(config: Config) -> Iterator[tuple[str, int]]:
    for name, grid in config.grids.items():
        yield from ((name, place) for place in range(len(grid.products)))


def _taken(config: Config, grid: str, place: int, key: str) -> Any:
    over = getattr(config.arms, key)
    return getattr(config.grids[grid].products[place], key) if over is None else over


def _matches(entry: Exclusion, arm: Arm) -> bool:
    given = entry.model_dump(exclude={"why"}, exclude_none=True)
    return all(getattr(arm, key) == value for key, value in given.items())
