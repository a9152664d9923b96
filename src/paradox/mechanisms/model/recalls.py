"""Recall prompts as token batches, shared by the mechanisms that read the answer's prediction.

A recall prompt is prompt + recall scaffold; the answer is the gold continuation, tokenised in its
place. In a batch, column ``at + k`` predicts the answer token after k (gold ones, teacher-forced)
in every row, so a distance from `Batch.at` means the same in every row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from paradox.errors import DataError, problems
from paradox.seeds import keyed_rng
from paradox.tasks import Task


@dataclass(frozen=True)
class Recall:
    """The recall prompt of one item."""

    item: str  # its name
    prompt: list[int]  # tokens before the answer
    gold: list[int]  # tokens of the right answer
    control: int  # first token of a wrong answer of the same form


@dataclass(frozen=True)
class Batch:
    """Recall prompts side by side."""

    rows: list[int]  # their places in the list they come from
    # `ids`, `mask`, `positions`: inputs of the model, shape (rows, tokens); the last answer token
    # is not among them.
    ids: torch.Tensor
    mask: torch.Tensor
    positions: torch.Tensor
    at: int  # the column that predicts the first answer token
    # `gold`, `real`: answer tokens and which of them exist, shape (rows, longest answer).
    gold: torch.Tensor
    real: torch.Tensor
    control: torch.Tensor  # first token of each row's wrong answer

    @property
    def inputs(self) -> dict[str, torch.Tensor]:
        """Keyword arguments of a forward pass."""
        return {
            "input_ids": self.ids,
            "attention_mask": self.mask,
            "position_ids": self.positions,
        }


def recalls(
    task: Task, tokenizer: PreTrainedTokenizerBase, items: pd.DataFrame, seed: int
) -> list[Recall]:
    """Return the recall prompt of every item.

    A token belongs to the answer when its last character does; tokens that all answers begin with
    (the space before a number) count as prompt. The wrong answer is drawn, keyed by `seed` and the
    item, from the answers that have the same form (digit for digit, letter for letter) and another
    first token; where there is none, from all answers with another first token.

    Raises `DataError` when an item has no such wrong answer.
    """
    answers = {form: sorted(set(group)) for form, group in items["answer"].groupby(_forms(items))}
    everything = sorted(set(items["answer"]))
    read = [_tokens(task, tokenizer, item.question, item.answer) for item in items.itertuples()]
    begin = _begin([gold for _, gold in read])
    prompts, bad = [], []
    for item, form, (prompt, gold) in zip(items.itertuples(), _forms(items), read, strict=True):
        prompt, gold = prompt + gold[:begin], gold[begin:]
        control = None
        for pool in (answers[form], everything):
            order = keyed_rng(seed, "control answer", item.item).permutation(len(pool))
            others = (_tokens(task, tokenizer, item.question, pool[i])[1] for i in order)
            control = next((one[begin] for one in others if one[begin] != gold[0]), None)
            if control is not None:
                break
        if control is None:
            bad.append(f"item {item.item!r}: no item has an answer with another first token")
            continue
        prompts.append(Recall(str(item.item), prompt, gold, control))
    if bad:
        raise DataError(problems("no wrong answers to compare with", bad))
    return prompts


def _begin(answers: list[list[int]]) -> int:
    """Return how many tokens all answers begin with, at most all but one of the shortest."""
    columns = list(zip(*answers, strict=False))[: min(map(len, answers)) - 1]
    return next((n for n, tokens in enumerate(columns) if len(set(tokens)) > 1), len(columns))


def _forms(items: pd.DataFrame) -> pd.Series:
    return items["answer"].map(lambda text: re.sub(r"[A-Za-z]", "a", re.sub(r"\d", "0", text)))


def _tokens(
    task: Task, tokenizer: PreTrainedTokenizerBase, question: str, answer: str
) -> tuple[list[int], list[int]]:
    """Return the tokens before the answer and those of the answer."""
    before = task.prompt(question) + task.recall_scaffold
    text = before + task.answer_after_scaffold(answer)
    coded = tokenizer(text, return_offsets_mapping=True)
    ids = coded["input_ids"]
    start = next(i for i, (_, end) in enumerate(coded["offset_mapping"]) if end > len(before))
    return ids[:start], ids[start:]


def batches(
    prompts: Sequence[Recall], size: int, device: torch.device, answers: bool = True
) -> Iterator[Batch]:
    """Yield batches of prompts of similar length.

    Without `answers` the prompts end at `Batch.at`, and only the first answer token is predicted.
    """
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index].prompt))
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        chosen = [prompts[row] for row in rows]
        gold = [recall.gold if answers else recall.gold[:1] for recall in chosen]
        left = max(len(recall.prompt) for recall in chosen)
        right = max(map(len, gold)) - 1
        ids = torch.zeros(len(rows), left + right, dtype=torch.long)
        mask = torch.zeros_like(ids)
        targets = torch.zeros(len(rows), right + 1, dtype=torch.long)
        real = torch.zeros(len(rows), right + 1, dtype=torch.bool)
        for row, (recall, tokens) in enumerate(zip(chosen, gold, strict=True)):
            text = recall.prompt + tokens[:-1]
            first = left - len(recall.prompt)
            ids[row, first : first + len(text)] = torch.tensor(text)
            mask[row, first : first + len(text)] = 1
            targets[row, : len(tokens)] = torch.tensor(tokens)
            real[row, : len(tokens)] = True
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        control = torch.tensor([recall.control for recall in chosen])
        inputs = (t.to(device) for t in (ids, mask, positions))
        yield Batch(rows, *inputs, left - 1, *(t.to(device) for t in (targets, real, control)))


def scaffold_tokens(
    task: Task, tokenizer: PreTrainedTokenizerBase, items: pd.DataFrame, prompts: list[Recall]
) -> list[int]:
    """Return how many of the last prompt tokens belong to the scaffold, at least one."""
    counts = []
    for item, recall in zip(items.itertuples(), prompts, strict=True):
        prompt = task.prompt(item.question)
        text = prompt + task.recall_scaffold + task.answer_after_scaffold(item.answer)
        ends = [end for _, end in tokenizer(text, return_offsets_mapping=True)["offset_mapping"]]
        before = sum(end <= len(prompt) for end in ends)
        counts.append(max(1, len(recall.prompt) - before))
    return counts
