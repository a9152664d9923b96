"""Step ``probes``: at which layers exposed items can be told from their twins.

A probe (`paradox.stats.linear`) reads the residual after a block at ``answer``, where the first
answer token of the recall prompt is predicted, and at ``question``, the mean over the question's
tokens. Layer ``emb`` is in both the mean of the question's embeddings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from paradox.arms import with_arm
from paradox.errors import DataError, problems
from paradox.files import read_table, write_table
from paradox.mechanisms.model.access import RESID_POST, RESID_PRE, Access, Node
from paradox.mechanisms.model.recalls import Recall, batches, recalls
from paradox.mechanisms.probes.summary import swapped
from paradox.mechanisms.tables.pairs import Array, Pairs, item_rows
from paradox.models import device_name, load_model, load_tokenizer, pick_device
from paradox.progress import Progress
from paradox.provenance.manifest import read_manifest
from paradox.stats.crossed import mean
from paradox.stats.linear import (
    ALPHA,
    Folds,
    Probe,
    detections,
    false_positives,
    probe,
    ridge_curves,
)
from paradox.tasks import load_task
from paradox.tasks.api import ITEM_COLUMNS

ANSWER, QUESTION = "answer", "question"


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Probe the last checkpoint of an arm.

    ``spec``: ``arm``, ``task``, ``seed``, ``exposed_from`` and ``probes``, with ``relabellings``
    and ``exposures`` for the rates. ``inputs``: ``manifest``, ``base`` (manifest of the untrained
    base) and ``items``. ``outputs``: ``table``: a row per position and layer; ``won``: a row per
    exposed item, position (``component``) and layer (-1: the embedding), how often it is scored
    above its twin; ``rates``: see `paradox.mechanisms.overview.error_rates` (power: untrained bases
    only).

    Raises `DataError` when exposed items have no twins of their own, or pairs are too few.
    """
    items = read_table(inputs["items"], ITEM_COLUMNS)
    pairs = Pairs(items, spec["exposed_from"])
    _check_sizes(spec["probes"], len(pairs.counted))
    trained = spec["arm"]["method"] != "base"
    step = max(read_manifest(inputs["manifest"]).steps)
    after = read_states(spec, inputs["manifest"], items, pairs)
    before = read_states(spec, inputs["base"], items, pairs) if trained else after
    progress.say(f"probing {len(pairs.names)} pairs, read on {device_name(pick_device())}")
    counted = items.set_index("item").loc[np.array(pairs.items[: len(pairs.names)])[pairs.counts]]
    permutations = spec["probes"]["permutations"]
    tables: dict[str, list[pd.DataFrame]] = {"table": [], "won": [], "rates": []}
    for done, place in enumerate((ANSWER, QUESTION), start=1):
        folds = Folds(spec["probes"]["folds"], spec["probes"]["repeats"], (spec["seed"],))
        probed = probe(after[place][:, pairs.counts], pairs.counted, folds, permutations)
        layers = range(-1, len(probed.won) - 1)
        tables["won"].append(item_rows(counted.reset_index(), place, layers, {"won": probed.won}))
        sides = before[place], after[place]
        new_rows = {
            "table": table(probed),
            "rates": rates(spec, pairs, folds, sides[not trained :], place),
        }
        for name, rows in new_rows.items():
            rows.insert(0, "component" if name == "rates" else "position", place)
            tables[name].append(rows)
        progress("positions", done, 2)
    for name, parts in tables.items():
        whole = pd.concat(parts, ignore_index=True)
        write_table(outputs[name], with_arm(whole, spec["arm"], step=step))


def _check_sizes(settings: dict[str, Any], counted: int) -> None:
    """Refuse fewer than two pairs per fold before any model is loaded."""
    least, bad = 2 * settings["folds"], []
    if counted < least:
        bad.append(
            f"key probes.folds: found {settings['folds']}, allowed: 3 to {counted // 2}, two of "
            f"the {counted} pairs that count in each"
        )
    few = [size for size in settings["sizes"] if size < least]
    if few:
        bad.append(f"key probes.sizes: found {few}, allowed: {least} or more, two pairs per fold")
    if bad:
        raise DataError(problems("too few pairs to be probed", bad))


# --- states -------------------------------------------------------------------------------


def read_states(
    spec: dict[str, Any], manifest: Path, items: pd.DataFrame, pairs: Pairs
) -> dict[str, Array]:
    """Return the states of a checkpoint at each position, shape (layers, pairs, 2, width)."""
    folder = read_manifest(manifest).last
    settings = spec["probes"]
    access = Access(load_model(folder, settings["dtype"]))
    task, tokenizer = load_task(spec["task"]), load_tokenizer(folder)
    prompts = {recall.item: recall for recall in recalls(task, tokenizer, items, spec["seed"])}
    spans = {}
    for item in items.itertuples():
        prompt = task.prompt(item.question)
        start = prompt.index(item.question)
        text = prompt + task.recall_scaffold + task.answer_after_scaffold(item.answer)
        offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
        end = start + len(item.question)
        inside = [n for n, (left, right) in enumerate(offsets) if right > start and left < end]
        spans[item.item] = (inside[0], inside[-1] + 1)
    by_place = states(
        access,
        [prompts[name] for name in pairs.items],
        [spans[name] for name in pairs.items],
        settings["batch_size"],
    )
    half = len(pairs.names)
    return {
        name: np.stack([values[:, :half], values[:, half:]], axis=2)
        for name, values in by_place.items()
    }


