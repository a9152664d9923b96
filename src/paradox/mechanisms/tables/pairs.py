"""Exposed items and their twins in the tables of mechanisms: columns, groups, pairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paradox.errors import DataError

ARM = ["base", "method", "reward"]
KEYS = [*ARM, "seed", "step", "item", "component", "layer"]
Array = NDArray[np.float64]


def item_rows(
    items: pd.DataFrame, component: str, layers: Iterable[int], columns: Mapping[str, Any]
) -> pd.DataFrame:
    """Return a row per item and layer; `columns`: name -> values, shape (layers, items)."""
    numbers = list(layers)
    table = pd.concat([items[["item", "group", "exposure"]]] * len(numbers), ignore_index=True)
    table["component"] = component
    table["layer"] = np.repeat(numbers, len(items))
    for name, values in columns.items():
        table[name] = np.asarray(values).reshape(len(table))
    return table


class Groups:
    """Exposed items and the twins they are compared with.

    `exposed`, `twin`: names of the items; where `pairs` is not None, in the same order of pairs.
    `pairs`: the pair of each exposed item, or None where an item has no twin of its own.
    """

    def __init__(self, items: pd.DataFrame, exposed_from: int) -> None:
        counts = (items["exposure"] >= exposed_from) | items["exposure"].isna()
        exposed = items[(items["group"] == "exposed") & counts]
        twin = items[items["group"] == "twin"]
        if exposed.empty or twin.empty:
            raise DataError(
                f"the item table has {len(exposed)} exposed items (with {exposed_from} exposures "
                f"or more) and {len(twin)} twins; both are needed."
            )
        twin_of_pair = twin[twin["pair"].notna()].set_index("pair")["item"]
        self.exposed = exposed["item"].tolist()
        paired = twin_of_pair.index.is_unique and exposed["pair"].is_unique
        self.pairs: list[str] | None = None
        self.twin = twin["item"].tolist()
        if paired and exposed["pair"].isin(twin_of_pair.index).all():
            self.pairs = exposed["pair"].astype(str).tolist()
            self.twin = twin_of_pair.loc[exposed["pair"]].tolist()


class Pairs:
    """Exposed items with their own twins.

    `items`: names of all exposed ones, then of their twins in the same order.
    `names`, `exposures`: of the pairs.
    `counts`: which pairs have exposures enough to count; `counted`: names of these.

    Raises `DataError` when an exposed item has no twin of its own.
    """

    def __init__(self, items: pd.DataFrame, exposed_from: int) -> None:
        groups = Groups(items, 0)
        if groups.pairs is None:
            raise DataError(
                "column 'pair' of the item table: not every exposed item has a twin of its own, "
                "and this analysis keeps pairs together. It needs planted items; leave it out "
                "for benchmarks whose items have no pairs."
            )
        self.items = [*groups.exposed, *groups.twin]
        self.names = groups.pairs
        self.exposures = items.set_index("item")["exposure"].loc[groups.exposed].to_numpy()
        counted = set(Groups(items, exposed_from).exposed)
        self.counts = np.array([name in counted for name in groups.exposed])
        self.counted = [n for n, c in zip(self.names, self.counts, strict=True) if c]

    def sides(self, values: Array) -> Array:
        """Return values of `items`, shape (items, ...), as (pairs, 2, the rest)."""
        return values.reshape(2, len(self.names), -1).swapaxes(0, 1)
