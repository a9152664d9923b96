"""Step ``perplexity``: likelihood of fixed texts along training.

Texts are fixed before training and made without a model: *prompt* (the question as asked), *mode*
(the recall scaffold after the prompt: the words that choose how to answer), *recall* (the right
answer after prompt and recall scaffold), *answer* (mode and right answer after the prompt, nothing
forced), *full* (prompt and answer), *reason* (the right answer after prompt and correct worked
chain), *chain* (the whole correct worked response after the prompt). One text is not: *own*, the
greedy response of the arm's last checkpoint, also under the untrained base (``own_base``); it is
likelier under the model that wrote it whatever that learnt, which is how the published number was
made. Values are mean negative log-likelihoods in nats per token. Source: 2601.11061.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from transformers import PreTrainedTokenizerBase

from paradox.arms import with_arm
from paradox.files import read_table, write_table
from paradox.models import (
    device_name,
    load_model,
    load_tokenizer,
    pick_device,
    score_segments,
)
from paradox.progress import Progress
from paradox.provenance.manifest import read_manifest
from paradox.tasks import Task, load_task
from paradox.tasks.api import ITEM_COLUMNS

# Nothing is sampled: rounding on another device moves the numbers and no more.
DETERMINISM = "tolerance"

# A text and, by the name of a segment, where in it that begins and ends (characters).
Text = tuple[str, dict[str, tuple[int, int]]]
SEGMENTS = ("prompt", "recall", "reason", "chain", "mode", "answer", "full")
GREEDY = -1  # number of the greedy response among an item's samples


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Score the texts of every item at every checkpoint of an arm.

    ``spec``: ``arm``, ``perplexity`` and ``task``. ``inputs``: ``manifest``, ``base`` (the
    untrained base's manifest), ``items`` and ``samples`` (of the last checkpoint). ``outputs``:
    ``table``, one row per (step, item).
    """
    checkpoints = read_manifest(inputs["manifest"])
    items = read_table(inputs["items"], ITEM_COLUMNS)
    task = load_task(spec["task"])
    base = read_manifest(inputs["base"]).last
    samples = read_table(inputs["samples"], ["item", "sample", "response"])
    own = own_texts(load_tokenizer(base), task, items, samples)
    tables = []
    progress.say(f"scoring {len(items)} items on {device_name(pick_device())}")
    under_base = _scored(spec, base, own, len(items), ("own",))["own_nll"].rename("own_base_nll")
    for done, (step, folder) in enumerate(checkpoints.steps.items(), start=1):
        table = score_items(spec, folder, task, items, step)
        scores = _scored(spec, folder, own, len(items), ("own",))
        tables.append(pd.concat([table, scores, under_base], axis=1))
        progress("checkpoints", done, len(checkpoints.steps))
    write_table(outputs["table"], pd.concat(tables, ignore_index=True))


def texts(task: Task, item: Any) -> list[Text]:
    """Return the fixed texts of one item and, in each, the character spans of its segments.

    The first text is prompt + recall scaffold + answer, the second prompt + worked response; an
    item without a worked response has only the first. Without a scaffold there is no mode.
    """
    prompt = task.prompt(item.question)
    begin, start = len(prompt), len(prompt) + len(task.recall_scaffold)
    recall = prompt + task.recall_scaffold + task.answer_after_scaffold(item.answer)
    end = len(recall)
    spans = {"prompt": (0, begin), "recall": (start, end), "answer": (begin, end), "full": (0, end)}
    spans |= {"mode": (begin, start)} if start > begin else {}
    with_spans = [(recall, spans)]
    if isinstance(item.worked, str):
        whole = prompt + item.worked
        spans = {"chain": (begin, len(whole))}
        place = task.answer_span(item.worked, item.answer)
        if place:
            spans["reason"] = (begin + place[0], begin + place[1])
        with_spans.append((whole, spans))
    return with_spans


def own_texts(
    tokenizer: PreTrainedTokenizerBase, task: Task, items: pd.DataFrame, samples: pd.DataFrame
) -> list[tuple[int, Text]]:
    """Return prompt + greedy response of every item, with its row; empty responses are left out.

    A space is put between the two where the tokens of both are those of the whole only with it: a
    tokenizer of whole words reads a response without the space that it wrote.
    """
    responses = samples[samples["sample"] == GREEDY].set_index("item")["response"]
    found = []
    for row, item in enumerate(items.itertuples()):
        response = responses.get(item.item)
        if isinstance(response, str) and response.strip():
            prompt = task.prompt(item.question)
            apart = tokenizer(prompt)["input_ids"]
            apart = apart + tokenizer(response, add_special_tokens=False)["input_ids"]
            spaced = f"{prompt} {response}"
            whole = spaced if tokenizer(spaced)["input_ids"] == apart else prompt + response
            found.append((row, (whole, {"own": (len(prompt), len(whole))})))
    return found


def score_items(
    spec: dict[str, Any], folder: Path, task: Task, items: pd.DataFrame, step: int
) -> pd.DataFrame:
    """Return the scores of every item's fixed texts at one checkpoint, one row per item."""
    given = [
        (row, text) for row, item in enumerate(items.itertuples()) for text in texts(task, item)
    ]
    measured = _scored(spec, folder, given, len(items), SEGMENTS)
    table = with_arm(items[["item", "group", "exposure"]].copy(), spec["arm"], step=step)
    return pd.concat([table.reset_index(drop=True), measured], axis=1)


def _scored(
    spec: dict[str, Any],
    folder: Path,
    given: list[tuple[int, Text]],
    items: int,
    segments: tuple[str, ...],
) -> pd.DataFrame:
    """Return the scores of texts, each with its item's row, at a checkpoint: a row per item."""
    settings = spec["perplexity"]
    scores = score_segments(
        load_model(folder, settings["dtype"]),
        load_tokenizer(folder),
        [text for _, (text, _) in given],
        [spans for _, (_, spans) in given],
        batch_size=settings["batch_size"],
    )
    rows: list[dict[str, Any]] = [{} for _ in range(items)]
    for (row, _), nll in zip(given, scores, strict=True):
        for segment, score in nll.items():
            rows[row][f"{segment}_nll"] = score.nll
            rows[row][f"{segment}_tokens"] = score.tokens
        if "recall" in nll:
            rows[row]["recall_greedy"] = int(nll["recall"].greedy)
    columns = [f"{segment}_{what}" for segment in segments for what in ("nll", "tokens")]
    columns += ["recall_greedy"] if "recall" in segments else []
    return pd.DataFrame(rows, columns=columns)
