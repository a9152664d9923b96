"""Grids: which arms their products hold, with the keys of ``arms`` laid over each product."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from paradox.study.config import Config, Exclusion, Product
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

    @classmethod
    def of(cls, wildcards: Any) -> Arm:
        """Return the arm of a rule's wildcards."""
        return cls(wildcards.base, wildcards.method, wildcards.reward, int(wildcards.seed))

    @property
    def key(self) -> str:
        """The arm's folder below ``checkpoints`` and ``runs``."""
        return f"{self.base}/{self.method}/{self.reward}/s{self.seed}"


def arms_of(config: Config) -> list[Arm]:
    """Return the arms of the grid and of those it includes, each once."""
    kept: dict[Arm, None] = {}
    for name, _, lists in _products(config):
        arms = (Arm(*cell) for cell in itertools.product(*lists.values()))
        excluded = [entry for _, entry in exclusions(config, name)]
        kept |= {arm: None for arm in arms if not any(_matches(e, arm) for e in excluded)}
    return list(kept)


def grid_of(path: str) -> str | None:
    """Return the grid that a file below ``results/<scale>`` sums up, if it sums up any."""
    parts = path.split("/")[2:]
    if parts[0] == "grids":
        return parts[1]
    return DEFAULT if parts[0] in SUMMARIES else None


def named(config: Config, key: str) -> dict[str, str]:
    """Return the names that a key of the products holds, each with the place it stands at first."""
    places: dict[str, str] = {}
    replaced = getattr(config.arms, key) is not None
    for name, place, lists in _products(config):
        where = f"{MAIN}: arms.{key}" if replaced else f"{grid_file(name)}: products[{place}].{key}"
        for value in lists[key]:
            places.setdefault(value, where)
    return places


def exclusions(config: Config, grid: str | None = None) -> list[tuple[str, Exclusion]]:
    """Return the exclusions of one grid, or of all, each with the place it stands at."""
    chosen = config.grids if grid is None else [grid]
    lists = {f"{grid_file(name)}: exclude": config.grids[name].exclude for name in chosen}
    if config.arms.exclude is not None:
        lists = {f"{MAIN}: arms.exclude": config.arms.exclude}
    return [
        (f"{where}[{index}]", entry)
        for where, entries in lists.items()
        for index, entry in enumerate(entries)
    ]


def _products(config: Config) -> Iterator[tuple[str, int, dict[str, list[Any]]]]:
    """Yield grid, place and lists of each product, with those of ``arms`` laid over them."""
    keys = Product.model_fields
    over = {key: names for key, names in config.arms if key in keys and names is not None}
    for name, grid in config.grids.items():
        for place, product in enumerate(grid.products):
            lists = dict(product) | over
            if lists["bases"] == "all":
                lists["bases"] = list(config.bases)
            yield name, place, lists


def _matches(entry: Exclusion, arm: Arm) -> bool:
    given = entry.model_dump(exclude={"why"}, exclude_none=True)
    return all(getattr(arm, key) == value for key, value in given.items())
