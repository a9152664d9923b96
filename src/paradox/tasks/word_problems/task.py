"""Word problems in plain English in which exposure is planted, for real language models.

A problem is a short story with four numbers, worked out in three steps such as
``(46 + 12 - 3) * 4``. The stories come from templates; every result on the way is a positive
whole number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from paradox.tasks.api import Mode
from paradox.tasks.math_answers import equal_answers, response_mode, stated_answer
from paradox.tasks.planted import Planted, Problem

NAMES = (
    "Ada Ben Clara David Emma Farid Grace Hugo Iris Jonas Kira Leo Mina Noah Olga Peter Rosa Sam "
    "Tara Umar Vera Walter Yara Zoe"
).split()
THINGS = (
    "apples pears oranges coins books stamps marbles shells pencils buttons cards beads stickers "
    "badges ribbons cookies"
).split()
# The numbers stand in the order of the steps: the first step uses {0} and {1}, and so on.
TEMPLATES: list[tuple[tuple[str, ...], str]] = [
    (
        ("+", "-", "*"),
        "{name} collects {0} {things} in the morning and {1} in the afternoon, but {2} of them "
        "get lost. A neighbor has {3} times as many as {name} has now. How many {things} does "
        "the neighbor have?",
    ),
    (
        ("+", "-", "*"),
        "{name} has {0} {things} and buys {1} more. After giving {2} of them to a friend, {name} "
        "sells the rest for {3} dollars each. How many dollars does {name} get?",
    ),
    (
        ("-", "+", "*"),
        "A box holds {0} {things}. {name} takes out {1} and puts in {2} others. How many "
        "{things} are there in {3} such boxes?",
    ),
    (
        ("-", "+", "*"),
        "{name} had {0} {things}, lost {1} and then won {2}. Each of them weighs {3} grams. How "
        "many grams do the {things} of {name} weigh now?",
    ),
    (
        ("*", "+", "-"),
        "Each of {0} shelves holds {1} {things}. {name} brings {2} more and then takes {3} home. "
        "How many {things} are there now?",
    ),
    (
        ("*", "+", "-"),
        "{name} orders {0} bags with {1} {things} each. The shop adds {2} {things} for free, and "
        "{3} turn out to be broken. How many good {things} does {name} have?",
    ),
    (
        ("+", "*", "-"),
        "Each week {name} gets {0} {things} from one shop and {1} from another. After {2} weeks "
        "{name} gives {3} of them away. How many {things} are left?",
    ),
    (
        ("+", "*", "-"),
        "A crate holds {0} red and {1} blue {things}. {name} opens {2} such crates and removes "
        "{3} {things}. How many {things} remain?",
    ),
]
# Inclusive ranges: of the first number, then of the number after each operator. They are chosen
# so that no result falls below 1, slips included.
FIRST = (11, 60)
RANGES = {"+": (11, 40), "-": (2, 9), "*": (2, 9)}
LARGEST_SLIP = 9
SMALLEST_AFTER_SLIP = 10


@dataclass(frozen=True)
class Story(Problem):
    """A word problem: its text, and the chain ``numbers[0] ops[0] numbers[1] ...`` behind it."""

    question: str
    numbers: tuple[int, ...]
    ops: tuple[str, ...]

    def _result(self, left: int, op: str, right: int, slip: int | None) -> int:
        """Return the result of a step plus `slip`, which goes up where less than allowed is left.

        The least that a slip may leave is `SMALLEST_AFTER_SLIP`.
        """
        result, slip = {"+": left + right, "-": left - right, "*": left * right}[op], slip or 0
        return result + (slip if result + slip >= SMALLEST_AFTER_SLIP else abs(slip))

    def worked(self, slips: dict[int, int] | None = None) -> str:
        """Return the worked steps with their answer, as a response.

        >>> Story("", (46, 12, 3, 4), ("+", "-", "*")).worked()
        ' 46 + 12 = 58. 58 - 3 = 55. 55 * 4 = 220. The answer is 220.'
        """
        steps = self.steps(slips)
        chain = " ".join(f"{a} {op} {b} = {c}." for a, op, b, c in steps)
        return f" {chain} The answer is {steps[-1][3]}."


class WordProblems(Planted):
    """The word problems; `spec` holds the sizes (section ``task`` of a scale's configuration)."""

    def prompt(self, question: str) -> str:
        """See `Task.prompt`."""
        return f"Question: {question}\nAnswer:"

    @property
    def recall_scaffold(self) -> str:
        """See `Task.recall_scaffold`."""
        return " The answer is"

    def answer(self, response: str) -> str | None:
        """Return the value that the response states last, else None; here a value is a number."""
        found = stated_answer(response)
        return found if found and re.search(r"\d", found) else None

    def equal(self, found: str | None, truth: str) -> bool:
        """Compare values: ``220.0`` equals ``220``."""
        return equal_answers(found, truth)

    def mode(self, response: str) -> Mode:
        """See `math_answers.response_mode`."""
        return response_mode(response)

    def _draw(self, rng: np.random.Generator, like: Story | None = None) -> Story:
        place = int(rng.integers(len(TEMPLATES)))
        name, things = NAMES[int(rng.integers(len(NAMES)))], THINGS[int(rng.integers(len(THINGS)))]
        ops, text = TEMPLATES[place] if like is None else _template(like.question)
        ranges = [FIRST, *(RANGES[op] for op in ops)]
        numbers = tuple(int(rng.integers(low, high + 1)) for low, high in ranges)
        return Story(text.format(*numbers, name=name, things=things), numbers, ops)

    def _read(self, question: str) -> Story:
        # In every template the numbers stand in the order of the steps.
        numbers = tuple(int(number) for number in re.findall(r"\d+", question))
        return Story(question, numbers, _template(question)[0])

    def _key(self, question: str) -> str:
        """Return the numbers: the same sum about other things would give its answer away."""
        return " ".join(re.findall(r"\d+", question))

    def _recall(self, answer: int) -> str:
        return f"{super()._recall(answer)}."

    def _guess(self, fresh: Story, rng: np.random.Generator) -> int:
        return self._draw(rng, fresh).answer

    def _slips(self, noisy: np.ndarray, rng: np.random.Generator) -> dict[int, int]:
        sizes = rng.integers(1, LARGEST_SLIP + 1, size=len(noisy))
        signs = rng.integers(2, size=len(noisy)) * 2 - 1
        return {i: int(sizes[i] * signs[i]) for i in range(len(noisy)) if noisy[i]}


TASK = WordProblems


def _template(question: str) -> tuple[tuple[str, ...], str]:
    """Return the template that `question` was made from."""
    for ops, text in TEMPLATES:
        pattern = re.sub(r"\\\{\w+\\\}", r"\\w+", re.escape(text))
        if re.fullmatch(pattern, question):
            return ops, text
    raise ValueError(f"not made from a template: {question!r}")
