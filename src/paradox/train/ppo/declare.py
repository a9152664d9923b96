"""What the study must know of the trainer ``ppo``."""

from __future__ import annotations

from pydantic import Field

from paradox.declare import Rate, Rollouts, Share, TrainerDeclaration


class Ppo(Rollouts):
    """Proximal policy optimisation with a value model (TRL's PPOTrainer)."""

    lam: Share = Field(description="lambda of the generalised advantage estimate")
    gamma: Share = Field(description="discount per token")
    kl_coef: float = Field(ge=0, description="weight of the KL term, inside the reward")
    vf_coef: Rate = Field(description="weight of the value loss")
    cliprange: Rate = Field(description="clip range of the probability ratio")
    cliprange_value: Rate = Field(description="clip range of the value")


DECLARATION = TrainerDeclaration(name="ppo", section=Ppo)
