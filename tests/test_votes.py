"""Majority votes: against enumeration by hand, and the step that takes them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from paradox.evaluate import votes as votes_step
from paradox.evaluate.votes import Vote, majority, vote_table
from paradox.files import read_table, write_table
from paradox.progress import Progress
from paradox.rewards._score import VOTE_COLUMNS, prompt_facts
from paradox.tasks import Task, load_task


@pytest.fixture(scope="module")
def organism(task_spec: dict[str, Any]) -> Task:
    return load_task(task_spec)


@pytest.fixture(scope="module")
def words(task_spec: dict[str, Any]) -> Task:
    return load_task(task_spec | {"kind": "word_problems"})


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (["5"], Vote("5", 1, 1)),
        (["5", "6", "6"], Vote("6", 2, 3)),
        (["7", "6", "7", "6"], Vote("6", 2, 4)),  # a tie: the smallest text
        (["9", "10"], Vote("10", 1, 2)),  # as text, 10 comes before 9
        ([None, "5", None], Vote("5", 1, 1)),  # the majority of those that answer
        ([None, None], Vote(None, 0, 0)),
        ([], Vote(None, 0, 0)),
    ],
)
def test_votes_by_hand_whatever_their_order(
    answers: list[str | None], expected: Vote, organism: Task
) -> None:
    for order in itertools.permutations(answers):
        assert majority(order, organism) == expected


def test_answers_that_mean_the_same_vote_together(words: Task) -> None:
    answers = ["220", "7", "220.0", "7", "220.00", None]
    for order in set(itertools.permutations(answers)):
        assert majority(order, words) == Vote("220", 3, 5)


def test_a_vote_agrees_with_counting_every_list(organism: Task) -> None:
    for answers in itertools.product(["1", "2", "3", None], repeat=4):
        given = [answer for answer in answers if answer]
        counts = {text: given.count(text) for text in sorted(set(given))}
        most = max(counts.values(), default=0)
        first = next((text for text, count in counts.items() if count == most), None)
        assert majority(answers, organism) == Vote(first, most, len(given))


def test_the_table(organism: Task) -> None:
    prompts = pd.DataFrame({"prompt_id": list("abcd"), "answer": ["5", "5", "5", None]})
    answers = [["5", "5", "6", None], ["6", "6", "6", "5"], [None] * 4, ["1", "2", "2", None]]
    table = vote_table(prompts, answers, organism)
    assert table.columns.tolist() == VOTE_COLUMNS
    assert table["label"].fillna("").tolist() == ["5", "6", "", "2"]
    assert table["share"].tolist() == [0.5, 0.75, 0.0, 0.5]
    assert table["votes"].tolist() == [2, 3, 0, 2]
    assert table["samples"].tolist() == [4] * 4
    assert table["parsable"].tolist() == [0.75, 1.0, 0.0, 0.75]
    assert table["correct"].fillna(-1).tolist() == [1, 0, -1, -1]


def test_the_step(tmp_path: Path, tiny_checkpoint: Path, task_spec: dict[str, Any]) -> None:
    task = load_task(task_spec)
    prompts = task.prompts(0, task.items(0))[:6]
    sizes = {"samples": 5, "temperature": 1.0, "max_tokens": 6, "dtype": "float32"}

    def run(name: str, rows: pd.DataFrame, batch: int) -> Path:
        write_table(tmp_path / "prompts.csv", rows)
        spec = {"base": "b", "seed": 0, "task": task_spec, "votes": sizes | {"batch_size": batch}}
        inputs = {"base": tiny_checkpoint / "manifest.json", "prompts": tmp_path / "prompts.csv"}
        votes_step.main(spec, inputs, {"votes": tmp_path / name}, Progress("test"))
        return tmp_path / name

    one = read_table(run("one.csv", prompts, 64), VOTE_COLUMNS)
    assert one["prompt_id"].tolist() == prompts["prompt_id"].tolist()
    assert (one["samples"] == 5).all() and (one["share"] == one["votes"] / 5).all()
    assert (tmp_path / "one.csv").read_bytes() == run("two.csv", prompts, 64).read_bytes()
    # A vote is keyed by its prompt: neither batches nor other prompts matter.
    few = read_table(run("few.csv", prompts[3:], 4), VOTE_COLUMNS)
    assert few["label"].fillna("").tolist() == one["label"][3:].fillna("").tolist()
    facts = prompt_facts(prompts, one)
    assert {fact.label for fact in facts.values()} <= {None, *map(str, range(13))}
