"""Benchmarks: files and data sets are read as they are, and malformed ones are explained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from paradox.errors import ConfigError, DataError
from paradox.tasks import load_task
from paradox.tasks.api import ITEM_COLUMNS

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
    assert task.answer_span(" It is \\boxed{7}, as in 17.", "7") == (14, 15)
    with pytest.raises(NotImplementedError, match="no corpus"):
        task.corpus(0, items, items, planted=True)


def test_benchmark_prompts_hold_no_item_and_no_repetition(stand_ins: dict[str, Any]) -> None:
    task = load_task(stand_ins)
    prompts = task.prompts(0, task.items(0))
    assert prompts.to_dict("records") == [
        {"prompt_id": "f00001", "question": "What is 20 + 1?", "answer": "21", "value": None}
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
