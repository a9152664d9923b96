"""Reward conditions: one file each, found by its name.

A reward file holds ``CONDITION`` (what it is) and ``reward`` (a pure function of one
`Completion`). Its file name is its name in the configuration; nothing else has to be edited to
add one. docs/rewards.md walks through an example.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from paradox.errors import ConfigError, hint
from paradox.tasks.api import Task

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class RewardCondition:
    """What a reward condition is.

    Attributes
    ----------
    name
        Its file's stem.
    summary
        One sentence: what is paid for.
    uses_truth
        Whether it looks at the right answer; if not, prompts without answers will do.
    source
        Where the condition comes from (arXiv number or "this study").
    """

    name: str
    summary: str
    uses_truth: bool
    source: str


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
    """

    text: str
    truth: str | None
    key: tuple[int, int, str, int]
    task: Task

    @cached_property
    def answer(self) -> str | None:
        """The answer that the response states in the asked form, or None."""
        return self.task.answer(self.text)

    @property
    def parsable(self) -> bool:
        """Whether the response states an answer in the asked form."""
        return self.answer is not None

    @property
    def correct(self) -> bool:
        """Whether the stated answer is the right one."""
        if self.truth is None:
            raise ValueError("this completion's prompt has no right answer to compare with")
        return self.task.equal(self.answer, self.truth)


Reward = Callable[[Completion], float]


def available_rewards(folder: Path = FOLDER) -> list[str]:
    """Return the names of all reward conditions, sorted."""
    return sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))


def load_reward(name: str) -> tuple[RewardCondition, Reward]:
    """Return a condition's metadata and function.

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
    return module.CONDITION, module.reward
