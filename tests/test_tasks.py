"""Tasks: planted exposure is exact, nothing leaks, and responses are read as they are meant."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from paradox.errors import CheckpointError, ConfigError, DataError, ParadoxError
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


def test_items_and_prompts_never_collide(made: Made) -> None:
    questions = [*made.items["question"], *made.prompts["question"]]
    assert len(set(questions)) == len(questions)


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
        from paradox.tasks.word_problems import _template

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


@pytest.mark.timeout(20)
@pytest.mark.parametrize("monster", ["9^{9^{9^{9}}}", "10**10**10", "99999!", "7" * 400 + "x"])
def test_monsters_are_no_answers(monster: str) -> None:
    from paradox.tasks.math_answers import equal_answers, stated_answer

    assert stated_answer(f" \\boxed{{{monster}}}") is None
    assert not equal_answers(monster, "5")


def test_answers_are_read_in_threads_too() -> None:
    from paradox.tasks.math_answers import equal_answers

    found: list[bool] = []
    # Values that no other test uses, so that no cached result stands in for the work.
    thread = threading.Thread(target=lambda: found.append(equal_answers("0.375", "\\frac{3}{8}")))
    thread.start()
    thread.join()
    assert found == [True]


# --- benchmarks ---------------------------------------------------------------------------

COLUMNS = {"question_column": "question", "answer_column": "answer"}


def write_lines(path: Path, records: list[Any]) -> Path:
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture()
def stand_ins(tmp_path: Path) -> dict[str, Any]:
    """Two tiny benchmarks and a prompt file, in three formats."""
    exposed = [
        {"question": "What is 1/4 + 1/4?", "answer": "\\frac{1}{2}",
         "solution": "It is $\\boxed{\\frac{1}{2}}$."},
        {"question": "What is 3 + 4?", "answer": "7", "solution": "3 + 4 = 7"},
    ]  # fmt: skip
    twins = 'question,answer\nWhat is 5 + 6?,11\n"What is\n7 + 8?",015\n'
    prompts = [
        {"q": "what is  3 + 4?", "a": "3 + 4 = 7\n#### 7"},
        {"q": "What is 20 + 1?", "a": "20 + 1 = 21\n#### 21"},
        {"q": "What is 20 + 1?", "a": "20 + 1 = 21\n#### 21"},
    ]
    (tmp_path / "twins.csv").write_text(twins, encoding="utf-8")
    (tmp_path / "prompts.json").write_text(json.dumps(prompts), encoding="utf-8")
    first = {
        "name": "old",
        "group": "exposed",
        "path": str(write_lines(tmp_path / "old.jsonl", exposed)),
        "solution_column": "solution",
        **COLUMNS,
    }
    second = {"name": "new", "group": "twin", "path": str(tmp_path / "twins.csv"), **COLUMNS}
    training = {
        "path": str(tmp_path / "prompts.json"),
        "question_column": "q",
        "answer_column": "a",
        "answer_after": "####",
    }
    return {"kind": "benchmarks", "items": [first, second], "prompts": training}


def test_benchmark_items(stand_ins: dict[str, Any]) -> None:
    task = load_task(stand_ins)
    items = task.items(0)
    assert list(items) == ITEM_COLUMNS
    assert items["group"].tolist() == ["exposed", "exposed", "twin", "twin"]
    assert items["exposure"].isna().all()
    assert items["answer"].tolist() == ["\\frac{1}{2}", "7", "11", "015"]
    assert items["source"].tolist() == ["old", "old", "new", "new"]
    assert items["worked"][0] == " It is $\\boxed{\\frac{1}{2}}$."
    assert items["worked"][1] == " 3 + 4 = 7 The answer is \\boxed{7}."
    assert items["worked"][2:].isna().all()
    for item in items[:2].itertuples():
        start, stop = task.answer_span(item.worked, item.answer) or (0, 0)
        assert item.worked[start:stop] == item.answer
        assert item.worked[start - 1] == "{"
    assert task.mode(task.recall_scaffold + task.answer_after_scaffold("7") + "}.") == "recall"
    with pytest.raises(NotImplementedError, match="no corpus"):
        task.corpus(0, items, items, planted=True)


def test_benchmark_prompts_hold_no_item_and_no_repetition(stand_ins: dict[str, Any]) -> None:
    task = load_task(stand_ins)
    prompts = task.prompts(0, task.items(0))
    assert prompts.to_dict("records") == [
        {"prompt_id": "f00001", "question": "What is 20 + 1?", "answer": "21"}
    ]
    blind = {**stand_ins["prompts"], "answer_column": None, "answer_after": None}
    task = load_task({**stand_ins, "prompts": blind})
    assert task.prompts(0, task.items(0))["answer"].isna().all()
    only_items = {**stand_ins["prompts"], "limit": 1}
    task = load_task({**stand_ins, "prompts": only_items})
    with pytest.raises(DataError, match=r"prompts\.json: every training prompt is an item"):
        task.prompts(0, task.items(0))


def test_parquet_is_read(stand_ins: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "new.parquet"
    pd.DataFrame({"question": ["What is 8 + 9?"], "answer": [17]}).to_parquet(path)
    stand_ins["items"][1]["path"] = str(path)
    assert load_task(stand_ins).items(0)["answer"].tolist()[-1] == "17"


GOOD = {"question": "What is 1 + 1?", "answer": "2"}
MALFORMED = [
    (['{"question": "broken'], r"bad\.jsonl: line 2: not valid JSON"),
    (["[1, 2]"], r"bad\.jsonl: line 2: expected an object .*found a list"),
    ([{"question": "a?", "answr": "2"}],
     r"bad\.jsonl: line 2: key 'answer' is missing; allowed: question, answr\. "
     r"Did you mean 'answr'\?"),
    ([{"question": "a?", "answer": " "}], r"bad\.jsonl: line 2, key 'answer': empty"),
    ([{"question": "a?", "answer": None}], r"bad\.jsonl: line 2, key 'answer': empty"),
    ([{"question": "", "answer": "2"}], r"bad\.jsonl: line 2, key 'question': empty"),
    ([{"question": "a?", "answer": ["2"]}],
     r"line 2, key 'answer': expected a text or a number, found a list"),
    ([{"question": "a?", "answer": ""}] * 15, r"\.\.\. and 5 more"),
]  # fmt: skip


@pytest.mark.parametrize(("records", "message"), MALFORMED)
def test_malformed_lines(
    records: list[Any], message: str, stand_ins: dict[str, Any], tmp_path: Path
) -> None:
    path = write_lines(tmp_path / "bad.jsonl", [GOOD, *records])
    stand_ins["items"][1]["path"] = str(path)
    with pytest.raises(DataError, match=message):
        load_task(stand_ins).items(0)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.jsonl", None, r"none\.jsonl: no such file"),
        ("bad.json", "{", r"bad\.json: not valid JSON"),
        ("bad.json", "{}", r"bad\.json: expected a list of objects, found a dict"),
        ("bad.csv", "question,answer\na?,2,3\n", r"bad\.csv: line 2: more fields than"),
        ("bad.csv", "question,answer\na?\n", r"bad\.csv: line 2, key 'answer': empty"),
        ("bad.csv", "question,answer\n", r"bad\.csv: no rows"),
        ("bad.txt", "a", r"bad\.txt: unknown kind of file; allowed: \.jsonl, \.json"),
        ("bad.parquet", "a", r"bad\.parquet: not a readable parquet file"),
    ],
)
def test_malformed_files(
    name: str, content: str | None, message: str, stand_ins: dict[str, Any], tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content, encoding="utf-8")
    stand_ins["items"][1]["path"] = str(tmp_path / name)
    with pytest.raises(DataError, match=message):
        load_task(stand_ins).items(0)


def test_every_problem_of_every_benchmark_is_told_at_once(stand_ins: dict[str, Any]) -> None:
    stand_ins["items"][0]["question_column"] = "questoin"
    stand_ins["items"][1]["path"] = "missing.jsonl"
    with pytest.raises(DataError) as caught:
        load_task(stand_ins).items(0)
    message = str(caught.value)
    assert "column 'questoin' (question_column) is missing" in message
    assert "Did you mean 'question'?" in message
    assert "missing.jsonl: no such file" in message


def test_missing_answer_marker(stand_ins: dict[str, Any]) -> None:
    stand_ins["items"][1]["answer_after"] = "####"
    with pytest.raises(DataError, match=r"twins\.csv: line 2, key 'answer': '####'"):
        load_task(stand_ins).items(0)


def test_a_question_cannot_be_both_exposed_and_twin(stand_ins: dict[str, Any]) -> None:
    stand_ins["items"][1]["path"] = stand_ins["items"][0]["path"]
    with pytest.raises(DataError, match=r"new-0000 \(twin\) asks the same question as old-0000"):
        load_task(stand_ins).items(0)


def test_benchmark_configuration(stand_ins: dict[str, Any]) -> None:
    first, second = stand_ins["items"]
    first.update(group="expsed", answer_column=None)
    second.update(path=None, repo="someone/numbers", name="old")
    stand_ins["prompts"]["revision"] = "0" * 40
    with pytest.raises(ConfigError) as caught:
        load_task(stand_ins)
    message = str(caught.value)
    assert "task.items[0].group = 'expsed' is unknown; allowed: exposed, twin. Did you" in message
    assert "task.items[0].answer_column is empty" in message
    assert "task.items[1].split is needed with repo" in message
    assert "task.items[1].revision is needed with repo" in message
    assert "the name 'old' is used twice" in message
    assert "task.prompts.revision = " in message and "has no meaning with path" in message
    second.update(path="x.csv")
    with pytest.raises(ConfigError, match=r"items\[1\]: exactly one of repo and path is needed"):
        load_task(stand_ins)


def test_a_hub_source_is_loaded_at_its_revision(
    stand_ins: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    asked: list[Any] = []

    def load(*place: Any, **how: Any) -> list[dict[str, str]]:
        asked.append((place, how))
        if place[0] == "someone/lost":
            raise ConnectionError("no route")
        return [{"question": "What is 5 + 6?", "answer": "11"}]

    monkeypatch.setattr(datasets, "load_dataset", load)
    source = stand_ins["items"][1]
    source.update(path=None, repo="someone/numbers", split="test", revision="a" * 40)
    assert load_task(stand_ins).items(0)["item"].tolist()[-1] == "new-0000"
    assert asked == [(("someone/numbers", None), {"split": "test", "revision": "a" * 40})]
    source["repo"] = "someone/lost"
    with pytest.raises(DataError, match=r"someone/lost/test@a{12}: .*no route.*path instead of"):
        load_task(stand_ins).items(0)


# --- sources of bases ---------------------------------------------------------------------


def save_qwen2(folder: Path, **special: str) -> None:
    """Save a tiny random Qwen2 with a word tokenizer that has these special tokens."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    words = ["<eos>", "<bos>", "<unk>", "a", "b"]
    backend = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=backend, auto_map={"AutoTokenizer": [None, None]}, **special
    ).save_pretrained(folder)
    config = Qwen2Config(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        eos_token_id=0,
        bos_token_id=1,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)


