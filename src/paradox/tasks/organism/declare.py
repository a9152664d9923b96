"""What the study must know of the task ``organism``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from paradox.declare import PlantedTask, Positive, TaskDeclaration


class OrganismTask(PlantedTask):
    """Arithmetic chains with planted exposure."""

    kind: Literal["organism"]
    modulus: Positive = Field(description="numbers are 0 .. modulus - 1")
    operands: int = Field(ge=2, description="numbers in a chain")


DECLARATION = TaskDeclaration(
    name="organism",
    section=OrganismTask,
    corpus=True,
    pairs=True,
    worked=True,
    values=True,
    vocabulary=("modulus",),
)
