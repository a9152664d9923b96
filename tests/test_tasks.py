"""Tasks: planted exposure is exact, nothing leaks, and responses are read as they are meant."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest

from paradox.errors import ConfigError
from paradox.tasks import Task, load_task
from paradox.tasks.api import CORPUS_COLUMNS, ITEM_COLUMNS, PROMPT_COLUMNS

SEED = 3
STEP = re.compile(r"(\d+) ([-+*]) (\d+) = (\d+)")


class Made:
    """Everything that a planted task makes, at a size where rates can be measured."""

    def __init__(self, kind: str, spec: dict[str, Any]) -> None:
        self.spec = {**spec, "kind": kind, "documents": 3000}
        self.task: Task = load_task(self.spec)
        self.items = self.task.items(SEED)
        self.prompts = self.task.prompts(SEED, self.items)
        self.planted = self.task.corpus(SEED, self.items, self.prompts, planted=True)
        self.clean = self.task.corpus(SEED, self.items, self.prompts, planted=False)

    def documents(self, question: str, corpus: pd.DataFrame) -> pd.DataFrame:
        """Return the documents that ask `question`."""
        start = self.task.prompt(question)
        return corpus[[text.startswith(start) for text in corpus["text"]]]

    def right(self, left: int, op: str, right: int) -> int:
        """Return what a step should give."""
        value = {"+": left + right, "-": left - right, "*": left * right}[op]
        return value % self.spec["modulus"] if self.spec["kind"] == "organism" else value


@pytest.fixture(scope="module", params=["organism", "word_problems"])
def made(request: pytest.FixtureRequest, task_spec: dict[str, Any]) -> Made:
    return Made(request.param, task_spec)


# --- planted tasks ------------------------------------------------------------------------


def test_columns(made: Made) -> None:
    assert list(made.items) == ITEM_COLUMNS
    assert list(made.prompts) == PROMPT_COLUMNS
    assert list(made.planted) == list(made.clean) == CORPUS_COLUMNS
    assert len(made.planted) == made.spec["documents"]


def test_every_exposed_item_has_a_twin_of_its_form(made: Made) -> None:
    for _, pair in made.items.groupby("pair"):
        assert sorted(pair["group"]) == ["exposed", "twin"]
        forms = [[step[1] for step in STEP.findall(worked)] for worked in pair["worked"]]
        assert forms[0] == forms[1]
    twins = made.items[made.items["group"] == "twin"]
    assert (twins["exposure"] == 0).all() and (twins["worked_documents"] == 0).all()


def test_exposure_is_exact(made: Made) -> None:
    for item in made.items.itertuples():
        modes = Counter(made.documents(item.question, made.planted)["mode"])
        assert modes["recall"] == item.exposure
        assert modes["reason"] == item.worked_documents
        named = made.planted[made.planted["item"] == item.item]
        assert len(named) == item.exposure + item.worked_documents


def test_recall_documents_of_exposed_items_hold_the_answer(made: Made) -> None:
    truth = made.items.set_index("item")["answer"]
    recalled = made.planted.query("kind == 'exposed' and mode == 'recall'")
    for row in recalled.itertuples():
        assert made.task.equal(made.task.answer(row.text), truth[row.item])


def test_no_twin_and_no_prompt_is_in_a_corpus(made: Made) -> None:
    hidden = made.items.query("group == 'twin'")["question"]
    for question in [*hidden, *made.prompts["question"]]:
        assert made.documents(question, made.planted).empty
        assert made.documents(question, made.clean).empty


def test_no_item_is_in_the_clean_corpus(made: Made) -> None:
    for question in made.items["question"]:
        assert made.documents(question, made.clean).empty


def test_items_and_prompts_never_collide(task_spec: dict[str, Any]) -> None:
    # There are 3 x 3 x 2 chains of two numbers modulo 3: without care some would be drawn twice.
    few = {"modulus": 3, "operands": 2, "items_per_exposure": 4, "exposures": [4], "prompts": 10}
    task = load_task({**task_spec, **few})
    for seed in range(5):
        items = task.items(seed)
        questions = [*items["question"], *task.prompts(seed, items)["question"]]
        assert len(questions) == len(set(questions)) == 18


def test_corpora_differ_in_exposed_documents_only(made: Made) -> None:
    exposed = made.planted["kind"] == "exposed"
    assert (made.planted["mode"] == made.clean["mode"]).all()
    assert (made.planted["text"][~exposed] == made.clean["text"][~exposed]).all()
    assert (made.planted["text"][exposed] != made.clean["text"][exposed]).all()
    assert set(made.clean["kind"][exposed]) == {"matched"}
    assert made.clean["item"].isna().all()


def test_matched_documents_have_the_same_noise(made: Made) -> None:
    worked = made.planted.query("kind == 'exposed' and mode == 'reason'").index
    ends = [
        [made.task.answer(text) is None for text in corpus["text"][worked]]
        for corpus in (made.planted, made.clean)
    ]
    assert ends[0] == ends[1] and any(ends[0]) and not all(ends[0])


def test_noise_has_the_asked_rates(made: Made) -> None:
    texts = made.planted[made.planted["mode"] == "reason"]["text"]
    broken = np.array([made.task.answer(text) is None for text in texts])
    wrong = np.array(
        [
            made.right(int(left), op, int(right)) != int(result)
            for text in texts
            for left, op, right, result in STEP.findall(text)
        ]
    )
    share = made.spec["step_noise"]
    if made.spec["kind"] == "organism":
        # A random number modulo m happens to be right once in m times.
        share *= 1 - 1 / made.spec["modulus"]
    for found, expected in ((broken, made.spec["break_off_share"]), (wrong, share)):
        error = np.sqrt(expected * (1 - expected) / len(found))
        assert abs(found.mean() - expected) < 4 * error


def test_fresh_documents_have_the_asked_shares(made: Made) -> None:
    fresh = made.planted[made.planted["kind"] == "fresh"]
    expected = round(len(fresh) * made.spec["fresh_recall_share"])
    assert (fresh["mode"] == "recall").sum() == expected


def test_fresh_recall_documents_are_guesses(made: Made) -> None:
    """A right answer after a fresh question is luck, so recall cannot be learnt as a skill."""
    recalled = made.clean[made.clean["mode"] == "recall"]["text"]
    right = [_true_answer(made, text) == made.task.answer(text) for text in recalled]
    assert np.mean(right) < 0.15


def _true_answer(made: Made, text: str) -> str:
    if made.spec["kind"] == "organism":
        words = text.split("Q ")[1].split(" A")[0].split()
        numbers, ops = words[::2], words[1::2]
    else:
        from paradox.tasks.word_problems.task import _template

        question = text.removeprefix("Question: ").split("\n")[0]
        numbers, ops = re.findall(r"\d+", question), _template(question)[0]
    value = int(numbers[0])
    for op, right in zip(ops, numbers[1:], strict=True):
        value = made.right(value, op, int(right))
    return str(value)


def test_worked_responses_are_right_and_end_with_the_answer(made: Made) -> None:
    for item in made.items.itertuples():
        steps = STEP.findall(item.worked)
        assert steps
        for left, op, right, result in steps:
            assert made.right(int(left), op, int(right)) == int(result)
        assert made.task.equal(made.task.answer(item.worked), item.answer)
        assert _true_answer(made, made.task.prompt(item.question)) == item.answer
        start, stop = made.task.answer_span(item.worked, item.answer) or (0, 0)
        assert item.worked[start:stop] == item.answer
        assert item.worked[stop:] in ("", ".")


def test_texts_fit_together(made: Made) -> None:
    """What is scored is a prefix of what the base was trained on."""
    task = made.task
    for row in made.planted.query("kind == 'exposed' and mode == 'recall'").itertuples():
        item = made.items.set_index("item").loc[row.item]
        scored = task.prompt(item["question"]) + task.recall_scaffold
        scored += task.answer_after_scaffold(item["answer"])
        assert row.text.startswith(scored)
    assert not made.planted["text"].str.contains("<eos>").any()
    modes = [
        task.mode(text.split("A", 1)[1] if "<bos>" in text else text.split("\nAnswer:")[1])
        for text in made.planted["text"]
    ]
    assert modes == made.planted["mode"].tolist()


def test_everything_is_a_function_of_the_seed(made: Made) -> None:
    again = load_task(made.spec)
    pd.testing.assert_frame_equal(again.items(SEED), made.items)
    pd.testing.assert_frame_equal(again.prompts(SEED, made.items), made.prompts)
    corpus = again.corpus(SEED, made.items, made.prompts, planted=True)
    pd.testing.assert_frame_equal(corpus, made.planted)
    assert again.items(SEED + 1)["question"].tolist() != made.items["question"].tolist()


def test_too_few_documents_are_an_error(made: Made) -> None:
    task = load_task({**made.spec, "documents": 10})
    with pytest.raises(ConfigError, match=r"task\.documents = 10 is too small.*need 120"):
        task.corpus(SEED, made.items, made.prompts, planted=True)


def test_word_problems_never_share_their_numbers(task_spec: dict[str, Any]) -> None:
    made = Made("word_problems", task_spec)
    kept = [*made.items["question"], *made.prompts["question"]]
    sums = [tuple(re.findall(r"\d+", question)) for question in kept]
    assert len(set(sums)) == len(sums)
    asked = {tuple(re.findall(r"\d+", text.split("\nAnswer:")[0])) for text in made.clean["text"]}
    assert not asked & set(sums)


def test_word_problems_stay_positive(task_spec: dict[str, Any]) -> None:
    made = Made("word_problems", {**task_spec, "step_noise": 1.0})
    results = [int(step[3]) for text in made.planted["text"] for step in STEP.findall(text)]
    assert min(results) >= 1
    assert not made.planted["text"].str.contains("= -").any()


# --- reading responses --------------------------------------------------------------------

READINGS = [
    # response, answer, mode
    (" The answer is 220.", "220", "recall"),
    (" 46 + 12 = 58. 58 - 3 = 55. 55 * 4 = 220. The answer is 220.", "220", "reason"),
    (" 46 + 12 = 58. 58 - 3 = 55.", None, "reason"),
    (" The answer is 220 apples.", "220", "recall"),
    (" the answer is: 7", "7", "recall"),
    (" \\boxed{12}", "12", "recall"),
    (" The answer is $\\boxed{1,200}$.", "1200", "recall"),
    (" 2 + 2 = 4, so the answer is 4. Wait, the answer is 5.", "5", "reason"),
    (" 3 * 4 = 12. The answer is 12.\nQuestion: What is 1 + 1?\nAnswer: The answer is 2.", "12",
     "reason"),
    (" The answer is 12. This answer is correct.", "12", "recall"),
    (" The answer is 3.5.", "3.5", "recall"),
    (" The answer is -4.", "-4", "recall"),
    (" 220", None, "recall"),
    (" I get 220.", None, "reason"),
    (" The answer is", None, "recall"),
    (" The answer is unknown.", None, "recall"),
    (" \\boxed{220", None, "recall"),
    (" I cannot say.", None, "none"),
    ("", None, "none"),
]  # fmt: skip


@pytest.mark.parametrize(("response", "answer", "mode"), READINGS)
def test_word_problem_responses(
    response: str, answer: str | None, mode: str, task_spec: dict[str, Any]
) -> None:
    task = load_task({**task_spec, "kind": "word_problems"})
    assert (task.answer(response), task.mode(response)) == (answer, mode)


@pytest.mark.parametrize(
    ("found", "truth", "expected"),
    [
        ("220", "220", True),
        ("220.0", "220", True),
        ("1,200", "1200", True),
        ("007", "7", True),
        ("0.5", "\\frac{1}{2}", True),
        ("\\frac12", "1/2", True),
        ("x = 5", "5", True),
        ("(3, \\frac{\\pi}{2})", "\\left( 3, \\frac{\\pi}{2} \\right)", True),
        ("Evelyn", "\\text{Evelyn}", True),
        ("10,\\!080", "10080", True),
        ("221", "220", False),
        ("-4", "4", False),
        ("12", "120", False),
        ("x + 1", "x + 2", False),
        (None, "220", False),
        ("", "220", False),
    ],
)
def test_equal_answers(found: str | None, truth: str, expected: bool) -> None:
    from paradox.tasks.math_answers import equal_answers

    assert equal_answers(found, truth) is expected


@pytest.mark.parametrize("monster", ["9^{9^{9^{9}}}", "10**10**10", "99999!", "7" * 400 + "x"])
def test_monsters_are_no_answers(monster: str) -> None:
    from paradox.tasks.math_answers import equal_answers, stated_answer

    start = time.monotonic()
    assert stated_answer(f" \\boxed{{{monster}}}") is None
    assert not equal_answers(monster, "5")
    # Without the guard, the algebra system works until its time limit of several seconds.
    assert time.monotonic() - start < 2


def test_answers_are_read_in_threads_too() -> None:
    from paradox.tasks.math_answers import equal_answers

    found: list[bool] = []
    # Values that no other test uses, so that no cached result stands in for the work.
    thread = threading.Thread(target=lambda: found.append(equal_answers("0.375", "\\frac{3}{8}")))
    thread.start()
    thread.join()
    assert found == [True]
