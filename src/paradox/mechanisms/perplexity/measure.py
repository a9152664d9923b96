"""Step ``perplexity``: likelihood of fixed texts along training.

Every text is fixed before training and made without a model: *prompt* (the question as asked),
*recall* (the right answer after prompt and recall scaffold), *reason* (the right answer after
prompt and correct worked chain), *chain* (the whole correct worked response after the prompt).
Values are mean negative log-likelihoods in nats per token. Source of the claim: 2601.11061.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

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

SEGMENTS = ("prompt", "recall", "reason", "chain")


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Score the fixed texts of every item at every checkpoint of an arm.

    ``spec``: ``arm``, ``perplexity`` and ``task``. ``inputs``: ``manifest`` and ``items``.
    ``outputs``: ``table``, one row per (step, item).
    """
    checkpoints = read_manifest(inputs["manifest"])
    items = read_table(inputs["items"], ITEM_COLUMNS)
    task = load_task(spec["task"])
    tables = []
    progress.say(f"scoring {len(items)} items on {device_name(pick_device())}")
    for done, (step, folder) in enumerate(checkpoints.steps.items(), start=1):
        tables.append(score_items(spec, folder, task, items, step))
        progress("checkpoints", done, len(checkpoints.steps))
    write_table(outputs["table"], pd.concat(tables, ignore_index=True))


def texts(task: Task, item: Any) -> list[tuple[str, dict[str, tuple[int, int]]]]:
    """Return the fixed texts of one item and, in each, the character spans of its segments.

    The first text is prompt + recall scaffold + answer, the second prompt + worked response; an
    item without a worked response has only the first.
    """
    prompt = task.prompt(item.question)
    start = len(prompt) + len(task.recall_scaffold)
    recall = prompt + task.recall_scaffold + task.answer_after_scaffold(item.answer)
    with_spans = [(recall, {"prompt": (0, len(prompt)), "recall": (start, len(recall))})]
    if isinstance(item.worked, str):
        whole = prompt + item.worked
        spans = {"chain": (len(prompt), len(whole))}
        place = task.answer_span(item.worked, item.answer)
        if place:
            spans["reason"] = (len(prompt) + place[0], len(prompt) + place[1])
        with_spans.append((whole, spans))
    return with_spans


def score_items(
    spec: dict[str, Any], folder: Path, task: Task, items: pd.DataFrame, step: int
) -> pd.DataFrame:
    """Return the scores of every item at one checkpoint, one row per item."""
    settings = spec["perplexity"]
    model, tokenizer = load_model(folder, settings["dtype"]), load_tokenizer(folder)
    pairs = [
        (row, text, spans)
        for row, item in enumerate(items.itertuples())
        for text, spans in texts(task, item)
    ]
    scores = score_segments(
        model,
        tokenizer,
        [text for _, text, _ in pairs],
        [spans for _, _, spans in pairs],
        batch_size=settings["batch_size"],
    )
    rows: list[dict[str, Any]] = [{} for _ in range(len(items))]
    for (row, _, _), nll in zip(pairs, scores, strict=True):
        for segment, score in nll.items():
            rows[row][f"{segment}_nll"] = score.nll
            rows[row][f"{segment}_tokens"] = score.tokens
        if "recall" in nll:
            rows[row]["recall_greedy"] = int(nll["recall"].greedy)
    columns = [f"{segment}_{what}" for segment in SEGMENTS for what in ("nll", "tokens")]
    table = items[["item", "group", "exposure"]].copy()
    table = with_arm(table, spec["arm"], step=step)
    measured = pd.DataFrame(rows, columns=[*columns, "recall_greedy"])
    return pd.concat([table.reset_index(drop=True), measured], axis=1)
