"""Step ``decontamination``: how much recall can be taken from a model, and what else goes with it.

Methods (``way``) change an arm's last checkpoint in doses: ``neurons`` (largest attribution on
discovery pairs, exposed minus twins) are scaled by ``alpha`` at every token but the first,
``random`` ones likewise, means over draws; ``reset``, ``task_vector`` (trained arms) and
``memory_vector`` (a contaminated and a clean base of one architecture) change weights; ``none``.

Scored (``what``), teacher-forced, on pairs that chose nothing: ``recall``, the gold answer after
the recall scaffold; ``at_once``, scaffold and answer after the prompt; ``chain``, the working of
twins after its first token; ``text``, documents of the corpus. Columns: ``logp`` (mean over tokens,
nats), ``odds`` and ``correct`` (greedy decoding gives it).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from paradox.arms import with_arm
from paradox.files import read_table, write_table
from paradox.mechanisms.model.access import Access
from paradox.mechanisms.model.neurons import MEASURES, matched, profile, scaled, scaling, scores
from paradox.mechanisms.model.recalls import Batch, Recall, batches, recalls, scaffold_tokens
from paradox.mechanisms.model.texts import Split, continued, documents, split
from paradox.mechanisms.model.weights import BOTH, Change
from paradox.mechanisms.tables.pairs import Array
from paradox.mechanisms.tables.words import MEMORY_VECTOR, NEURONS, NONE, RANDOM, RESET, TASK_VECTOR
from paradox.models import device_name, load_model, load_tokenizer, pick_device
from paradox.progress import Progress
from paradox.provenance.manifest import read_manifest
from paradox.seeds import keyed_rng
from paradox.tasks import Task, load_task
from paradox.tasks.api import CORPUS_COLUMNS, ITEM_COLUMNS

Hook = Callable[[Batch], AbstractContextManager[None]]
Values = dict[str, Array]


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Try every method on an arm's last checkpoint.

    ``spec``: ``arm``, ``task``, ``seed``, ``exposed_from`` and ``decontamination``. ``inputs``:
    ``manifest``, ``items``, ``base`` (manifest of the arm's untrained base) and, where there are,
    ``reference`` (of the clean base) and ``corpus`` of the arm's base. ``outputs``: ``table``, a
    row per method, dose, alpha, text and item.
    """
    checkpoints = read_manifest(inputs["manifest"])
    items = read_table(inputs["items"], ITEM_COLUMNS)
    settings, task = spec["decontamination"], load_task(spec["task"])
    model = load_model(checkpoints.last, settings["dtype"])
    tokenizer = load_tokenizer(checkpoints.last)
    pairs = split(items, spec["exposed_from"], settings | {"null_pairs": 1}, spec["seed"])
    corpus = read_table(inputs["corpus"], CORPUS_COLUMNS) if "corpus" in inputs else None
    texts = scored_texts(task, tokenizer, pairs, corpus, spec)
    discovery = recalls(task, tokenizer, pairs.discovery, spec["seed"])
    progress.say(f"decontaminating on {device_name(pick_device())}")
    tried = Tried(model, texts, discovery, settings, spec["seed"])
    points = [tried.point(NONE, 0, 1.0, [tried.measure()]), *tried.neurons()]
    if spec["arm"]["method"] != "base":
        points += tried.weights(load_model(read_manifest(inputs["base"]).last, settings["dtype"]))
    if "reference" in inputs and Path(inputs["reference"]) != Path(inputs["base"]):
        folders = [read_manifest(inputs[name]).last for name in ("base", "reference")]
        points += tried.memory(*(load_model(folder, settings["dtype"]) for folder in folders))
    table = pd.concat(points, ignore_index=True)
    about = items.set_index("item")[["pair", "group", "exposure"]]
    table = table.join(about, on="item")
    write_table(outputs["table"], with_arm(table, spec["arm"], step=max(checkpoints.steps)))
    progress("points", len(points), len(points))


def scored_texts(
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Split,
    corpus: pd.DataFrame | None,
    spec: dict[str, Any],
) -> dict[str, list[Recall]]:
    """Return what is scored: the tested pairs that count as exposed, chains and documents."""
    settings, seed = spec["decontamination"], spec["seed"]
    counts = ~(pairs.tested["exposure"].to_numpy(float)[::2] < spec["exposed_from"])
    tested = pairs.tested[np.repeat(counts, 2)].reset_index(drop=True)
    after = recalls(task, tokenizer, tested, seed)
    scaffolds = scaffold_tokens(task, tokenizer, tested, after)
    at_once = [
        Recall(one.item, one.prompt[:-size], one.prompt[-size:] + one.gold, one.control)
        for one, size in zip(after, scaffolds, strict=True)
    ]
    # Nobody has seen a twin, whatever the exposure of its pair.
    twins = pairs.tested[1::2]
    twins = twins[twins["worked"].notna()]
    order = keyed_rng("chains", seed).permutation(len(twins))[: settings["chains"]]
    chains = [
        continued(tokenizer, row.item, task.prompt(row.question), row.worked)
        for row in twins.iloc[np.sort(order)].itertuples()
    ]
    texts = {"recall": after, "at_once": at_once, "chain": chains}
    if corpus is not None:
        texts["text"] = documents(tokenizer, corpus, seed, settings["documents"])
    return {what: prompts for what, prompts in texts.items() if prompts}


