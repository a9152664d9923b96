"""Step ``recovery``: what share of the gap between two runs a patch closes, over all arms.

``change``: patched minus unpatched target run, mean over items. ``recovery``: the sum of changes
over the sum of gaps, a gap being unpatched source minus unpatched target run; empty, and
``defined`` false, where the interval of the mean gap holds zero. ``minus``: the null that was
subtracted item by item. Intervals and ``p`` (of "not 0", at a layer that was named beforehand) are
of items crossed with replicates, pairs whole, numerator and denominator together
(`paradox.stats.crossed`).
``corrected``, ``null_low`` and ``null_high``: labels permuted within pairs, given these trainings;
empty where relabelled gaps change their sign.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from paradox.errors import DataError
from paradox.files import read_table, write_table
from paradox.mechanisms.tables.by_layer import beside_null
from paradox.mechanisms.tables.pairs import ARM, KEYS, Array, Groups
from paradox.mechanisms.tables.words import NULLS
from paradox.progress import Progress
from paradox.stats.crossed import LEVEL, Estimate, mean
from paradox.stats.layers import LayerTest, label_test
from paradox.stats.ratios import ratio_test
from paradox.tasks.api import ITEM_COLUMNS

PARTS = ("kind", "positions", "direction", "effect", "source")
KINDS = ("change", "target", "source")


@dataclass(frozen=True)
class Curve:
    """One component, measure and arm."""

    # `items`, `layers`: names of the rows and numbers of the columns.
    items: list[str]
    layers: list[int]
    # `change`, `gap`: shapes (items, layers, seeds) and (items, seeds).
    change: Array
    gap: Array


@dataclass(frozen=True)
class How:
    """How all curves are summed up."""

    groups: Groups
    seed: int  # keys the relabellings
    permutations: int


def main(
    spec: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write the table of all arms.

    ``spec``: ``measures`` (such as ``gold_logp``), ``exposed_from``, ``bootstrap`` (its seed keys
    the relabellings) and ``permutations``. ``inputs``: ``tables`` of one mechanism, one per arm and
    seed; ``items``. ``outputs``: ``table``, a row per arm, component, null, measure, quantity,
    contrast and layer.
    """
    items = read_table(inputs["items"], ITEM_COLUMNS)
    groups, seed = Groups(items, spec["exposed_from"]), spec["bootstrap"]["seed"]
    settings = How(groups, seed, spec["permutations"])
    columns = [f"{measure}_{kind}" for measure in spec["measures"] for kind in KINDS]
    arms: dict[tuple[str, ...], list[Path]] = {}
    for path in map(Path, inputs["tables"]):
        first = read_table(path, [*KEYS, *columns]).iloc[0]
        arms.setdefault(tuple(first[name] for name in ARM), []).append(path)
    rows: list[dict[str, Any]] = []
    for done, (arm, paths) in enumerate(sorted(arms.items()), start=1):
        tables = [read_table(path) for path in paths]
        key = {**dict(zip(ARM, arm, strict=True)), "state": "base" if arm[1] == "base" else "after"}
        rows += ({**key, **row} for row in summaries(tables, spec["measures"], settings))
        progress("arms", done, len(arms))
    write_table(outputs["table"], pd.DataFrame(rows))


def summaries(
    tables: Iterable[pd.DataFrame], measures: Iterable[str], settings: How
) -> Iterator[dict[str, Any]]:
    """Yield the rows of one arm from the tables of its seeds."""
    table = pd.concat(tables, ignore_index=True)
    components = {name: rows for name, rows in table.groupby("component", sort=False)}
    for component, rows in components.items():
        whole = dict(zip(PARTS, str(component).split(":"), strict=True))
        for measure in measures:
            numbers = curve(rows, measure, str(component))
            key = {**whole, "measure": measure}
            yield from ({**key, "minus": "none", **row} for row in summary(numbers, settings))
            for null in NULLS.get(whole["source"], ()):
                name = ":".join([*str(component).split(":")[:-1], null])
                if name in components:
                    other = curve(components[name], measure, name)
                    less = replace(numbers, change=numbers.change - other.change)
                    yield from ({**key, "minus": null, **row} for row in summary(less, settings))


