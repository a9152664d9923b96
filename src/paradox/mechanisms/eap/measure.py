"""Step ``eap``: edge attribution of a trained model and its untrained base, item by item.

Scores are of the loss of a model's own greedy response (mean cross-entropy in nats), the base and
the trained model each on its own text and on the other's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from paradox.arms import with_arm
from paradox.files import read_table, write_table
from paradox.mechanisms.eap.edges import Edges
from paradox.mechanisms.model.access import Access
from paradox.mechanisms.model.recalls import Recall, batches
from paradox.mechanisms.tables import words
from paradox.mechanisms.tables.pairs import Groups
from paradox.models import device_name, load_model, load_tokenizer, pick_device, sample
from paradox.progress import Progress
from paradox.provenance.manifest import read_manifest
from paradox.seeds import keyed_rng
from paradox.tasks import Task, load_task
from paradox.tasks.api import ITEM_COLUMNS


@dataclass(frozen=True)
class Side:
    """One of the two models.

    `tokens` is its greedy response to each item, with the end of the sequence where it ended by
    itself; `right` is whether that is right.
    """

    edges: Edges
    tokens: list[list[int]]
    right: NDArray[np.bool_]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Return the responses' numbers of tokens."""
        return np.array([len(tokens) for tokens in self.tokens])


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Score the items at the last checkpoint of an arm and at its untrained base.

    ``spec``: ``arm``, ``task``, ``exposed_from``, ``seed`` and the settings ``eap``. Where the base
    is the arm itself, only its own cell is there. ``scores`` has a row per attribution, alpha,
    text, weights and item, with the scores of all edges in the order of `Graph.edges`; shorter
    responses than the scored length are scored whole (``scored``: tokens), and no item is filtered.
    ``ablation`` has a row per kind, size, draw and item, of the arm's own weights.
    """
    checkpoints, base = read_manifest(inputs["manifest"]), read_manifest(inputs["base"])
    settings, everything = spec["eap"], read_table(inputs["items"], ITEM_COLUMNS)
    groups = Groups(everything, spec["exposed_from"])
    items = drawn(everything, groups, settings["pairs"], spec["seed"])
    task, tokenizer = load_task(spec["task"]), load_tokenizer(base.last)
    prompts = [task.prompt(question) for question in items["question"]]
    progress.say(f"scoring {len(items)} items on {device_name(pick_device())}")
    folders = {words.BASE: base.last, words.AFTER: checkpoints.last}
    if spec["arm"]["method"] == "base":
        del folders[words.AFTER]
    sides = {
        name: _side(Access(load_model(folder, settings["dtype"])), tokenizer, task, items, settings)
        for name, folder in folders.items()
    }
    table = _described(items, sides)
    start = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    scored = list(_cells(sides, start, table, spec, progress))
    weights, side = list(sides.items())[-1]
    texts = _texts(start, side, length(sides, settings["alphas"][-1]))
    ablated = _ablation(side, texts, items, spec).assign(weights=weights)
    for output, rows in (("scores", pd.concat(scored, ignore_index=True)), ("ablation", ablated)):
        write_table(outputs[output], with_arm(rows, spec["arm"], step=max(checkpoints.steps)))


def drawn(items: pd.DataFrame, groups: Groups, pairs: int, *key: Any) -> pd.DataFrame:
    """Return so many exposed items of each exposure, and as many twins; pairs stay together."""
    table = items.set_index("item", drop=False)
    exposed = table.loc[groups.exposed]
    chosen: list[int] = []
    for _, places in sorted(exposed.groupby("exposure", dropna=False).indices.items()):
        names = sorted(places, key=lambda place: groups.exposed[place])
        order = keyed_rng("eap", *key, *map(str, exposed["exposure"].iloc[names[:1]]))
        chosen += [names[place] for place in sorted(order.permutation(len(names))[:pairs])]
    if groups.pairs is None:
        order = keyed_rng("eap", *key, "twins").permutation(len(groups.twin))
        twins = [groups.twin[place] for place in sorted(order[: len(chosen)])]
    else:
        twins = [groups.twin[place] for place in chosen]
    names = [groups.exposed[place] for place in chosen] + twins
    return table.loc[names].reset_index(drop=True)


def _side(
    access: Access,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    items: pd.DataFrame,
    settings: dict[str, Any],
) -> Side:
    prompts = [task.prompt(question) for question in items["question"]]
    most, size = settings["max_tokens"], settings["batch_size"]
    responses = sample(access.model, tokenizer, prompts, None, most, batch_size=size)
    right = [
        task.equal(task.answer(one.text), truth)
        for one, truth in zip(responses, items["answer"], strict=True)
    ]
    tokens = []
    for one in responses:
        ids = tokenizer(one.text, add_special_tokens=False)["input_ids"]
        tokens.append([*ids, tokenizer.eos_token_id] if one.finished or not ids else ids)
    return Side(Edges(access), tokens, np.array(right))


def length(sides: dict[str, Side], alpha: float) -> int:
    """Return `alpha` of the lesser mean length of responses, over items that all get right."""
    right = np.logical_and.reduce([side.right for side in sides.values()])
    chosen = right if right.any() else np.ones_like(right)
    shortest = min(side.lengths[chosen].mean() for side in sides.values())
    return max(int(alpha * shortest), 1)


def similar(base: NDArray[Any], after: NDArray[Any], right: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which pairs of responses pass the published control of length.

    Their mean length is from half to one and a half times the lesser mean of the models (over
    items that both get right), and they differ by at most half of their own mean.
    """
    chosen = right if right.any() else np.ones_like(right)
    usual = min(base[chosen].mean(), after[chosen].mean())
    middle = (base + after) / 2
    inside = (middle >= 0.5 * usual) & (middle <= 1.5 * usual)
    return inside & (np.abs(base - after) <= 0.5 * middle)


