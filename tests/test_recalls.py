"""Recall prompts: tokens in their place, batches that line up, wrong answers of the same form."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
import torch

from paradox.errors import DataError
from paradox.mechanisms.model.recalls import Recall, batches, recalls
from paradox.tasks import load_task
from paradox.tokenizer import word_tokenizer


@pytest.fixture(scope="module")
def parts(task_spec: dict[str, Any]) -> tuple[Any, Any, pd.DataFrame]:
    task = load_task(task_spec)
    return task, word_tokenizer(task.vocabulary(task_spec)), task.items(0)


def test_prompts_and_answers_are_the_texts(parts: tuple[Any, Any, pd.DataFrame]) -> None:
    task, tokenizer, items = parts
    for recall, item in zip(recalls(task, tokenizer, items, 0), items.itertuples(), strict=True):
        text = tokenizer.convert_ids_to_tokens(recall.prompt)
        assert " ".join(text) == f"<bos> Q {item.question} A answer"
        assert tokenizer.convert_ids_to_tokens(recall.gold) == [item.answer]
        wrong = tokenizer.convert_ids_to_tokens(recall.control)
        assert wrong != item.answer and len(wrong) == len(item.answer)


def test_wrong_answers_depend_on_seed_and_item_only(
    parts: tuple[Any, Any, pd.DataFrame],
) -> None:
    task, tokenizer, items = parts
    drawn = {r.item: r.control for r in recalls(task, tokenizer, items, 0)}
    turned = recalls(task, tokenizer, items[::-1], 0)
    assert {r.item: r.control for r in turned} == drawn
    assert {r.item: r.control for r in recalls(task, tokenizer, items, 1)} != drawn


def test_no_wrong_answer_is_an_error_that_names_the_item(
    parts: tuple[Any, Any, pd.DataFrame],
) -> None:
    task, tokenizer, items = parts
    with pytest.raises(DataError, match=items["item"][0]):
        recalls(task, tokenizer, items.assign(answer="7"), 0)


def test_what_all_answers_begin_with_is_prompt(parts: tuple[Any, Any, pd.DataFrame]) -> None:
    task, tokenizer, items = parts
    longer = items.assign(answer="1 2 " + items["answer"])
    for recall, item in zip(recalls(task, tokenizer, longer, 0), items.itertuples(), strict=True):
        assert tokenizer.convert_ids_to_tokens(recall.prompt)[-3:] == ["answer", "1", "2"]
        assert tokenizer.convert_ids_to_tokens(recall.gold) == [item.answer]
        assert recall.control != recall.gold[0]


def test_columns_line_up_where_lengths_differ() -> None:
    prompts = [
        Recall("a", [5, 6, 7], [8, 9, 10], 11),
        Recall("b", [5, 6, 7, 8, 9], [4], 3),
        Recall("c", [5], [6, 7], 8),
    ]
    (batch,) = batches(prompts, 8, torch.device("cpu"))
    assert batch.at == 4 and batch.ids.shape == (3, 7)
    for row, place in enumerate(batch.rows):
        recall = prompts[place]
        real = batch.mask[row].bool()
        assert batch.ids[row][real].tolist() == recall.prompt + recall.gold[:-1]
        assert batch.positions[row][real].tolist() == list(range(int(real.sum())))
        assert batch.ids[row, batch.at] == recall.prompt[-1]
        assert batch.gold[row][batch.real[row]].tolist() == recall.gold
    (short,) = batches(prompts, 8, torch.device("cpu"), answers=False)
    assert short.ids.shape == (3, 5) and short.real.all()
    assert [len(b.rows) for b in batches(prompts, 2, torch.device("cpu"))] == [2, 1]
