"""Tasks whose contamination is planted: how often a base saw an item is a number we chose.

Every exposed item has a twin of the same form that is in no corpus. What a base does better on
exposed items than on their twins is therefore memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from paradox.errors import ConfigError
from paradox.seeds import keyed_rng, keyed_uniform
from paradox.tasks.api import CORPUS_COLUMNS, ITEM_COLUMNS, PROMPT_COLUMNS, Mode, Task

# Exams of 2510.20187: a question's mean share of the points is .02, and few exceed .1.
EXAM = 50
POINTS = (1, 2, 3, 5, 10, 20)
POINT_SHARES = (0.3, 0.3, 0.2, 0.1, 0.08, 0.02)


class Problem(ABC):
    """A question about the chain ``numbers[0] ops[0] numbers[1] ...``, worked out step by step."""

    question: str
    numbers: tuple[int, ...]
    ops: tuple[str, ...]

    def steps(self, slips: dict[int, int] | None = None) -> list[tuple[int, str, int, int]]:
        """Return (left, op, right, result) of each step; a slip's result is carried on."""
        left, steps = self.numbers[0], []
        for index, (op, right) in enumerate(zip(self.ops, self.numbers[1:], strict=True)):
            result = self._result(left, op, right, (slips or {}).get(index))
            steps.append((left, op, right, result))
            left = result
        return steps

    @property
    def answer(self) -> int:
        """The right answer."""
        return self.steps()[-1][3]

    @abstractmethod
    def _result(self, left: int, op: str, right: int, slip: int | None) -> int:
        """Return the result of one step, which may go wrong."""

    @abstractmethod
    def worked(self, slips: dict[int, int] | None = None) -> str:
        """Return a worked response; `slips` says which steps go wrong, and how."""