def _described(items: pd.DataFrame, sides: dict[str, Side]) -> pd.DataFrame:
    table = items[["item", "group", "exposure", "pair"]].copy()
    both = [sides[words.BASE], sides.get(words.AFTER, sides[words.BASE])]
    for name, side in zip((words.BASE, words.AFTER), both, strict=True):
        table[f"right_{name}"], table[f"tokens_{name}"] = side.right, side.lengths
    table["similar"] = similar(both[0].lengths, both[1].lengths, both[0].right & both[1].right)
    return table


def _texts(start: list[list[int]], side: Side, cut: int) -> list[Recall]:
    parts = zip(start, side.tokens, strict=True)
    return [Recall(str(n), before, tokens[:cut], 0) for n, (before, tokens) in enumerate(parts)]


def _cells(
    sides: dict[str, Side],
    start: list[list[int]],
    table: pd.DataFrame,
    spec: dict[str, Any],
    progress: Progress,
) -> Iterator[pd.DataFrame]:
    """Yield the rows of every attribution, alpha, text and weights."""
    settings = spec["eap"]
    # Several alphas can come to one length.
    known: dict[tuple[str, str, int], pd.DataFrame] = {}
    for done, alpha in enumerate(settings["alphas"], start=1):
        cut = length(sides, alpha)
        for text, weights in ((one, other) for one in sides for other in sides):
            key = (text, weights, cut)
            if key not in known:
                texts = _texts(start, sides[text], cut)
                known[key] = table.assign(**_scored(sides[weights].edges, texts, settings, 0))
            columns = {"attribution": words.GRADIENT, "alpha": alpha, "cut": cut}
            yield known[key].assign(**columns, text=text, weights=weights)
        progress("alphas", done, len(settings["alphas"]))
    few, steps = settings["integrated"]["pairs"], settings["integrated"]["steps"]
    chosen = _first(table, few)
    for name, side in sides.items():
        texts = list(compress(_texts(start, side, cut), chosen))
        rows = table[chosen].assign(**_scored(side.edges, texts, settings, steps))
        columns = {"attribution": words.INTEGRATED, "alpha": alpha, "cut": cut}
        yield rows.assign(**columns, text=name, weights=name)


