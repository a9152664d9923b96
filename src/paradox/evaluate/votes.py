"""Step ``votes``: what the untrained base answers to each training prompt, by majority.

The published labelling (2506.10947) counts equal strings. Here answers that mean the same are
counted together, and ties are broken by name, so that a vote does not depend on the samples'
order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from paradox.files import read_table, write_table
from paradox.models import device_name, load_model, load_tokenizer, sample
from paradox.progress import Progress
from paradox.provenance.manifest import read_manifest
from paradox.rewards._score import VOTE_COLUMNS
from paradox.tasks import Task, load_task
from paradox.tasks.api import PROMPT_COLUMNS


class Vote(NamedTuple):
    """The majority among answers.

    Attributes
    ----------
    label
        The answer that most samples state, or None when none states any.
    votes
        How many samples state it.
    parsable
        How many samples state an answer.
    """

    label: str | None
    votes: int
    parsable: int


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Vote on every training prompt.

    Parameters
    ----------
    spec
        ``base``, ``seed``, ``task`` and ``votes`` (sizes).
    inputs
        ``base`` (the base's manifest) and ``prompts`` (csv).
    outputs
        ``votes``: one row per prompt (columns `VOTE_COLUMNS`).
    """
    settings, task = spec["votes"], load_task(spec["task"])
    folder = read_manifest(inputs["base"]).last
    model, tokenizer = load_model(folder, settings["dtype"]), load_tokenizer(folder)
    progress.say(f"sampling on {device_name(model.device)}")
    prompts = read_table(inputs["prompts"], PROMPT_COLUMNS)
    texts = [task.prompt(question) for question in prompts["question"]]
    draws = [(row, draw) for row in range(len(texts)) for draw in range(settings["samples"])]
    names = prompts["prompt_id"].astype(str).tolist()
    responses = sample(
        model,
        tokenizer,
        [texts[row] for row, _ in draws],
        [("votes", spec["seed"], names[row], draw) for row, draw in draws],
        settings["max_tokens"],
        temperature=settings["temperature"],
        batch_size=settings["batch_size"],
        progress=lambda done, total: progress("responses", done, total),
    )
    answers = [task.answer(response.text) for response in responses]
    count = settings["samples"]
    by_prompt = [answers[start : start + count] for start in range(0, len(answers), count)]
    table = vote_table(prompts, by_prompt, task)
    write_table(outputs["votes"], table)
    progress.say(f"{table['label'].notna().sum()} of {len(table)} prompts have a label")


def vote_table(
    prompts: pd.DataFrame, answers: Sequence[Sequence[str | None]], task: Task
) -> pd.DataFrame:
    """Return the votes on each prompt.

    ``share`` and ``parsable`` are shares of all samples. ``correct`` is 1 or 0, and empty where
    the label or the right answer is not known.
    """
    rows = []
    for name, truth, stated in zip(prompts["prompt_id"], prompts["answer"], answers, strict=True):
        vote, total = majority(stated, task), len(stated)
        known = vote.label is not None and not pd.isna(truth)
        right = int(task.equal(vote.label, str(truth))) if known else None
        shares = vote.votes / total, vote.parsable / total
        rows.append([name, vote.label, shares[0], vote.votes, total, shares[1], right])
    table = pd.DataFrame(rows, columns=VOTE_COLUMNS)
    return table.astype({"correct": "Int64"})


def majority(answers: Sequence[str | None], task: Task) -> Vote:
    """Return the majority among answers; None is a sample that states none.

    Answers that are equal to the task are one class, named by its smallest text. The class with
    the most samples wins; of several, the one with the smallest name.
    """
    counts = Counter(answer for answer in answers if answer is not None)
    classes: dict[str, int] = {}
    # In this order a class's first text is its smallest.
    for text in sorted(counts):
        same = next((name for name in classes if task.equal(text, name)), text)
        classes[same] = classes.get(same, 0) + counts[text]
    if not classes:
        return Vote(None, 0, 0)
    label = min(classes, key=lambda name: (-classes[name], name))
    return Vote(label, classes[label], sum(counts.values()))
