"""What every task offers, and the tables it makes.

A response has one of two modes: *recall* states the answer at once, *reason* works it out
first. A text is always prompt + response; a response starts with a space and does not hold the
end-of-sequence token.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

import pandas as pd

Mode = Literal["recall", "reason", "none"]

# The item table is a data product; docs/items.md describes each column.
ITEM_COLUMNS = [
    "item",
    "group",
    "exposure",
    "worked_documents",
    "pair",
    "question",
    "answer",
    "worked",
    "source",
]
PROMPT_COLUMNS = ["prompt_id", "question", "answer", "value"]
CORPUS_COLUMNS = ["document", "kind", "mode", "item", "text"]


class Task(ABC):
    """Items, prompts and texts of one task, and how its responses are read."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec

    @classmethod
    def vocabulary(cls, spec: dict[str, Any]) -> list[str]:
        """Return the task's words, for tasks that have their own; a word's place is its id.

        ``<pad>``, ``<bos>`` and ``<eos>`` must be among them. `spec` holds the kind and the keys
        that the declaration names (`TaskDeclaration.vocabulary`).
        """
        raise NotImplementedError(f"the task {spec['kind']!r} has no words of its own")

    @abstractmethod
    def items(self, seed: int) -> pd.DataFrame:
        """Return the item table (columns `ITEM_COLUMNS`), one row per item."""

    @abstractmethod
    def prompts(self, seed: int, items: pd.DataFrame) -> pd.DataFrame:
        """Return the training prompts (columns `PROMPT_COLUMNS`); none of them is an item."""

    def corpus(
        self, seed: int, items: pd.DataFrame, prompts: pd.DataFrame, planted: bool
    ) -> pd.DataFrame:
        """Return the training documents of a base (columns `CORPUS_COLUMNS`), in order.

        With `planted` false, the same documents are returned with never-used questions in place
        of the exposed items and random answers in recall documents. A task whose bases are
        trained elsewhere has no corpus.
        """
        raise NotImplementedError(f"the task {self.spec['kind']!r} has no corpus")

    def worked(self, question: str) -> str:
        """Return a right response that works the question out, for tasks that can."""
        raise NotImplementedError(f"the task {self.spec['kind']!r} has no worked answers")

    @abstractmethod
    def prompt(self, question: str) -> str:
        """Return the text that a model is given."""

    @property
    @abstractmethod
    def recall_scaffold(self) -> str:
        """The words between prompt and answer when a response states the answer at once."""

    @abstractmethod
    def answer_after_scaffold(self, answer: str) -> str:
        """Return the text that completes the recall scaffold with `answer` (spaces included)."""

    def answer_span(self, worked: str, answer: str) -> tuple[int, int] | None:
        """Return where a worked response states its answer (characters), or None."""
        start = worked.rfind(answer)
        return (start, start + len(answer)) if start >= 0 else None

    @abstractmethod
    def answer(self, response: str) -> str | None:
        """Return the answer that a response states in the asked form, or None."""

    @abstractmethod
    def equal(self, found: str | None, truth: str) -> bool:
        """Say whether two answers are the same; None equals nothing."""

    @abstractmethod
    def mode(self, response: str) -> Mode:
        """Say how a response goes about the question."""