class Tried:
    """One model, what it is scored on and what has been tried."""

    def __init__(
        self,
        model: PreTrainedModel,
        texts: dict[str, list[Recall]],
        discovery: list[Recall],
        settings: dict[str, Any],
        seed: int,
    ) -> None:
        self.model, self.texts, self.discovery = model, texts, discovery
        self.settings, self.seed = settings, seed
        device, size = model.device, settings["batch_size"]
        self.batches = {what: list(batches(part, size, device)) for what, part in texts.items()}

    @torch.no_grad()
    def measure(self, model: PreTrainedModel | None = None, hook: Hook | None = None) -> Values:
        """Return `MEASURES` (on the first axis) of every text."""
        values = {}
        for what, prompts in self.texts.items():
            values[what] = np.zeros((len(MEASURES), len(prompts)))
            for batch in self.batches[what]:
                with hook(batch) if hook else nullcontext():
                    values[what][:, batch.rows] = _scored(model or self.model, batch)
        return values

    def point(self, method: str, dose: float, alpha: float, tries: list[Values]) -> pd.DataFrame:
        """Return the rows of one dose, means over several tries."""
        tables = []
        for what, prompts in self.texts.items():
            values = np.mean([one[what] for one in tries], axis=0)
            table = pd.DataFrame(dict(zip(MEASURES, values, strict=True)))
            table.insert(0, "item", [prompt.item for prompt in prompts])
            table.insert(0, "what", what)
            tables.append(table)
        table = pd.concat(tables, ignore_index=True)
        for column, value in (("alpha", alpha), ("dose", float(dose)), ("way", method)):
            table.insert(0, column, value)
        return table

    def neurons(self) -> Iterator[pd.DataFrame]:
        """Yield the points of chosen and of random neurons."""
        access = Access(self.model)
        profiled = profile(access, self.discovery, self.settings["batch_size"], "all")
        gap = (profiled.attribution[::2] - profiled.attribution[1::2]).mean(axis=0)
        draws, nearest = self.settings["draws"], self.settings["nearest"]
        for count in self.settings["counts"]:
            chosen = overall(gap, count)
            random = matched(chosen, profiled, draws, nearest, self.seed, "forget", count)
            for alpha in self.settings["alphas"]:
                tries = [self._scaled(access, chosen, alpha)]
                yield self.point(NEURONS, count, alpha, tries)
                drawn = ([sets[draw] for sets in random] for draw in range(draws))
                tries = [self._scaled(access, sets, alpha) for sets in drawn]
                yield self.point(RANDOM, count, alpha, tries)

    def _scaled(self, access: Access, sets: list[NDArray[np.int64]], alpha: float) -> Values:
        width = access.blocks[0].mlp.down_proj.weight.shape[1]
        factors = {}
        for block, neurons in enumerate(sets):
            if len(neurons):
                factors[block] = torch.ones(width, device=self.model.device)
                factors[block][torch.as_tensor(neurons)] = alpha
        return self.measure(hook=lambda batch: scaling(access, factors, scaled(batch, "all")))

    def weights(self, base: PreTrainedModel) -> Iterator[pd.DataFrame]:
        """Yield the points of resets and of the task vector."""
        change = Change(base, self.model)
        blocks = range(change.blocks)
        costs = []
        for block in blocks:
            with change.reset(change.units(BOTH, [block])):
                costs.append(self._recall_gap(base))
        order = sorted(blocks, key=lambda block: costs[block])
        for number in blocks:
            with change.reset(change.units(BOTH, order[: number + 1])):
                yield self.point(RESET, number + 1, 1.0, [self.measure(base)])
        for dose in self.settings["doses"]:
            with change.mixed(dict.fromkeys(change.every, 1 - dose)):
                yield self.point(TASK_VECTOR, dose, 1.0, [self.measure(base)])

    @torch.no_grad()
    def _recall_gap(self, model: PreTrainedModel) -> float:
        """Return the log odds of discovery pairs, exposed minus twins."""
        values = np.zeros(len(self.discovery))
        for batch in batches(self.discovery, self.settings["batch_size"], model.device):
            values[batch.rows] = _scored(model, batch)[MEASURES.index("odds")]
        return float((values[::2] - values[1::2]).mean())

    @torch.no_grad()
    def memory(self, base: PreTrainedModel, clean: PreTrainedModel) -> Iterator[pd.DataFrame]:
        """Yield the points of the memory vector; none where the two bases do not fit."""
        named = [dict(model.named_parameters()) for model in (self.model, base, clean)]
        shapes = [{name: part.shape for name, part in parameters.items()} for parameters in named]
        if not shapes[0] == shapes[1] == shapes[2]:
            return
        # `base` becomes the model without the whole vector, so that doses lie on one line.
        for name, parameter in named[1].items():
            parameter.copy_(named[0][name] - (parameter - named[2][name]))
        change = Change(self.model, base)
        for dose in self.settings["doses"]:
            with change.mixed(dict.fromkeys(change.every, dose)):
                yield self.point(MEMORY_VECTOR, dose, 1.0, [self.measure()])


def overall(gap: Array, count: int) -> list[NDArray[np.int64]]:
    """Return the neurons of each layer that are among the `count` strongest of all layers.

    No layer gives more than half of its neurons: the others are what random sets are drawn from.
    """
    most = gap.shape[1] // 2
    allowed = np.argsort(np.argsort(-gap, axis=1, kind="stable"), axis=1) < most
    ranked = np.argsort(-np.where(allowed, gap, -np.inf), axis=None, kind="stable")[:count]
    layers, neurons = np.unravel_index(ranked, gap.shape)
    return [neurons[layers == layer] for layer in range(len(gap))]


def _scored(model: PreTrainedModel, batch: Batch) -> Array:
    positions = batch.ids.shape[1] - batch.at
    logits = model(**batch.inputs, use_cache=False, logits_to_keep=positions).logits
    return scores(logits, batch).cpu().numpy()
