"""States of paired items along the layers, and how differently exposed items and twins move.

A *motion* is exposed minus twin of what each block adds, pair by pair: of the states themselves
at some place, or of a flow that was fitted to them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from paradox.mechanisms.model.access import RESID_POST, RESID_PRE, Access, Node
from paradox.mechanisms.model.recalls import Recall, batches, recalls
from paradox.mechanisms.tables import words
from paradox.mechanisms.tables.pairs import Pairs
from paradox.mechanisms.trajectories import flow
from paradox.models import load_model, load_tokenizer
from paradox.provenance.manifest import read_manifest
from paradox.stats.separation import LEAST, Part
from paradox.tasks import Task, load_task

Array = NDArray[np.float64]


class Motion(NamedTuple):
    """Steps of one component at one state of the arm, exposed minus twin within pairs."""

    component: str
    state: str
    parts: list[Part]

    def enough(self, rows: NDArray[np.bool_]) -> bool:
        """Return whether there are as many of these pairs as a force and its interval need."""
        return int(rows.sum()) > LEAST and all(
            int((part.rows & rows).sum()) >= LEAST for part in self.parts
        )


# --- states -------------------------------------------------------------------------------


def read_states(
    spec: dict[str, Any], manifest: Path, items: pd.DataFrame, pairs: Pairs
) -> dict[str, Array]:
    """Return states by place, shape (layers, pairs, 2, width); layer 0 is the embedding."""
    folder = read_manifest(manifest).last
    settings = spec["trajectories"]
    access = Access(load_model(folder, settings["dtype"]))
    task, tokenizer = load_task(spec["task"]), load_tokenizer(folder)
    recall_of = {recall.item: recall for recall in recalls(task, tokenizer, items, spec["seed"])}
    texts = items.set_index("item").loc[pairs.items]
    spans = [
        places(task, tokenizer, item.question, recall_of[item.Index]) for item in texts.itertuples()
    ]
    prompts = [recall_of[name] for name in pairs.items]
    by_place = span_states(access, prompts, spans, settings["batch_size"])
    half_way = len(pairs.names)
    return {
        name: np.stack([values[:, :half_way], values[:, half_way:]], axis=2)
        for name, values in by_place.items()
    }


def places(
    task: Task, tokenizer: PreTrainedTokenizerBase, question: str, recall: Recall
) -> dict[str, tuple[int, int]]:
    """Return first token and the one after the last of each place in prompt, scaffold and answer.

    The prompt's last token is left out where it predicts the answer itself.
    """
    prompt = task.prompt(question)
    start = prompt.index(question)
    offsets = tokenizer(prompt + task.recall_scaffold, return_offsets_mapping=True)
    ends = [(left, right) for left, right in offsets["offset_mapping"]]
    inside = [n for n, (a, b) in enumerate(ends) if b > start and a < start + len(question)]
    last = max(n for n, (a, _) in enumerate(ends) if a < len(prompt))
    at = len(recall.prompt)
    spans = {words.ANSWER: (at - 1, at), words.QUESTION: (inside[0], inside[-1] + 1)}
    if last < at - 1:
        spans[words.PROMPT] = (last, last + 1)
    return spans | {words.TEXT: (0, at + len(recall.gold))}


@torch.no_grad()
def span_states(
    access: Access, prompts: list[Recall], spans: list[dict[str, tuple[int, int]]], size: int
) -> dict[str, Array]:
    """Return mean states of spans of tokens, shape (blocks + 1, items, width)."""
    nodes = [Node(RESID_PRE, 0), *access.nodes(RESID_POST)]
    # With the answer at the end; a causal model's earlier states do not know of it.
    whole = [Recall(r.item, r.prompt + r.gold, r.gold, r.control) for r in prompts]
    names = [name for name in spans[0] if all(name in of for of in spans)]
    by_place: dict[str, Array] = {}
    for batch in batches(whole, size, access.model.device, answers=False):
        weights = torch.zeros(len(names), *batch.ids.shape)
        for row, prompt in enumerate(batch.rows):
            shift = batch.at + 1 - len(whole[prompt].prompt)
            for place, name in enumerate(names):
                first, end = spans[prompt][name]
                weights[place, row, shift + first : shift + end] = 1 / (end - first)
        with access.capture(nodes) as values:
            access.model(**batch.inputs, use_cache=False, logits_to_keep=1)
        for layer, node in enumerate(nodes):
            state = values.pop(node).float()
            pooled = torch.einsum("btd,pbt->pbd", state, weights.to(state.device))
            for name, of in zip(names, pooled.double().cpu().numpy(), strict=True):
                shape = (len(nodes), len(prompts), of.shape[-1])
                by_place.setdefault(name, np.zeros(shape))[layer, batch.rows] = of
    return by_place


def positions(states: dict[str, Array]) -> list[str]:
    """Return the places whose steps are followed, the answer's first."""
    return [name for name in (words.ANSWER, words.PROMPT, words.QUESTION) if name in states]


def scaled(states: Array) -> Array:
    """Return states with root mean square 1."""
    size = np.sqrt((states**2).mean(axis=-1, keepdims=True))
    return states / np.maximum(size, 1e-12)


# --- steps --------------------------------------------------------------------------------


def differences(states: Array) -> Array:
    """Return exposed minus twin of each step, shape (pairs, blocks, width).

    Divided by the root of the width: squared lengths are means over coordinates.
    """
    steps = np.diff(scaled(states), axis=0)
    return (steps[:, :, 0] - steps[:, :, 1]).swapaxes(0, 1) / np.sqrt(states.shape[-1])


def model_free(states: dict[str, Array], before: dict[str, Array] | None) -> list[Motion]:
    """Return the motions of all places, and of their change since `before`."""
    motions, state = [], words.BASE if before is None else words.AFTER
    for name in positions(states):
        now = differences(states[name])
        every = np.ones(len(now), dtype=bool)
        motions.append(Motion(name, state, [Part(now, every)]))
        if before is not None:
            changed = now - differences(before[name])
            motions.append(Motion(name, words.CHANGE, [Part(changed, every)]))
    return motions


def of_flow(fits: flow.Fits, state: str) -> list[Motion]:
    """Return the motions that the flows make at the answer position."""
    moved = {words.FLOW: fits.moved, words.FLOW_PATH: fits.moved_from_start}
    return [Motion(name, state, in_place(of, fits.held)) for name, of in moved.items()]


def in_place(moved: list[Array], held: NDArray[np.bool_]) -> list[Part]:
    """Return differences of held-out pairs in the rows of all pairs."""
    parts = []
    for values, rows in zip(moved, held, strict=True):
        whole = np.zeros((len(rows), *values.shape[1:]))
        whole[rows] = values
        parts.append(Part(whole, rows))
    return parts