def curve(rows: pd.DataFrame, measure: str, component: str) -> Curve:
    """Return one component's numbers.

    Raises `DataError` when an item lacks a layer or a seed, has it twice, or a value is not finite.
    """
    names = [f"{measure}_{kind}" for kind in KINDS]
    axes = [sorted(rows[name].unique()) for name in ("item", "layer", "seed")]
    shape = tuple(map(len, axes))
    places = rows[["item", "layer", "seed"]]
    values = rows.sort_values(["item", "layer", "seed"])[names].to_numpy(float)
    if len(rows) != np.prod(shape) or places.duplicated().any() or not np.isfinite(values).all():
        arm = "/".join(map(str, rows.iloc[0][ARM]))
        raise DataError(
            f"{arm}: component {component!r}, measure {measure!r}: {len(rows)} rows for "
            f"{shape[0]} items, {shape[1]} layers and {shape[2]} seeds, or values not finite; "
            "every item needs exactly one finite value for each."
        )
    change, target, source = np.moveaxis(values.reshape(*shape, len(KINDS)), -1, 0)
    return Curve(list(axes[0]), [int(n) for n in axes[1]], change, (source - target)[:, 0])


def summary(curve: Curve, settings: How) -> Iterator[dict[str, Any]]:
    """Yield the rows of one curve: both quantities, all contrasts, all layers."""
    groups = settings.groups
    place = {name: row for row, name in enumerate(curve.items)}
    sides: dict[str, list[int]]
    if groups.pairs is None:
        sides = {
            side: [place[name] for name in names if name in place]
            for side, names in (("exposed", groups.exposed), ("twin", groups.twin))
        }
    else:
        both = [
            (place[one], place[other])
            for one, other in zip(groups.exposed, groups.twin, strict=True)
            if one in place and other in place
        ]
        sides = {side: [row[n] for row in both] for n, side in enumerate(("exposed", "twin"))}
    if not all(sides.values()):
        raise DataError("a table has no exposed items, no twins, or no whole pairs.")
    name = {side: "pairs" if groups.pairs else side for side in sides}
    by_replicate = curve.change.swapaxes(1, 2)
    below = np.repeat(curve.gap[..., None], len(curve.layers), axis=2)
    change = {side: mean(by_replicate[rows], name[side]) for side, rows in sides.items()}
    gap = {side: mean(below[rows], name[side]) for side, rows in sides.items()}
    share = {side: change[side] / gap[side] for side in sides}
    for numbers in (change, share, gap):
        numbers["difference"] = numbers["exposed"] - numbers["twin"]
    gaps = {contrast: number[0].estimate() for contrast, number in gap.items()}
    defined = {side: gaps[side].clear_of_zero for side in sides}
    defined["difference"] = all(defined.values())
    tests = _tests(curve, sides, settings, defined["difference"])
    for quantity, contrasts in (("recovery", share), ("change", change)):
        for contrast, number in contrasts.items():
            known = quantity == "change" or defined[contrast]
            test = tests[quantity] if contrast == "difference" else None
            key = {"quantity": quantity, "contrast": contrast, "defined": defined[contrast]}
            key |= {"gap": gaps[contrast].value, "gap_low": gaps[contrast].low}
            key |= {"gap_high": gaps[contrast].high, "items": number.items}
            key |= {"replicates": number.replicates}
            estimates = number.estimates() if known else [None] * len(curve.layers)
            for place, estimate in enumerate(estimates):
                ends = _ends(estimate, contrast == "difference")
                yield {**key, "layer": curve.layers[place], **ends, **beside_null(test, place)}


def _tests(
    curve: Curve, sides: dict[str, list[int]], settings: How, defined: bool
) -> dict[str, LayerTest | None]:
    rows = [*sides["exposed"], *sides["twin"]]
    labels = np.arange(len(rows)) < len(sides["exposed"])
    # Pairs that are not in the table have no names here; only equality within a pair matters.
    pairs = None if settings.groups.pairs is None else [f"{n}" for n in range(len(rows) // 2)] * 2
    change, gap = curve.change[rows].mean(axis=2), curve.gap[rows].mean(axis=1)
    options: dict[str, Any] = {"pairs": pairs, "permutations": settings.permutations}
    options["level"], key = LEVEL, settings.seed
    return {
        "change": label_test(change, labels, key, **options),
        "recovery": ratio_test(change, gap, labels, key, **options) if defined else None,
    }


def _ends(estimate: Estimate | None, tested: bool) -> dict[str, float | None]:
    if estimate is None:
        return dict.fromkeys(("value", "low", "high", "p"))
    ends = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return {**ends, "p": estimate.differs if tested else None}