def test_pretrained_source(tmp_path: Path) -> None:
    from paradox.models import load_model, load_tokenizer, save_model
    from paradox.train.sources import load_source

    names = {"eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
    save_qwen2(tmp_path / "given", pad_token="<eos>", **names)
    model, tokenizer = load_source({"kind": "pretrained", "path": str(tmp_path / "given")})
    assert tokenizer.pad_token == "<unk>" and tokenizer.eos_token == "<eos>"
    assert tokenizer.padding_side == "left"
    assert model.config.pad_token_id == tokenizer.pad_token_id != tokenizer.eos_token_id
    assert str(model.dtype) == "torch.float32"
    save_model(model, tokenizer, tmp_path / "saved")
    assert load_tokenizer(tmp_path / "saved").pad_token == "<unk>"
    again = load_model(tmp_path / "saved").state_dict()
    assert all((again[name].cpu() == value).all() for name, value in model.state_dict().items())


def test_a_tokenizer_that_cannot_pad_is_refused(tmp_path: Path) -> None:
    from paradox.train.sources import load_source

    save_qwen2(tmp_path, eos_token="<eos>", bos_token="<bos>", pad_token="<eos>")
    with pytest.raises(CheckpointError, match="no special token beside '<eos>'"):
        load_source({"kind": "pretrained", "path": str(tmp_path)})


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    from paradox.train.sources import load_source

    save_qwen2(tmp_path, eos_token="<eos>", bos_token="<bos>", unk_token="<unk>")
    weights = tmp_path / "model.safetensors"
    torch.save(load_file(weights), tmp_path / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_source({"kind": "pretrained", "path": str(tmp_path)})


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ({"kind": "pretrained"}, ConfigError, "exactly one of repo and path"),
        ({"kind": "pretrained", "repo": "a/b"}, ConfigError, "revision is needed with repo"),
        ({"kind": "pretrained", "path": "nowhere"}, CheckpointError, "nowhere: no checkpoint"),
        ({"kind": "guff"}, ConfigError, "Did you mean 'gguf'"),
        ({"kind": "gguf", "package": "no_such_weights", "file": "x.gguf"}, ParadoxError,
         "'no_such_weights'.*not installed.*make small-weights"),
    ],
)  # fmt: skip
def test_wrong_sources(source: dict[str, Any], error: type[Exception], message: str) -> None:
    from paradox.train.sources import load_source

    with pytest.raises(error, match=message):
        load_source(source)