class Planted(Task):
    """A task with planted contamination; `spec` holds the sizes (a scale's section ``task``)."""

    def answer_after_scaffold(self, answer: str) -> str:
        """See `Task.answer_after_scaffold`."""
        return f" {answer}"

    def worked(self, question: str) -> str:
        """See `Task.worked`."""
        return self._read(question).worked()

    @abstractmethod
    def _draw(self, rng: np.random.Generator, like: Any = None) -> Any:
        """Return a random problem, of the same form as `like` when that is given."""

    @abstractmethod
    def _read(self, question: str) -> Any:
        """Return the problem that a question asks."""

    @abstractmethod
    def _guess(self, fresh: Any, rng: np.random.Generator) -> int:
        """Return a random answer, of the kind that questions like `fresh` have."""

    @abstractmethod
    def _slips(self, noisy: np.ndarray, rng: np.random.Generator) -> dict[int, int]:
        """Return a slip (as `Problem.worked` wants it) for each true entry of `noisy`."""

    def _key(self, question: str) -> str:
        """Return what makes a question the same as another."""
        return question

    def _recall(self, answer: int) -> str:
        """Return the response that states `answer` at once."""
        return self.recall_scaffold + self.answer_after_scaffold(str(answer))

    def items(self, seed: int) -> pd.DataFrame:
        """Return exposed items at every exposure, each followed by its never-seen twin.

        A twin has its item's form with other content; no two questions are the same.
        """
        rng = keyed_rng(seed, self.spec["kind"], "items")
        used: set[str] = set()
        rows = []
        for exposure in self.spec["exposures"]:
            for index in range(self.spec["items_per_exposure"]):
                exposed = self._fresh(rng, used)
                used.add(self._key(exposed.question))
                twin = self._fresh(rng, used, exposed)
                used.add(self._key(twin.question))
                pair = f"p{exposure}-{index:03d}"
                worked = round(exposure * self.spec["worked_per_recall"])
                rows.append(self._item(f"e{exposure}-{index:03d}", exposed, pair, exposure, worked))
                rows.append(self._item(f"t{exposure}-{index:03d}", twin, pair, 0, 0))
        return pd.DataFrame(rows, columns=ITEM_COLUMNS)

    def _item(self, name: str, item: Problem, pair: str, exposure: int, worked: int) -> list[Any]:
        group = "exposed" if exposure else "twin"
        answer, source = str(item.answer), self.spec["kind"]
        return [name, group, exposure, worked, pair, item.question, answer, item.worked(), source]

    def _fresh(self, rng: np.random.Generator, used: set[str], like: Any = None) -> Any:
        while True:
            drawn = self._draw(rng, like)
            if self._key(drawn.question) not in used:
                return drawn

    def prompts(self, seed: int, items: pd.DataFrame) -> pd.DataFrame:
        """Return fresh questions for training; none is an item, none repeats."""
        rng = keyed_rng(seed, self.spec["kind"], "prompts")
        used = {self._key(question) for question in items["question"]}
        rows = []
        for index in range(self.spec["prompts"]):
            drawn = self._fresh(rng, used)
            used.add(self._key(drawn.question))
            rows.append([f"f{index:05d}", drawn.question, str(drawn.answer)])
        values = self._values(seed, [name for name, *_ in rows])
        rows = [[*row, value] for row, value in zip(rows, values, strict=True)]
        return pd.DataFrame(rows, columns=PROMPT_COLUMNS)

    def _values(self, seed: int, names: list[str]) -> list[float]:
        """Return what each prompt is worth: its points as a share of its exam's.

        Consecutive prompts are an exam. Points are drawn by name, whatever the question is, so
        that value says nothing about difficulty.
        """
        chosen = np.searchsorted(
            np.cumsum(POINT_SHARES),
            [keyed_uniform(seed, self.spec["kind"], "points", name) for name in names],
            side="right",
        )
        points = np.array(POINTS)[chosen.clip(max=len(POINTS) - 1)]
        exams = np.array_split(points, max(1, round(len(names) / EXAM)))
        return [float(share) for exam in exams for share in exam / exam.sum()]

    def corpus(
        self, seed: int, items: pd.DataFrame, prompts: pd.DataFrame, planted: bool
    ) -> pd.DataFrame:
        """Return the corpus of the contaminated (`planted`) or the clean base.

        The two corpora are matched document by document: same order, same mode, same noise. They
        differ only where the planted one holds an exposed item. A text is prompt + response; the
        end-of-sequence token is the tokenizer's, and training adds it.
        """
        reserved = {self._key(text) for text in [*items["question"], *prompts["question"]]}
        rows = []
        for number, (item, mode) in enumerate(self._layout(seed, items)):
            rng = keyed_rng(seed, self.spec["kind"], "document", number)
            # Drawn for every document, so that both corpora use the same random numbers.
            fresh = self._fresh(rng, reserved)
            known = item is not None and planted
            shown = self._read(item.question) if known else fresh
            text = self.prompt(shown.question) + self._response(shown, fresh, mode, rng)
            kind = "fresh" if item is None else ("exposed" if planted else "matched")
            rows.append((number, kind, mode, item.item if known else None, text))
        return pd.DataFrame(rows, columns=CORPUS_COLUMNS)

    def _layout(self, seed: int, items: pd.DataFrame) -> Iterator[tuple[Any, Mode]]:
        """Yield (item or None, mode) for each document, in shuffled order."""
        plan: list[tuple[Any, Mode]] = []
        for item in items.itertuples():
            plan += [(item, "recall")] * item.exposure
            plan += [(item, "reason")] * item.worked_documents
        fresh = self.spec["documents"] - len(plan)
        if fresh < 0:
            raise ConfigError(
                f"task.documents = {self.spec['documents']} is too small: the exposed items alone "
                f"need {len(plan)} (exposures x items_per_exposure x (1 + worked_per_recall))."
            )
        recall = round(fresh * self.spec["fresh_recall_share"])
        plan += [(None, "recall")] * recall + [(None, "reason")] * (fresh - recall)
        order = keyed_rng(seed, self.spec["kind"], "layout").permutation(len(plan))
        return (plan[index] for index in order)

    def _response(
        self, shown: Problem, fresh: Problem, mode: Mode, rng: np.random.Generator
    ) -> str:
        guess = self._guess(fresh, rng)
        if mode == "recall":
            # People guess: only exposed items are followed by their own answer.
            return self._recall(guess if shown is fresh else shown.answer)
        noisy = rng.random(len(shown.ops)) < self.spec["step_noise"]
        worked = shown.worked(self._slips(noisy, rng))
        breaks_off = rng.random() < self.spec["break_off_share"]
        return worked[: worked.rindex(self.recall_scaffold)] if breaks_off else worked
