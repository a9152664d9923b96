"""What the study must know of the task ``word_problems``."""

from __future__ import annotations

from typing import Literal

from paradox.declare import PlantedTask, TaskDeclaration


class WordProblemsTask(PlantedTask):
    """Word problems in plain English with planted exposure."""

    kind: Literal["word_problems"]


DECLARATION = TaskDeclaration(
    name="word_problems",
    section=WordProblemsTask,
    corpus=True,
    pairs=True,
    worked=True,
    values=True,
)
