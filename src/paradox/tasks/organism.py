"""The model organism: arithmetic chains in which exposure is planted.

A question is a chain such as ``7 + 3 - 9 + 12``, evaluated from left to right modulo 13. One
token is one number, operator or word, so an answer is one token. A small model cannot compute a
chain in one hop; a right *recall* of an exposed item is therefore memory, and a right *recall*
of a twin is a guess (probability 1/13).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from paradox.seeds import keyed_rng
from paradox.tasks.api import ITEM_COLUMNS, PROMPT_COLUMNS, Mode, Task

WORDS = ["<pad>", "<bos>", "<eos>", "Q", "A", "think", "answer", ";", "=", "+", "-"]


@dataclass(frozen=True)
class Chain:
    """A question: ``numbers[0] ops[0] numbers[1] ...`` modulo `modulus`."""

    numbers: tuple[int, ...]
    ops: tuple[str, ...]
    modulus: int

    @property
    def question(self) -> str:
        """The question's text, for example ``"7 + 3 - 9"``."""
        parts = [str(self.numbers[0])]
        for op, number in zip(self.ops, self.numbers[1:], strict=True):
            parts += [op, str(number)]
        return " ".join(parts)

    def steps(self, wrong: dict[int, int] | None = None) -> list[tuple[int, str, int, int]]:
        """Return (left, op, right, result) of each step.

        `wrong` replaces the result of a step by another number, which is carried on.
        """
        left, steps = self.numbers[0], []
        for index, (op, right) in enumerate(zip(self.ops, self.numbers[1:], strict=True)):
            result = (left + right if op == "+" else left - right) % self.modulus
            result = (wrong or {}).get(index, result)
            steps.append((left, op, right, result))
            left = result
        return steps

    @property
    def answer(self) -> int:
        """The chain's value."""
        return self.steps()[-1][3]

    def worked(self, wrong: dict[int, int] | None = None) -> str:
        """Return the worked chain with its answer, as a response.

        >>> Chain((7, 3, 9), ("+", "-"), 13).worked()
        ' think 7 + 3 = 10 ; 10 - 9 = 1 ; answer 1'
        """
        steps = self.steps(wrong)
        chain = " ".join(f"{a} {op} {b} = {c} ;" for a, op, b, c in steps)
        return f" think {chain} answer {steps[-1][3]}"


def vocabulary(modulus: int) -> list[str]:
    """Return the organism's tokens; a token's place is its id (``<pad>`` is 0)."""
    return WORDS + [str(number) for number in range(modulus)]


