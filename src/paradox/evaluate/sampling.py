"""Step ``evaluate``: sampled and greedy responses to every item, read and counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from paradox.arms import with_arm
from paradox.files import read_table, write_table
from paradox.models import Response, device_name, load_model, load_tokenizer, sample
from paradox.progress import Progress
from paradox.provenance.manifest import read_manifest
from paradox.tasks import Task, load_task
from paradox.tasks.api import ITEM_COLUMNS


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Evaluate every checkpoint of an arm.

    The last checkpoint gets ``evaluation.samples`` samples per item and is kept response by
    response; earlier ones get ``evaluation.samples_between``.

    Parameters
    ----------
    spec
        ``arm``, ``evaluation`` and ``task``.
    inputs
        ``manifest`` (the arm's checkpoints) and ``items``.
    outputs
        ``items``: one row per (step, item) with counts; ``samples``: one row per response of the
        last checkpoint, greedy responses as sample -1.
    """
    checkpoints = read_manifest(inputs["manifest"])
    items = read_table(inputs["items"], ITEM_COLUMNS)
    task = load_task(spec["task"])
    last = max(checkpoints.steps)
    counted = []
    for step, folder in checkpoints.steps.items():
        count = spec["evaluation"]["samples" if step == last else "samples_between"]
        rows = responses(spec, folder, task, items, step, count, progress)
        counted.append(count_by_item(rows, items))
    write_table(outputs["samples"], rows)
    write_table(outputs["items"], pd.concat(counted, ignore_index=True))


def responses(
    spec: dict[str, Any],
    folder: Path,
    task: Task,
    items: pd.DataFrame,
    step: int,
    count: int,
    progress: Progress,
) -> pd.DataFrame:
    """Return `count` sampled responses and one greedy response (sample -1) for each item."""
    sizes, arm = spec["evaluation"], spec["arm"]
    model, tokenizer = load_model(folder, sizes["dtype"]), load_tokenizer(folder)
    progress.say(f"evaluating step {step} on {device_name(model.device)}")
    prompts = [task.prompt(question) for question in items["question"]]
    draws = [(row, draw) for row in range(len(items)) for draw in range(count)]
    keys = [(arm["seed"], step, items["item"].iloc[row], draw) for row, draw in draws]
    sampled = sample(
        model,
        tokenizer,
        [prompts[row] for row, _ in draws],
        keys,
        sizes["max_tokens"],
        temperature=sizes["temperature"],
        batch_size=sizes["batch_size"],
        progress=lambda done, total: progress("responses", done, total),
    )
    greedy = sample(
        model, tokenizer, prompts, None, sizes["max_tokens"], batch_size=sizes["batch_size"]
    )
    places = draws + [(row, -1) for row in range(len(items))]
    read = [
        _read(task, items["answer"].iloc[row], response)
        for (row, _), response in zip(places, sampled + greedy, strict=True)
    ]
    table = pd.DataFrame(
        read, columns=["response", "answer", "correct", "mode", "tokens", "finished"]
    )
    table.insert(0, "item", [items["item"].iloc[row] for row, _ in places])
    table.insert(1, "sample", [draw for _, draw in places])
    table = with_arm(table, arm, step=step)
    return table.sort_values(["item", "sample"], kind="stable", ignore_index=True)


def _read(task: Task, truth: str, response: Response) -> tuple[Any, ...]:
    answer = task.answer(response.text)
    correct = task.equal(answer, truth)
    mode = task.mode(response.text)
    return response.text, answer, correct, mode, response.tokens, response.finished


def count_by_item(rows: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """Return one row per item: how many samples were correct, recalled, finished and so on."""
    sampled, greedy = rows[rows["sample"] >= 0], rows[rows["sample"] < 0].set_index("item")
    flags = sampled.assign(
        recall=sampled["mode"] == "recall",
        reason=sampled["mode"] == "reason",
        answered=sampled["answer"].notna(),
    )
    grouped = flags.groupby("item", sort=False)
    table = grouped[["correct", "recall", "reason", "answered", "finished"]].sum().astype(int)
    table.insert(0, "samples", grouped.size())
    table["mean_tokens"] = grouped["tokens"].mean()
    table["greedy_correct"] = greedy["correct"].astype(int)
    table["greedy_mode"] = greedy["mode"]
    arm = rows.iloc[0][["base", "method", "reward", "seed", "step"]].to_dict()
    facts = items.set_index("item")[["group", "exposure"]]
    table = facts.join(table, how="inner").reset_index()
    return with_arm(table, arm)
