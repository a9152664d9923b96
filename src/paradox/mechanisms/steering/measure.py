"""Step ``steering``: recall when a few MLP neurons are amplified or suppressed.

For every block half of the pairs (*discovery*) choose the neurons, by attribution
(`paradox.mechanisms.model.neurons`), exposed minus twins; other pairs are tested, beside random
sets of neurons matched in mean |activation| and length of what they write. Claim: 2601.11061.

========= ====================================================================================
table     per tested item, ``component`` (``all`` or ``answer`` positions, ``:`` and alpha) and
          layer: ``logp``, ``odds`` (log odds) and ``correct`` of the gold answer after the recall
          scaffold, and each one's ``_change`` from alpha 1
sets      on the `null_pairs`: means over exposed items and over twins of each set (-1: chosen,
          from 0 on random): changes at each of `null_doses`, ``monotone`` (the log odds rise with
          each dose) and ``switched`` (first choice at the largest dose only)
side      at ``all`` positions: ``chain``, the working of tested twins after its first token, and
          ``text``, documents of the corpus: ``logp`` per token, ``correct``: every token is first
neurons   per component and layer: the chosen ones, how well random sets match, and the Jaccard
          index of halves of the discovery pairs, beside sets and beside swapped labels
========= ====================================================================================
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paradox.files import read_table
from paradox.mechanisms.model.checkpoint import Checkpoint, last_checkpoint
from paradox.mechanisms.model.neurons import MEASURES, Profile, matched, profile, strongest, sweep
from paradox.mechanisms.model.recalls import Recall, recalls
from paradox.mechanisms.model.rerun import WHERE
from paradox.mechanisms.model.texts import Split, continued, documents, split
from paradox.mechanisms.tables.pairs import Array, item_rows
from paradox.models import device_name, pick_device
from paradox.progress import Progress
from paradox.seeds import keyed_rng, keyed_uniform
from paradox.stats.sets import expected_jaccard, jaccard
from paradox.tasks.api import CORPUS_COLUMNS


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Steer an arm's last checkpoint.

    ``spec``: ``arm``, ``task``, ``seed``, ``exposed_from`` and ``steering``. ``inputs``:
    ``manifest``, ``items`` and, where there is one, ``corpus`` of the arm's base. ``outputs``: the
    four tables.
    """
    settings = spec["steering"]
    checkpoint = last_checkpoint(spec, inputs, settings["dtype"])
    corpus = read_table(inputs["corpus"], CORPUS_COLUMNS) if "corpus" in inputs else None
    groups = split(checkpoint.items, spec["exposed_from"], settings, spec["seed"])
    progress.say(f"steering {len(groups.tested)} items on {device_name(pick_device())}")
    steered = Steering(checkpoint, groups, spec)
    tables: dict[str, list[pd.DataFrame]] = {"table": [], "sets": [], "neurons": []}
    for done, where in enumerate(WHERE, start=1):
        for name, table in steered.tables(where).items():
            tables[name].append(table)
        progress("components", done, len(WHERE) + 1, where)
    tables["side"] = [steered.side(corpus)]
    progress("components", len(WHERE) + 1, len(WHERE) + 1, "side effects")
    for name, parts in tables.items():
        checkpoint.write(outputs[name], *parts)


class Steering:
    """One model, its discovery and its tested items."""

    def __init__(self, checkpoint: Checkpoint, groups: Split, spec: dict[str, Any]) -> None:
        self.access, self.task, self.tokenizer = checkpoint[2:]
        self.split, self.seed, self.settings = groups, spec["seed"], spec["steering"]
        self.discovery = recalls(self.task, self.tokenizer, groups.discovery, self.seed)
        self.tested = recalls(self.task, self.tokenizer, groups.tested, self.seed)
        self.sets: dict[str, NDArray[np.int64]] = {}

    def tables(self, where: str) -> dict[str, pd.DataFrame]:
        """Return the tables ``table``, ``sets`` and ``neurons`` of one component."""
        settings, size = self.settings, self.settings["batch_size"]
        activity = profile(self.access, self.discovery, size, where)
        gaps = activity.attribution[::2] - activity.attribution[1::2]
        chosen = strongest(gaps.mean(axis=0), settings["neurons"])
        draws = settings["sets"], settings["nearest"]
        random = np.stack(matched(list(chosen), activity, *draws, self.seed, where))
        self.sets[where] = np.concatenate([chosen[:, None], random], axis=1)
        curves = sweep(self.access, self.tested, chosen[:, None], settings["doses"], size, where)
        null = [one for one, used in zip(self.tested, self.split.null, strict=True) if used]
        doses = sorted({*settings["null_doses"], 1.0})
        many = sweep(self.access, null, self.sets[where], doses, size, where)
        return {
            "table": self._items(where, curves[:, :, 0]),
            "sets": _sets(where, many, doses),
            "neurons": _neurons(
                where, gaps, chosen, random, activity, settings["splits"], self.seed
            ),
        }

    def side(self, corpus: pd.DataFrame | None) -> pd.DataFrame:
        """Return the table ``side``."""
        settings, sets = self.settings, self.sets["all"]
        tables = []
        doses = sorted({*settings["null_doses"], 1.0})
        for what, texts in self.texts(corpus).items():
            for first, last, alphas in (
                (0, 1, settings["doses"]),
                (1, 1 + settings["text_sets"], doses),
            ):
                part = sets[:, first:last]
                values = sweep(self.access, texts, part, alphas, settings["batch_size"], "all")
                names = [text.item for text in texts]
                axes = [range(part.shape[0]), range(first - 1, last - 1), alphas, names]
                index = pd.MultiIndex.from_product(axes, names=["layer", "set", "dose", "item"])
                columns = {m: values[n].ravel() for n, m in enumerate(MEASURES) if m != "odds"}
                table = pd.DataFrame(columns, index=index).reset_index()
                table.insert(0, "what", what)
                tables.append(table)
        return pd.concat(tables, ignore_index=True)

    def texts(self, corpus: pd.DataFrame | None) -> dict[str, list[Recall]]:
        """Return chains and documents as prompts whose answers are scored."""
        most, by_kind = self.settings["texts"], {}
        twins = self.split.tested[1::2]
        twins = twins[twins["worked"].notna()]
        order = [keyed_uniform("chain", self.seed, item) for item in twins["item"]]
        rows = twins.iloc[np.argsort(order)[:most]]
        by_kind["chain"] = [
            continued(self.tokenizer, row.item, self.task.prompt(row.question), row.worked)
            for row in rows.itertuples()
        ]
        if corpus is not None:
            by_kind["text"] = documents(self.tokenizer, corpus, self.seed, most)
        return {what: texts for what, texts in by_kind.items() if texts}

    def _items(self, where: str, values: Array) -> pd.DataFrame:
        doses, tables = list(self.settings["doses"]), []
        usual = values[:, :, doses.index(1)]
        for place, dose in enumerate(doses):
            at = values[:, :, place]
            columns = {name: at[n].ravel() for n, name in enumerate(MEASURES)}
            columns |= {f"{m}_change": (at[n] - usual[n]).ravel() for n, m in enumerate(MEASURES)}
            layers = range(values.shape[1])
            tables.append(item_rows(self.split.tested, f"{where}:{dose:g}", layers, columns))
        return pd.concat(tables, ignore_index=True)


