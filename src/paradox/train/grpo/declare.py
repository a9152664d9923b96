"""What the study must know of the trainer ``grpo``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from paradox.declare import Rate, Rollouts, TrainerDeclaration


class Grpo(Rollouts):
    """Group-relative policy optimisation (TRL's GRPOTrainer)."""

    loss_type: Literal["grpo", "dr_grpo", "dapo", "bnpo"]
    scale_rewards: Literal["group", "batch", "none"]
    epsilon: Rate = Field(description="clip range of the probability ratio")
    beta: float = Field(ge=0, description="weight of the KL term")
    use_bias_correction_kl: bool = Field(description="KL term times the probability ratio")
    off_policy_mask_threshold: Rate | None = Field(
        description="mean log(old / new) from which a completion with A < 0 is left out"
    )


DECLARATION = TrainerDeclaration(name="grpo", section=Grpo)