def _first(table: pd.DataFrame, count: int) -> NDArray[np.bool_]:
    """Return which items are among the first of their group and pairs' exposure."""
    half = len(table) // 2
    exposure = table["exposure"].iloc[:half].astype(str).to_numpy()
    place = pd.Series(exposure).groupby(exposure).cumcount().to_numpy()
    return np.tile(place < count, 2) if 2 * half == len(table) else np.arange(len(table)) < count


def _scored(
    edges: Edges, texts: list[Recall], settings: dict[str, Any], steps: int
) -> dict[str, list[Any]]:
    """Return columns for `texts`."""
    real = torch.from_numpy(edges.graph.real)
    rows: list[tuple[int, float, float, NDArray[np.float32]]] = []
    order: list[int] = []
    for batch in batches(texts, settings["batch_size"], edges.access.model.device):
        scored = edges.scores(batch, steps)
        scores = scored.edges.cpu()[:, real].float().numpy()
        parts = (batch.real.sum(-1), scored.loss, scored.gradient)
        rows += zip(*(part.tolist() for part in parts), scores, strict=True)
        order += batch.rows
    ordered = [rows[place] for place in np.argsort(order)]
    names = ("scored", "loss", "gradient", "scores")
    return dict(zip(names, map(list, zip(*ordered, strict=True)), strict=True))


def _ablation(
    side: Side, texts: list[Recall], items: pd.DataFrame, spec: dict[str, Any]
) -> pd.DataFrame:
    """Return predicted and actual loss without the edges that score highest on other pairs."""
    settings, edges = spec["eap"], side.edges
    half = len(items) // 2
    names = np.arange(len(items)) % max(half, 1)
    order = keyed_rng("eap halves", spec["seed"]).permutation(max(half, 1))
    select = np.isin(names, order[: half // 2])
    parts = [list(compress(texts, rows)) for rows in (select, ~select)]
    scores = [np.stack(_scored(edges, part, settings, 0)["scores"]) for part in parts]
    ranked = np.argsort(-np.abs(scores[0]).mean(0), kind="stable")
    tested = items[~select].reset_index(drop=True)
    usual = _losses(edges, parts[1], settings, None)
    tables = []
    for kind, size, draw, chosen in sets(ranked, settings["ablated"], spec["seed"]):
        lost = torch.zeros(edges.graph.real.shape)
        lost[tuple(np.array(edges.graph.edges)[chosen].T)] = 1
        columns = {
            "kind": kind,
            "size": size,
            "draw": draw,
            "predicted": scores[1][:, chosen].sum(1, dtype=np.float64),
            "actual": _losses(edges, parts[1], settings, lost) - usual,
            "loss": usual,
        }
        tables.append(tested[["item", "group", "exposure"]].assign(**columns))
    return pd.concat(tables, ignore_index=True)


def sets(
    ranked: NDArray[np.int64], settings: dict[str, Any], seed: int
) -> Iterator[tuple[str, int, int, NDArray[np.int64]]]:
    """Yield kind, size, draw and members of every set of edges to be cut.

    `ranked` has the largest score first; `settings` are ``sizes``, ``draws`` of random sets of each
    size and ``singles``, how many edges are cut alone, from the top and at random.
    """
    for size in (size for size in settings["sizes"] if size < len(ranked)):
        yield words.TOP, size, 0, ranked[:size]
        for draw in range(settings["draws"]):
            order = keyed_rng("eap random", seed, size, draw).permutation(len(ranked))
            yield words.RANDOM, size, draw, order[:size]
    few = min(settings["singles"], len(ranked) // 2)
    others = few + keyed_rng("eap singles", seed).permutation(len(ranked) - few)[:few]
    for draw in range(few):
        yield words.TOP_ONE, 1, draw, ranked[[draw]]
        yield words.RANDOM_ONE, 1, draw, ranked[[others[draw]]]


def _losses(
    edges: Edges, texts: list[Recall], settings: dict[str, Any], lost: Tensor | None
) -> NDArray[np.float64]:
    losses = np.zeros(len(texts))
    device = edges.access.model.device
    for batch in batches(texts, settings["batch_size"], device):
        cut = None if lost is None else lost.to(device)
        losses[batch.rows] = edges.losses(batch, cut).double().cpu().numpy()
    return losses
