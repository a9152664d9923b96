"""What the study must know of the trainer ``rloo``."""

from __future__ import annotations

from pydantic import Field

from paradox.declare import Rate, Rollouts, TrainerDeclaration


class Rloo(Rollouts):
    """REINFORCE with a leave-one-out baseline (TRL's RLOOTrainer)."""

    epsilon: Rate = Field(description="clip range of the probability ratio")
    beta: float = Field(ge=0, description="weight of the KL term, inside the reward")


DECLARATION = TrainerDeclaration(name="rloo", section=Rloo)
