"""How far each training drifted from the base: one number per measure and seed.

Each seed is compared with samples of the base that no other seed uses, or the base's sampling error
would stand in every change alike. *Toward the prior* is the mean over items of
sign(prior share - 1/2) x change, side and change from different halves of the base's samples: from
the same ones, an item that happened to look too direct would seem to fall.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paradox.errors import DataError, problems
from paradox.files import read_table

Array = NDArray[np.float64]
SIDES = [
    f"{side}_{sign}_{prior}"
    for side in ("above", "below")
    for sign in ("pos", "neg")
    for prior in ("high", "low")
]
CURVES = ["step", "entropy", *(f"band/{name}" for name in SIDES), "band/probability"]
LAST = 0.75  # the curves' last quarter counts as the end


@dataclass(frozen=True)
class Curves:
    """What one training logged in all its updates.

    `change` of entropy and probability is the mean over the last quarter of updates minus that over
    the first ones; `shares` are clip shares summed over updates: 1 is as many tokens as one update
    has.
    """

    updates: int
    change: dict[str, float]
    shares: dict[str, float]

    def share(self, *parts: str) -> float:
        """Return the sum of the shares whose names hold all `parts`."""
        return sum(v for name, v in self.shares.items() if set(parts) <= set(name.split("_")))


def blocks(base: Array, seeds: int) -> list[Array]:
    """Split the samples (items, samples) in a disjoint part per seed; `DataError` for too few."""
    size = base.shape[1] // seeds
    if not size:
        raise DataError(
            f"{seeds} seeds need as many samples of the base per item, each its own: found "
            f"{base.shape[1]} (key evaluation.samples; the drift toward the prior takes half)."
        )
    return [base[:, size * seed : size * (seed + 1)] for seed in range(seeds)]


def drift(base: Array, after: Array) -> Array:
    """Return the change of a share per seed.

    `base` is 0 or 1 per sample, shape (items, samples); `after` shares after training, (items,
    seeds).
    """
    before = [part.mean() for part in blocks(base, after.shape[1])]
    return after.mean(axis=0) - np.array(before)


def toward_prior(base: Array, after: Array) -> Array:
    """Return the mean over items of sign(prior share - 1/2) x change, per seed; see `drift`.

    An item whose prior share is 1/2 has no side and counts 0.
    """
    side, rest = sides(base)
    before = np.stack([part.mean(axis=1) for part in blocks(rest, after.shape[1])], axis=1)
    return (side[:, None] * (after - before)).mean(axis=0)


def sides(base: Array) -> tuple[Array, Array]:
    """Return each item's side of 1/2 by the first half of the base's samples, and the rest."""
    half = base.shape[1] // 2
    return np.sign(base[:, :half].mean(axis=1) - 0.5), base[:, half:]


def agreement(base: Array) -> float:
    """Return how often the halves of the base's samples put an item on the same side of 1/2.

    Chance is .5: items then hardly differ in their prior. NaN when no item has two sides.
    """
    one, rest = sides(base)
    other = np.sign(rest.mean(axis=1) - 0.5)
    both = (one != 0) & (other != 0)
    return float((one == other)[both].mean()) if both.any() else np.nan


def read_base(path: Path, items: Iterable[str], counts: pd.Series) -> dict[str, Array]:
    """Read ``direct`` and ``correct``, 0 or 1 of shape (items, samples), of the untrained base.

    `counts` are the samples that answered directly, per item, as the base's per-item table has
    them. A `DataError` is raised when items differ in their number of samples, or the counts are of
    others.
    """
    table = read_table(path, ["item", "sample", "mode", "correct"])
    table = table[table["sample"] >= 0].assign(direct=lambda t: t["mode"] == "recall")
    samples = {}
    for name in ("direct", "correct"):
        wide = table.pivot_table(index="item", columns="sample", values=name, aggfunc="first")
        values = wide.reindex(list(items)).to_numpy(float)
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).any(axis=1).sum())
            raise DataError(
                f"{path}: {bad} items lack samples that others have; needed: the same sample "
                "numbers for every item."
            )
        samples[name] = values
    if not np.array_equal(samples["direct"].sum(axis=1), counts.to_numpy(float)):
        raise DataError(
            f"{path}: column 'mode' does not give the counts of column 'recall' in the base's "
            "items.csv: the two files are of different runs."
        )
    return samples


def read_curves(path: Path, first: int) -> Curves:
    """Read what a training logged.

    A row is the mean over the updates since the row before, and counts as many times. `first`
    updates count as the start: a method that samples anew for each update has a row for each; one
    rollout of the others spans several. A `DataError` is raised when columns are missing or fields
    empty, or no row lies within the first updates.
    """
    table = read_table(path, CURVES)
    bad = [
        f"column {name!r} has {count} fields that are not finite numbers"
        for name in CURVES
        if (count := int((~np.isfinite(pd.to_numeric(table[name], errors="coerce"))).sum()))
    ]
    if bad:
        raise DataError(problems(f"{path}: malformed curves", bad))
    step = table["step"].to_numpy(int)
    weights = np.diff(step, prepend=0)
    updates = int(step[-1])
    start, end = step <= first, step > LAST * updates
    if (weights <= 0).any() or not start.any():
        raise DataError(
            f"{path}: column 'step' must rise and have a row at or before update {first}; found "
            f"{step[:3].tolist()} first."
        )
    change = {
        name: float(
            np.average(table.loc[end, column], weights=weights[end])
            - np.average(table.loc[start, column], weights=weights[start])
        )
        for name, column in (("probability", "band/probability"), ("entropy", "entropy"))
    }
    shares = {name: float(weights @ table[f"band/{name}"].to_numpy(float)) for name in SIDES}
    return Curves(updates, change, shares)
