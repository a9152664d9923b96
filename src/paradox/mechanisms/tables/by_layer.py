"""Step ``by_layer``: per-item tables of a mechanism, summed up layer by layer.

Per arm, component, measure and layer: exposed items, twins and difference, at the states ``base``,
``after`` and ``change``. Intervals: bootstrap, seeds crossed with items. ``p`` is for a layer named
beforehand, ``corrected`` for the largest of all (labels permuted within pairs); ``null_low`` and
``null_high``: the band that the difference leaves exactly where ``corrected`` is small.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from paradox.errors import DataError, problems
from paradox.files import read_table, write_table
from paradox.mechanisms.tables.pairs import ARM, KEYS, Array, Groups
from paradox.progress import Progress
from paradox.stats.bootstrap import Resampling, difference_in_differences, mean
from paradox.stats.layers import LayerTest, label_test
from paradox.tasks.api import ITEM_COLUMNS


def main(
    spec: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write the table of all arms.

    ``spec``: ``measures`` (columns of the tables), ``exposed_from``, ``bootstrap`` and
    ``permutations``. ``inputs``: ``tables``, one per arm and seed, the untrained bases among them;
    ``items``. ``outputs``: ``table``, a row per arm, component, measure, state, contrast and layer.
    """
    items = read_table(inputs["items"], ITEM_COLUMNS)
    tables = [read_table(Path(path), [*KEYS, *spec["measures"]]) for path in inputs["tables"]]
    resampling = Resampling(spec["bootstrap"]["seed"], spec["bootstrap"]["resamples"])
    chosen = Groups(items, spec["exposed_from"])
    table = contrasts(tables, spec["measures"], chosen, resampling, spec["permutations"])
    write_table(outputs["table"], table)
    progress("arms", len(tables), len(tables))


class Curve(NamedTuple):
    """What an arm has at one state."""

    arm: tuple[str, ...]  # base, method and reward
    component: str
    state: str  # ``base`` (the arm is an untrained base), ``after`` training, or the ``change``
    layers: list[int]
    values: Array  # shape (items, layers, seeds)


def contrasts(
    tables: Sequence[pd.DataFrame],
    measures: Sequence[str],
    groups: Groups,
    resampling: Resampling,
    permutations: int,
) -> pd.DataFrame:
    """Return the rows of `main`'s table; arms in the order of their names. Raises as `curves`."""
    names = [*groups.exposed, *groups.twin]
    rows: list[dict[str, Any]] = []
    for measure in measures:
        for curve in curves(tables, measure, names):
            key = {**dict(zip(ARM, curve.arm, strict=True)), "component": curve.component}
            key |= {"measure": measure, "state": curve.state}
            by_layer = _layers(curve.values, curve.layers, groups, resampling, permutations)
            rows += [{**key, **row} for row in by_layer]
    return pd.DataFrame(rows)


def curves(tables: Sequence[pd.DataFrame], measure: str, names: list[str]) -> Iterator[Curve]:
    """Yield every arm and component at its states, in the order of their names.

    Raises `DataError` when an arm's untrained base is missing, or tables differ in items or layers.
    """
    cubes = _cubes(pd.concat(tables, ignore_index=True), measure, names)
    for (*arm, component), (layers, values) in cubes.items():
        if arm[1] == "base":
            yield Curve(tuple(arm), component, "base", layers, values)
            continue
        before = cubes.get((arm[0], "base", "none", component))
        if before is None or before[0] != layers:
            raise DataError(
                f"{'/'.join(arm)}: the table of the untrained base {arm[0]}/base/none "
                f"is missing, or has not the layers of component {component!r}."
            )
        yield Curve(tuple(arm), component, "after", layers, values)
        yield Curve(tuple(arm), component, "change", layers, values - before[1])


def _cubes(
    table: pd.DataFrame, measure: str, names: list[str]
) -> dict[tuple[str, ...], tuple[list[int], Array]]:
    """Map arm and component to its layers and values of shape (items, layers, seeds)."""
    cubes, bad = {}, []
    places = pd.Index(names).get_indexer(table["item"])
    layer_of, seed_of = (table[name].to_numpy(int) for name in ("layer", "seed"))
    measured = table[measure].to_numpy(float)
    groups = table.groupby([*ARM, "component"]).indices
    for key, every in sorted(groups.items()):
        rows = every[places[every] >= 0]
        layers, at_layer = np.unique(layer_of[rows], return_inverse=True)
        seeds, at_seed = np.unique(seed_of[rows], return_inverse=True)
        values = np.full((len(names), len(layers), len(seeds)), np.nan)
        values[places[rows], at_layer, at_seed] = measured[rows]
        where = np.ravel_multi_index((places[rows], at_layer, at_seed), values.shape)
        if len(np.unique(where)) < len(where):
            bad.append(f"{'/'.join(key)}: an item has several rows for one layer and seed")
        elif not np.isfinite(values).all():
            bad.append(
                f"{'/'.join(key)}: {int((~np.isfinite(values)).sum())} of {values.size} values "
                f"of {measure!r} are missing or not finite"
            )
        cubes[key] = ([int(layer) for layer in layers], values)
    if bad:
        raise DataError(problems("tables of a mechanism do not fit together", bad))
    return cubes


def _layers(
    cube: Array, layers: list[int], groups: Groups, resampling: Resampling, permutations: int
) -> Iterator[dict[str, Any]]:
    """Yield the rows of one curve."""
    split = len(groups.exposed)
    exposed, twin = cube[:split], cube[split:]
    labels = np.arange(len(cube)) < split
    pairs = None if groups.pairs is None else groups.pairs * 2
    test = label_test(
        cube.mean(axis=2),
        labels,
        resampling.seed,
        pairs=pairs,
        permutations=permutations,
        level=resampling.level,
    )
    for place, layer in enumerate(layers):
        sides = exposed[:, place], twin[:, place]
        if groups.pairs is None:
            parts = difference_in_differences(*sides, resampling)
            estimates = {"exposed": parts.exposed, "twin": parts.twin, "difference": parts.did}
        else:
            values = {"exposed": sides[0], "twin": sides[1], "difference": sides[0] - sides[1]}
            estimates = {name: mean(side, resampling, "pairs") for name, side in values.items()}
        for contrast, estimate in estimates.items():
            row = {"contrast": contrast, "layer": layer, "value": estimate.value}
            row |= {"low": estimate.low, "high": estimate.high}
            row |= beside_null(test if contrast == "difference" else None, place)
            yield row | {"items": estimate.items, "seeds": estimate.seeds}


def beside_null(test: LayerTest | None, place: int) -> dict[str, Any]:
    """Return a layer's p-values and null band; None in each where nothing was tested."""
    columns = {"p": "p", "corrected": "corrected", "null_low": "max_low", "null_high": "max_high"}
    return {name: getattr(test, field)[place] if test else None for name, field in columns.items()}