def write_gguf(path: Path) -> np.ndarray:
    """Write a one-layer Llama with random weights as GGUF; return its embedding."""
    import gguf

    width, wide, words = 32, 64, ["<|end|>", "<|start|>", "<|spare|>", "a", "b", "ab"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(wide)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(words))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(words)
    writer.add_token_types([3, 3, 3, 1, 1, 1])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_pad_token_id(0)
    writer.add_unk_token_id(2)
    rng = np.random.default_rng(0)
    shapes = {
        "token_embd": (len(words), width),
        "output_norm": (width,),
        "blk.0.attn_norm": (width,),
        "blk.0.ffn_norm": (width,),
        **{f"blk.0.attn_{name}": (width, width) for name in ("q", "k", "v", "output")},
        **{f"blk.0.ffn_{name}": (wide, width) for name in ("gate", "up")},
        "blk.0.ffn_down": (width, wide),
    }
    tensors = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    for name, value in tensors.items():
        writer.add_tensor(f"{name}.weight", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors["token_embd"]


def test_gguf_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from paradox.models import load_model, save_model
    from paradox.train.sources import load_source

    package = tmp_path / "weights_of_a_test"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('never run this')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    embedding = write_gguf(package / "tiny.gguf")
    source = {"kind": "gguf", "package": package.name, "file": "tiny.gguf"}
    model, tokenizer = load_source(source)
    assert package.name not in sys.modules
    assert tokenizer.pad_token == "<|spare|>" and tokenizer.eos_token == "<|end|>"
    assert not hasattr(model.config, "quantization_config")
    save_model(model, tokenizer, tmp_path / "saved")
    read = load_model(tmp_path / "saved").get_input_embeddings().weight.detach().cpu().numpy()
    assert np.array_equal(read, embedding)
    with pytest.raises(CheckpointError, match=r"tinny\.gguf: no such file.*Did you mean 'tiny"):
        load_source({**source, "file": "tinny.gguf"})
