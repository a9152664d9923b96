"""What the study must know of the trainer ``dpo``."""

from __future__ import annotations

from pydantic import Field

from paradox.declare import Rate, Rows, TrainerDeclaration


class Dpo(Rows):
    """Direct preference optimisation (TRL's DPOTrainer) on pairs of the base's samples."""

    beta: Rate = Field(description="scale of the log-ratios")


DECLARATION = TrainerDeclaration(name="dpo", section=Dpo, from_samples=True, pairs=True)