# --- tables -------------------------------------------------------------------------------


def modes(values: Array) -> dict[str, NDArray[np.bool_]]:
    """Return which items are ``monotone`` and which ``switched`` on, without the axis of doses.

    `values`: `MEASURES` on the first axis, rising doses on the one before items.
    """
    odds, correct = values[MEASURES.index("odds")], values[MEASURES.index("correct")] > 0
    monotone = (np.diff(odds, axis=-2) > 0).all(axis=-2)
    return {"monotone": monotone, "switched": correct[..., -1, :] & ~correct[..., :-1, :].any(-2)}


def _sets(where: str, values: Array, doses: list[float]) -> pd.DataFrame:
    """Return the means of each set; items are exposed, twin, exposed, twin ..."""
    layers, sets = values.shape[1:3]
    usual = values[:, :, :, [doses.index(1)]]
    cells = [
        (name, dose, (values - usual)[n, :, :, place])
        for n, name in enumerate(MEASURES)
        for place, dose in enumerate(doses)
        if dose != 1
    ]
    cells += [(name, np.nan, shares.astype(float)) for name, shares in modes(values).items()]
    index = pd.MultiIndex.from_product([range(layers), range(-1, sets - 1)], names=["layer", "set"])
    tables = []
    for name, dose, at in cells:
        sides = {"exposed": at[..., ::2].mean(-1).ravel(), "twin": at[..., 1::2].mean(-1).ravel()}
        table = pd.DataFrame(sides, index=index).reset_index()
        tables.append(table.assign(component=where, measure=name, dose=dose))
    columns = ["component", "layer", "set", "measure", "dose", "exposed", "twin"]
    return pd.concat(tables, ignore_index=True)[columns]


def _neurons(
    where: str,
    gaps: Array,
    chosen: NDArray[np.int64],
    random: NDArray[np.int64],
    activity: Profile,
    splits: int,
    seed: int,
) -> pd.DataFrame:
    rows = []
    same = {real: overlaps(gaps, chosen.shape[1], splits, seed, where, real) for real in (1, 0)}
    for layer, neurons in enumerate(chosen):
        row: dict[str, Any] = {"component": where, "layer": layer}
        row["neurons"] = " ".join(map(str, neurons))
        row["attribution"] = float(gaps[:, layer, neurons].mean(axis=0).sum())
        for name, values in (("activity", activity.activity), ("norm", activity.norms)):
            row[name] = float(values[layer, neurons].mean())
            row[f"random_{name}"] = float(values[layer, random[layer]].mean())
        row["jaccard"] = float(same[1][:, layer].mean())
        row["expected"] = expected_jaccard(gaps.shape[2], chosen.shape[1])
        swapped = same[0][:, layer]
        row["swapped"] = float(swapped.mean())
        row["swapped_high"] = float(np.quantile(swapped, 0.95))
        row["p"] = (1 + int((swapped >= row["jaccard"]).sum())) / (1 + splits)
        rows.append(row)
    return pd.DataFrame(rows)


def overlaps(gaps: Array, count: int, splits: int, seed: int, where: str, real: int) -> Array:
    """Return the Jaccard index of two halves' choices, shape (splits, layers).

    `gaps`: attribution, exposed minus twin: (pairs, layers, neurons).
    `real`: 0 swaps exposed item and twin in a random half of the pairs.
    """
    indices = np.zeros((splits, gaps.shape[1]))
    for number in range(splits):
        rng = keyed_rng("halves", seed, where, number)
        order = rng.permutation(len(gaps))
        signs = np.ones(len(gaps)) if real else rng.integers(0, 2, len(gaps)) * 2.0 - 1
        sides = [
            strongest(np.tensordot(signs[rows], gaps[rows], 1), count)
            for rows in np.array_split(order, 2)
        ]
        indices[number] = [jaccard(*two) for two in zip(*sides, strict=True)]
    return indices
