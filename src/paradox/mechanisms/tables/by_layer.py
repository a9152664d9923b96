"""Step ``by_layer``: per-item tables of a mechanism, summed up layer by layer.

Per arm, component, measure and layer: exposed items, their twins and the difference, at the states
``base``, ``after`` and ``change``. Intervals and ``p`` (of "not 0", at a layer that was named
beforehand) are of items crossed with replicates (`paradox.stats.crossed`).

``corrected`` asks something else: given these trainings, is the difference at a layer that was
found by looking larger than where labels mean nothing? They are permuted within pairs, and the
largest layer has to be beaten. ``null_low`` and ``null_high`` are the band that the difference
leaves exactly where ``corrected`` is small.
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
from paradox.stats.crossed import LEVEL, mean
from paradox.stats.layers import LayerTest, label_test
from paradox.tasks.api import ITEM_COLUMNS


def main(
    spec: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write the table of all arms.

    ``spec``: ``measures`` (columns of the tables), ``exposed_from``, ``bootstrap`` (its seed keys
    the relabellings) and ``permutations``. ``inputs``: ``tables``, one per arm and seed, the
    untrained bases among them; ``items``. ``outputs``: ``table``, a row per arm, component,
    measure, state, contrast and layer.
    """
    items = read_table(inputs["items"], ITEM_COLUMNS)
    tables = [read_table(Path(path), [*KEYS, *spec["measures"]]) for path in inputs["tables"]]
    chosen, seed = Groups(items, spec["exposed_from"]), spec["bootstrap"]["seed"]
    table = contrasts(tables, spec["measures"], chosen, seed, spec["permutations"])
    write_table(outputs["table"], table)
    progress("arms", len(tables), len(tables))


class Curve(NamedTuple):
    """What an arm has at one state."""

    arm: tuple[str, ...]
    component: str
    state: str  # ``base`` (the arm is an untrained base), ``after`` training, or the ``change``
    layers: list[int]
    seeds: list[int]  # of the replicates
    values: Array  # shape (items, layers, replicates)


def contrasts(
    tables: Sequence[pd.DataFrame],
    measures: Sequence[str],
    groups: Groups,
    seed: int,
    permutations: int,
) -> pd.DataFrame:
    """Return the rows of `main`'s table; arms in the order of their names. Raises as `curves`."""
    names = [*groups.exposed, *groups.twin]
    rows: list[dict[str, Any]] = []
    for measure in measures:
        for curve in curves(tables, measure, names):
            key = {**dict(zip(ARM, curve.arm, strict=True)), "component": curve.component}
            key |= {"measure": measure, "state": curve.state}
            rows += [{**key, **row} for row in _layers(curve, groups, seed, permutations)]
    return pd.DataFrame(rows)


def curves(tables: Sequence[pd.DataFrame], measure: str, names: list[str]) -> Iterator[Curve]:
    """Yield every arm and component at its states, in the order of their names.

    Raises `DataError` when an arm's untrained base is missing, or tables differ in items or layers.
    """
    cubes = _cubes(pd.concat(tables, ignore_index=True), measure, names)
    for (*arm, component), (layers, seeds, values) in cubes.items():
        if arm[1] == "base":
            yield Curve(tuple(arm), component, "base", layers, seeds, values)
            continue
        before = cubes.get((arm[0], "base", "none", component))
        if before is None or before[0] != layers:
            raise DataError(
                f"{'/'.join(arm)}: the table of the untrained base {arm[0]}/base/none "
                f"is missing, or has not the layers of component {component!r}."
            )
        yield Curve(tuple(arm), component, "after", layers, seeds, values)
        yield Curve(tuple(arm), component, "change", layers, seeds, values - before[2])


def _cubes(
    table: pd.DataFrame, measure: str, names: list[str]
) -> dict[tuple[str, ...], tuple[list[int], list[int], Array]]:
    """Map arm and component to its layers, seeds and values (items, layers, replicates)."""
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
        cubes[key] = (layers.tolist(), seeds.tolist(), values)
    if bad:
        raise DataError(problems("tables of a mechanism do not fit together", bad))
    return cubes


def _layers(curve: Curve, groups: Groups, seed: int, permutations: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of one curve."""
    split, cube = len(groups.exposed), curve.values
    labels = np.arange(len(cube)) < split
    pairs = None if groups.pairs is None else groups.pairs * 2
    options: dict[str, Any] = {"pairs": pairs, "permutations": permutations, "level": LEVEL}
    test = label_test(cube.mean(axis=2), labels, seed, **options)
    by_replicate = cube.swapaxes(1, 2)
    names = ("pairs", "pairs") if pairs else ("exposed", "twin")
    exposed, twin = mean(by_replicate[:split], names[0]), mean(by_replicate[split:], names[1])
    numbers = {"exposed": exposed, "twin": twin, "difference": exposed - twin}
    estimates = {contrast: number.estimates() for contrast, number in numbers.items()}
    for place, layer in enumerate(curve.layers):
        for contrast in numbers:
            estimate, tested = estimates[contrast][place], contrast == "difference"
            yield {
                "contrast": contrast,
                "layer": layer,
                "value": estimate.value,
                "low": estimate.low,
                "high": estimate.high,
                "p": estimate.differs if tested else None,
                **beside_null(test if tested else None, place),
                "items": estimate.items,
                "replicates": estimate.replicates,
            }


def beside_null(test: LayerTest | None, place: int) -> dict[str, float | None]:
    """Return what a test that looks at all layers says at one of them."""
    return {
        "corrected": test.corrected[place] if test else None,
        "null_low": test.max_low[place] if test else None,
        "null_high": test.max_high[place] if test else None,
    }
