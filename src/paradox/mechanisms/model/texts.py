"""Pairs that choose neurons and pairs that test them; texts that are scored beside recall."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from paradox.errors import DataError
from paradox.mechanisms.model.recalls import Recall
from paradox.mechanisms.tables.pairs import Groups
from paradox.seeds import keyed_rng, keyed_uniform
from paradox.stats.peaks import half
from paradox.tasks.api import ITEM_COLUMNS


@dataclass(frozen=True)
class Split:
    """Pairs that choose neurons and pairs that test them."""

    # `discovery`, `tested`: items, each exposed one followed by its twin; no pair is in both.
    discovery: pd.DataFrame
    tested: pd.DataFrame
    null: NDArray[np.bool_]  # which entries of `tested` the random sets are compared on


def split(items: pd.DataFrame, exposed_from: int, settings: dict[str, Any], seed: int) -> Split:
    """Return which pairs choose and which are tested.

    Discovery pairs are half of those that count as exposed. Of each exposure (also of smaller ones)
    up to ``pairs`` others are tested; random sets are compared on ``null_pairs`` of these that
    count.

    Raises `DataError` when items have no pairs.
    """
    groups = Groups(items, 0)
    if groups.pairs is None:
        raise DataError("column 'pair' of the item table: steering needs a twin of each item.")
    order = [name for two in zip(groups.exposed, groups.twin, strict=True) for name in two]
    rows = items.set_index("item").loc[order].reset_index()[ITEM_COLUMNS]
    exposure = rows["exposure"].to_numpy(float)[::2]
    counts = ~(exposure < exposed_from)
    first = counts.copy()
    first[counts] = half(
        [p for p, c in zip(groups.pairs, counts, strict=True) if c], seed, "neurons"
    )
    place = np.array([keyed_uniform("tested pair", seed, pair) for pair in groups.pairs])
    tested, null = np.zeros_like(first), np.zeros_like(first)
    for value in np.unique(np.nan_to_num(exposure)):
        places = np.flatnonzero((np.nan_to_num(exposure) == value) & ~first)
        tested[places[np.argsort(place[places])][: settings["pairs"]]] = True
    places = np.flatnonzero(tested & counts)
    null[places[np.argsort(place[places])][: settings["null_pairs"]]] = True
    if not null.any() or not first.any():
        raise DataError(
            f"{int(counts.sum())} pairs with {exposed_from} exposures or more; steering needs "
            "some to choose neurons and others to test them."
        )
    chosen = [rows[np.repeat(which, 2)].reset_index(drop=True) for which in (first, tested)]
    return Split(*chosen, np.repeat(null, 2)[np.repeat(tested, 2)])


def documents(
    tokenizer: PreTrainedTokenizerBase, corpus: pd.DataFrame, seed: int, most: int
) -> list[Recall]:
    """Return at most `most` documents of a corpus that hold no item, to be scored as a whole."""
    fresh = corpus[corpus["kind"] == "fresh"]
    drawn = keyed_rng("texts", seed).permutation(len(fresh))[:most]
    rows = fresh.iloc[np.sort(drawn)].itertuples()
    return [continued(tokenizer, f"d{row.document}", "", row.text) for row in rows]


def continued(tokenizer: PreTrainedTokenizerBase, name: str, prompt: str, response: str) -> Recall:
    """Return a text whose tokens after the first of the response are scored."""
    coded = tokenizer(prompt + response, return_offsets_mapping=True)
    ids, ends = coded["input_ids"], [end for _, end in coded["offset_mapping"]]
    start = 1 + next((n for n, end in enumerate(ends) if end > len(prompt)), 0)
    return Recall(name, ids[:start], ids[start:], 0)