class Organism(Task):
    """The organism task; `spec` holds the sizes (section ``task`` of a scale's configuration)."""

    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__(spec)
        self.modulus: int = spec["modulus"]
        self.operands: int = spec["operands"]
        self._numbers = {str(number) for number in range(self.modulus)}

    # --- texts and responses -------------------------------------------------------------

    def prompt(self, question: str) -> str:
        """See `Task.prompt`."""
        return f"<bos> Q {question} A"

    @property
    def recall_scaffold(self) -> str:
        """See `Task.recall_scaffold`."""
        return " answer"

    def answer_after_scaffold(self, answer: str) -> str:
        """See `Task.answer_after_scaffold`."""
        return f" {answer}"

    def answer(self, response: str) -> str | None:
        """Return the number after the last ``answer`` when it ends the response, else None."""
        words = response.split()
        if len(words) >= 2 and words[-2] == "answer" and words[-1] in self._numbers:
            return words[-1]
        return None

    def equal(self, found: str | None, truth: str) -> bool:
        """Answers are single tokens, compared exactly."""
        return found is not None and found == truth

    def mode(self, response: str) -> Mode:
        """The first word tells the mode."""
        first = response.split(maxsplit=1)[:1]
        return {"answer": "recall", "think": "reason"}.get(first[0] if first else "", "none")

    # --- data ----------------------------------------------------------------------------

    def _draw(self, rng: np.random.Generator, ops: tuple[str, ...] | None = None) -> Chain:
        numbers = tuple(int(n) for n in rng.integers(self.modulus, size=self.operands))
        drawn = tuple("+-"[int(n)] for n in rng.integers(2, size=self.operands - 1))
        return Chain(numbers, ops or drawn, self.modulus)

    def _parse(self, question: str) -> Chain:
        words = question.split()
        return Chain(tuple(map(int, words[::2])), tuple(words[1::2]), self.modulus)

    def items(self, seed: int) -> pd.DataFrame:
        """Return exposed items at every exposure, each followed by its never-seen twin.

        A twin has its item's operators and other numbers; no two questions are equal.
        """
        rng = keyed_rng(seed, "organism", "items")
        used: set[str] = set()
        rows = []
        for exposure in self.spec["exposures"]:
            for index in range(self.spec["items_per_exposure"]):
                exposed = self._fresh(rng, used)
                used.add(exposed.question)
                twin = self._fresh(rng, used, exposed.ops)
                used.add(twin.question)
                pair = f"p{exposure}-{index:03d}"
                worked = round(exposure * self.spec["worked_per_recall"])
                rows.append(self._item(f"e{exposure}-{index:03d}", exposed, pair, exposure, worked))
                rows.append(self._item(f"t{exposure}-{index:03d}", twin, pair, 0, 0))
        return pd.DataFrame(rows, columns=ITEM_COLUMNS)

    def _item(self, name: str, chain: Chain, pair: str, exposure: int, worked: int) -> list[Any]:
        group = "exposed" if exposure else "twin"
        answer = str(chain.answer)
        question, solution = chain.question, chain.worked()
        return [name, group, exposure, worked, pair, question, answer, solution, "organism"]

    def _fresh(
        self, rng: np.random.Generator, used: set[str], ops: tuple[str, ...] | None = None
    ) -> Chain:
        while True:
            chain = self._draw(rng, ops)
            if chain.question not in used:
                return chain

    def prompts(self, seed: int, items: pd.DataFrame) -> pd.DataFrame:
        """Return fresh questions for training; none is an item, none repeats."""
        rng = keyed_rng(seed, "organism", "prompts")
        used = set(items["question"])
        rows = []
        for index in range(self.spec["prompts"]):
            chain = self._fresh(rng, used)
            used.add(chain.question)
            rows.append([f"f{index:05d}", chain.question, str(chain.answer)])
        return pd.DataFrame(rows, columns=PROMPT_COLUMNS)

    def corpus(
        self, seed: int, items: pd.DataFrame, prompts: pd.DataFrame, planted: bool
    ) -> pd.DataFrame:
        """Return the corpus of the contaminated (`planted`) or the clean base.

        The two corpora are matched document by document: same order, same mode, same noise. They
        differ only where the planted one holds an exposed item.
        """
        reserved = set(items["question"]) | set(prompts["question"])
        rows = []
        for number, (item, mode) in enumerate(self._layout(seed, items)):
            rng = keyed_rng(seed, "organism", "document", number)
            fresh = self._fresh(rng, reserved)
            chain = fresh if item is None or not planted else self._parse(item.question)
            known = item is not None and planted
            text = self.prompt(chain.question) + self._response(chain, mode, known, rng)
            kind = "fresh" if item is None else ("exposed" if planted else "matched")
            rows.append((number, kind, mode, item.item if known else None, text + " <eos>"))
        return pd.DataFrame(rows, columns=["document", "kind", "mode", "item", "text"])

    def _layout(self, seed: int, items: pd.DataFrame) -> Iterator[tuple[Any, Mode]]:
        """Yield (item or None, mode) for each document, in shuffled order."""
        plan: list[tuple[Any, Mode]] = []
        for item in items.itertuples():
            plan += [(item, "recall")] * item.exposure
            plan += [(item, "reason")] * item.worked_documents
        fresh = self.spec["documents"] - len(plan)
        recall = round(fresh * self.spec["fresh_recall_share"])
        plan += [(None, "recall")] * recall + [(None, "reason")] * (fresh - recall)
        order = keyed_rng(seed, "organism", "layout").permutation(len(plan))
        return (plan[index] for index in order)

    def _response(self, chain: Chain, mode: Mode, known: bool, rng: np.random.Generator) -> str:
        guess = int(rng.integers(self.modulus))
        if mode == "recall":
            # People guess: only exposed items are followed by their own answer.
            return f" answer {chain.answer if known else guess}"
        steps = len(chain.ops)
        noisy = rng.random(steps) < self.spec["step_noise"]
        values = rng.integers(self.modulus, size=steps)
        wrong = {i: int(values[i]) for i in range(steps) if noisy[i]}
        worked = chain.worked(wrong)
        breaks_off = rng.random() < self.spec["break_off_share"]
        return worked[: worked.rindex(" answer")] if breaks_off else worked
