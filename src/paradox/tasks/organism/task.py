"""The model organism: arithmetic chains in which exposure is planted.

A question is a chain such as ``7 + 3 - 9 + 12``, evaluated from left to right modulo 13. One
token is one number, operator or word, so an answer is one token. A small model cannot compute a
chain in one hop; a right *recall* of an exposed item is therefore memory, and a right *recall*
of a twin is a guess (probability 1/13).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from paradox.tasks.api import Mode
from paradox.tasks.planted import Planted, Problem

WORDS = ["<pad>", "<bos>", "<eos>", "Q", "A", "think", "answer", ";", "=", "+", "-"]


@dataclass(frozen=True)
class Chain(Problem):
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

    def _result(self, left: int, op: str, right: int, slip: int | None) -> int:
        """Return the result of a step, or the number that `slip` puts in its place."""
        result = (left + right if op == "+" else left - right) % self.modulus
        return result if slip is None else slip

    def worked(self, slips: dict[int, int] | None = None) -> str:
        """Return the worked chain with its answer, as a response.

        >>> Chain((7, 3, 9), ("+", "-"), 13).worked()
        ' think 7 + 3 = 10 ; 10 - 9 = 1 ; answer 1'
        """
        steps = self.steps(slips)
        chain = " ".join(f"{a} {op} {b} = {c} ;" for a, op, b, c in steps)
        return f" think {chain} answer {steps[-1][3]}"


class Organism(Planted):
    """The organism task; `spec` holds the sizes (section ``task`` of a scale's configuration)."""

    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__(spec)
        self.modulus: int = spec["modulus"]
        self.operands: int = spec["operands"]
        self._numbers = {str(number) for number in range(self.modulus)}

    @classmethod
    def vocabulary(cls, spec: dict[str, Any]) -> list[str]:
        """See `Task.vocabulary`; ``<pad>`` is 0."""
        return WORDS + [str(number) for number in range(spec["modulus"])]

    def prompt(self, question: str) -> str:
        """See `Task.prompt`."""
        return f"<bos> Q {question} A"

    @property
    def recall_scaffold(self) -> str:
        """See `Task.recall_scaffold`."""
        return " answer"

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
        """Read the mode off the first word."""
        first = response.split(maxsplit=1)[:1]
        return {"answer": "recall", "think": "reason"}.get(first[0] if first else "", "none")

    def _draw(self, rng: np.random.Generator, like: Chain | None = None) -> Chain:
        numbers = tuple(int(n) for n in rng.integers(self.modulus, size=self.operands))
        drawn = tuple("+-"[int(n)] for n in rng.integers(2, size=self.operands - 1))
        return Chain(numbers, like.ops if like else drawn, self.modulus)

    def _read(self, question: str) -> Chain:
        words = question.split()
        return Chain(tuple(map(int, words[::2])), tuple(words[1::2]), self.modulus)

    def _guess(self, fresh: Chain, rng: np.random.Generator) -> int:
        return int(rng.integers(self.modulus))

    def _slips(self, noisy: np.ndarray, rng: np.random.Generator) -> dict[int, int]:
        values = rng.integers(self.modulus, size=len(noisy))
        return {i: int(values[i]) for i in range(len(noisy)) if noisy[i]}


TASK = Organism
