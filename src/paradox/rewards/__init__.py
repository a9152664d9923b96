"""Reward conditions: one file each, found by its name.

A reward file holds ``CONDITION`` (what it is) and ``reward`` (a pure function of one
`Completion`). It may hold ``PARAMETERS`` (defaults of the reward's further arguments) with
``LIMITS`` (what they may be), and ``trains_on`` (which prompts it can be used for). Its file
name is its name in the configuration; nothing else has to be edited to add one. docs/rewards.md
walks through an example. Files that start with an underscore are not conditions.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from paradox.errors import ConfigError, hint
from paradox.tasks.api import Mode, Task

FOLDER = Path(__file__).parent
# What a condition may need beside the response and the truth: the base's majority votes, the
# prompts' values.
NEEDS = ("votes", "value")


@dataclass(frozen=True)
class RewardCondition:
    """What a reward condition is.

    Attributes
    ----------
    name
        Its file's stem.
    summary
        One sentence: what is paid for.
    formula
        The reward r of response y to prompt x, with a the stated answer and g the right one.
    uses_truth
        Whether it looks at the right answer; if not, prompts without answers will do.
    source
        Where the condition comes from (arXiv number or "this study").
    needs
        Side inputs, of `NEEDS`.
    binary
        Whether it is 0 or 1 always; only such conditions can be compounded.
    scales_prompt
        Whether it is a binary reward times a number that is the same for all responses to a
        prompt. Dividing by a group's standard deviation cancels that number.
    """

    name: str
    summary: str
    formula: str
    uses_truth: bool
    source: str
    needs: tuple[str, ...] = ()
    binary: bool = True
    scales_prompt: bool = False


@dataclass(frozen=True)
class Prompt:
    """What is known of a training prompt.

    Attributes
    ----------
    prompt_id
        Its name in the table of prompts.
    truth
        The right answer, or None when the prompts have none.
    label
        The base's majority vote, or None: without votes, or where no sample stated an answer.
    label_correct
        Whether the label is right; None where that is not known.
    value
        What the prompt is worth, or None when the prompts have no values.
    permuted_value
        The value of another prompt, by a permutation of all training prompts.
    values
        The values of all training prompts.
    """

    prompt_id: str
    truth: str | None = None
    label: str | None = None
    label_correct: bool | None = None
    value: float | None = None
    permuted_value: float | None = None
    values: NDArray[np.float64] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Completion:
    """What a reward may look at.

    Attributes
    ----------
    text
        The response, special tokens removed.
    truth
        The right answer, or None when the prompts have none.
    key
        (seed, step, prompt, sample): the name of this completion, for keyed random numbers.
    task
        The task, which reads answers.
    label, value, permuted_value, values
        See `Prompt`.
    """

    text: str
    truth: str | None
    key: tuple[int, int, str, int]
    task: Task
    label: str | None = None
    value: float | None = None
    permuted_value: float | None = None
    values: NDArray[np.float64] | None = field(default=None, compare=False, repr=False)

    @cached_property
    def answer(self) -> str | None:
        """The answer that the response states in the asked form, or None."""
        return self.task.answer(self.text)

    @property
    def parsable(self) -> bool:
        """Whether the response states an answer in the asked form."""
        return self.answer is not None

    @cached_property
    def correct(self) -> bool:
        """Whether the stated answer is the right one."""
        if self.truth is None:
            raise ValueError("this completion's prompt has no right answer to compare with")
        return self.task.equal(self.answer, self.truth)

    @cached_property
    def agrees(self) -> bool:
        """Whether the stated answer is the base's majority vote."""
        if self.label is None:
            raise ValueError("this completion's prompt has no majority vote to compare with")
        return self.task.equal(self.answer, self.label)

    @cached_property
    def mode(self) -> Mode:
        """How the response goes about the question."""
        return self.task.mode(self.text)


Reward = Callable[..., float]


class RewardFile(NamedTuple):
    """What a reward file holds; see `RewardCondition` and the module's text."""

    condition: RewardCondition
    reward: Reward
    parameters: Mapping[str, float]
    limits: Mapping[str, tuple[float, float]]
    trains_on: Callable[[Prompt], bool] | None


def available_rewards(folder: Path = FOLDER) -> list[str]:
    """Return the names of all reward conditions, sorted."""
    return sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))


def load_file(name: str) -> RewardFile:
    """Return what a condition's file holds.

    Raises
    ------
    ConfigError
        When there is no such file, or the file is not a reward condition.
    """
    if name not in available_rewards():
        raise ConfigError(
            f"arms.rewards: {name!r} is not a reward condition; {hint(name, available_rewards())}"
        )
    module = importlib.import_module(f"paradox.rewards.{name}")
    file = FOLDER / f"{name}.py"
    missing = [part for part in ("CONDITION", "reward") if not hasattr(module, part)]
    if missing:
        raise ConfigError(f"{file}: a reward file must define {' and '.join(missing)}.")
    if module.CONDITION.name != name:
        raise ConfigError(
            f"{file}: CONDITION.name is {module.CONDITION.name!r}, but the file's name is {name!r}."
        )
    parameters: dict[str, float] = getattr(module, "PARAMETERS", {})
    limits: dict[str, tuple[float, float]] = getattr(module, "LIMITS", {})
    _check_declared(file, module.CONDITION, module.reward, parameters, limits)
    trains_on = getattr(module, "trains_on", None)
    return RewardFile(module.CONDITION, module.reward, parameters, limits, trains_on)


def load_reward(name: str) -> tuple[RewardCondition, Reward]:
    """Return a condition's metadata and its function, which has the default parameters."""
    return load_file(name)[:2]


def _check_declared(
    file: Path,
    condition: RewardCondition,
    reward: Reward,
    parameters: Mapping[str, float],
    limits: Mapping[str, tuple[float, float]],
) -> None:
    """Check that a file's declarations fit its function."""
    taken: dict[str, Any] = {
        name: argument.default
        for name, argument in list(inspect.signature(reward).parameters.items())[1:]
    }
    if taken != dict(parameters):
        raise ConfigError(
            f"{file}: reward takes {taken or 'no parameters'}, but PARAMETERS is "
            f"{dict(parameters)}; the defaults must be equal."
        )
    if sorted(limits) != sorted(parameters):
        raise ConfigError(f"{file}: LIMITS must give (lowest, highest) of each of PARAMETERS.")
    for need in condition.needs:
        if need not in NEEDS:
            raise ConfigError(f"{file}: CONDITION.needs has {need!r}; {hint(need, NEEDS)}")