@torch.no_grad()
def states(
    access: Access, prompts: list[Recall], spans: list[tuple[int, int]], batch_size: int
) -> dict[str, Array]:
    """Return the states at each position, shape (blocks + 1, items, width).

    `spans`: first token of each prompt's question and the one after its last.
    """
    nodes = [Node(RESID_PRE, 0), *access.nodes(RESID_POST)]
    by_place: dict[str, Array] = {}
    for batch in batches(prompts, batch_size, access.model.device, answers=False):
        with access.capture(nodes) as values:
            access.model(**batch.inputs, use_cache=False, logits_to_keep=1)
        inside = torch.zeros(batch.ids.shape, dtype=torch.float64)
        for row, prompt in enumerate(batch.rows):
            shift = batch.at + 1 - len(prompts[prompt].prompt)
            first, end = spans[prompt]
            inside[row, shift + first : shift + end] = 1 / (end - first)
        for layer, node in enumerate(nodes):
            whole = values.pop(node).double().cpu()
            pooled = torch.einsum("btd,bt->bd", whole, inside)
            chosen = {ANSWER: whole[:, batch.at] if layer else pooled, QUESTION: pooled}
            for name, values_at in chosen.items():
                shape = (len(nodes), len(prompts), values_at.shape[-1])
                by_place.setdefault(name, np.zeros(shape))[layer, batch.rows] = values_at.numpy()
    return by_place


# --- tables -------------------------------------------------------------------------------


def table(probed: Probe) -> pd.DataFrame:
    """Return one row per layer.

    ``auc`` (logistic probe); ``pair_auc``, the share of pairs whose exposed item the ridge probe
    scores higher, with its interval over pairs and ``p`` (of "above 1/2"); ``ridge_auc`` with the
    middle 95 % of its null (labels permuted), and ``corrected``, that null's largest layer.
    """
    share = mean(probed.won.T[:, None])
    rows, ridge = [], probed.ridge
    for layer, (won, above) in enumerate(
        zip(share.estimates(), (share - 0.5).estimates(), strict=True)
    ):
        row = {"layer": str(layer - 1) if layer else "emb", "auc": probed.auc[layer]}
        row |= {"pair_auc": won.value, "pair_auc_low": won.low, "pair_auc_high": won.high}
        row |= {"p": above.p, "ridge_auc": ridge.curve[layer], "null_low": ridge.low[layer]}
        row |= {"null_high": ridge.high[layer], "corrected": ridge.corrected[layer]}
        rows.append(row | {"pairs": won.items})
    return pd.DataFrame(rows)


def rates(
    spec: dict[str, Any], pairs: Pairs, folds: Folds, sides: tuple[Array, ...], place: str
) -> pd.DataFrame:
    """Return how often the tests reject with permuted labels, and with fewer pairs.

    `sides`: states of all pairs: of the untrained base alone, or of the base and of the arm.
    `place`: the position, which names the relabellings: they are independent between positions.
    """
    settings = spec["probes"]
    runs, permutations = settings["relabellings"], settings["permutations"]
    state = "after" if len(sides) > 1 else "base"
    counted = sides[-1][:, pairs.counts]
    many = {"permutations": permutations, "runs": runs}
    rejected, outer, won = false_positives(
        counted, pairs.counted, folds, spec["seed"], place, **many
    )
    row = {"measure": "ridge_auc", "state": state, "kind": "false_positive", "exposure": None}
    size = {"pairs": len(pairs.counted), "runs": runs}
    rows = [{**row, **size, "rejected": int(rejected.sum())}]
    if len(sides) > 1:
        # The same relabellings for both models: the change is of one set of labels.
        _, earlier = ridge_curves(sides[0][:, pairs.counts], pairs.counted, folds, outer, runs)
        moved = won - earlier
        tests = [swapped(moved[..., n].T, permutations, spec["seed"], n) for n in range(runs)]
        hits = sum(test.overall <= ALPHA for test in tests)
        rows.append({**row, "measure": "pair_auc", "state": "change", **size, "rejected": hits})
    for exposure in settings["exposures"] if state == "base" else []:
        inside = pairs.exposures == exposure
        names = [name for name, has in zip(pairs.names, inside, strict=True) if has]
        for count in (count for count in settings["sizes"] if count < len(names)):
            draws = settings["draws"]
            hits = detections(sides[-1][:, inside], names, folds, permutations, count, draws)
            row = {"measure": "ridge_auc", "state": state, "kind": "power", "exposure": exposure}
            rows.append({**row, "pairs": count, "runs": draws, "rejected": hits})
    return pd.DataFrame(rows)
