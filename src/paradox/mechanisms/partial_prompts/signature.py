"""The signatures of partial prompts: exposed items are completed, and training raises it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from paradox.mechanisms.tables.pairs import Array
from paradox.mechanisms.tables.signatures import Given, Part, Rows, by_arm, row
from paradox.mechanisms.tables.verdict import CEILING
from paradox.mechanisms.tables.words import BEYOND_CLEAN

# By greedy decoding, as published, and by samples.
MEASURES = ("exact_greedy", "exact")


class Completed(NamedTuple):
    """How far a model completes the questions."""

    seeds: list[int]
    values: Array  # shape (items, replicates, ratios); NaN where a question was not cut so


def completion(given: Given) -> Rows:
    """Yield a row ``completion: MEASURE`` per arm (2601.11061).

    Mean over the cuts of a question of the share that is completed word by word: larger for exposed
    items than for twins. The margin is a share of 1, the gap of a model that completes every
    exposed item and no twin; where twins leave less than that, there is no room.
    """
    for measure in MEASURES:
        for key, model in _models(given, measure).items():
            twins = np.nanmean(model.values[given.test.split :])
            part = _part(given, model.values, full=twins >= 1 - given.share)
            yield row(f"{given.name}: {measure}", key, [part], given.share)


def completion_rise(given: Given) -> Rows:
    """Yield a row ``completion_rise: MEASURE`` per trained arm (2601.11061).

    By how much the gap of `completion` grew in training, and by how much more than on the base that
    never saw the items. Where the untrained base completes so many exposed items that less than the
    margin is left, there is no room.
    """
    for measure in MEASURES:
        models, name = _models(given, measure), f"{given.name}: {measure}"
        for key in (key for key in models if key[1] != "base"):
            before = models[key[0], "base", "none", "base"].values
            full = np.nanmean(before[: given.test.split]) >= 1 - given.share
            change = models[key].values - before
            yield row(name, key, [_part(given, change, full)], given.share)
            clean = (given.clean or "", *key[1:])
            if key[0] == given.planted and clean in models:
                other = models[clean].values - models[clean[0], "base", "none", "base"].values
                seeds = [models[key].seeds, models[clean].seeds]
                shared = [seed for seed in seeds[0] if seed in seeds[1]]
                sides = [
                    values[:, [listed.index(seed) for seed in shared]]
                    for values, listed in zip((change, other), seeds, strict=True)
                ]
                part = _part(given, sides[0] - sides[1], full)
                yield row(f"{name}: {BEYOND_CLEAN}", key, [part], given.share)


def _models(given: Given, measure: str) -> dict[tuple[str, ...], Completed]:
    """Return what every arm completes, by its key, items in the order of the tester."""
    names = [*given.test.groups.exposed, *given.test.groups.twin]
    models = {}
    for key, rows in by_arm(given.table()):
        axes = [sorted(rows[name].unique()) for name in ("seed", "ratio")]
        wide = rows.pivot(index="item", columns=["seed", "ratio"], values=measure)
        # An item without any cut has no row.
        wide = wide.reindex(index=names, columns=[(s, r) for s in axes[0] for r in axes[1]])
        models[key] = Completed(axes[0], wide.to_numpy(float).reshape(-1, *map(len, axes)))
    return models


def _part(given: Given, values: Array, full: Any) -> Part:
    """Return exposed minus twins of the mean over cuts, pairs being cut alike."""
    values, split = values.copy(), given.test.split
    if given.test.groups.pairs is not None:
        lacks = np.isnan(values[:split]) | np.isnan(values[split:])
        values[np.concatenate([lacks, lacks])] = np.nan
    # Every training of an arm meets the same cuts.
    cut = ~np.isnan(values).all(axis=(1, 2))
    numbers = np.full(values.shape[:2], np.nan)
    numbers[cut] = np.nanmean(values[cut], axis=2)
    return given.test.test(numbers, "", cut)._replace(unable=CEILING if full else "")
