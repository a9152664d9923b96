"""Step ``rloo``: an arm trained by TRL's RLOOTrainer under one reward condition.

REINFORCE leave-one-out (2402.14740): the advantage of a completion is its reward minus the mean
of its group's other rewards. The KL term is part of the reward.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trl import RLOOConfig, RLOOTrainer

from paradox.progress import Progress
from paradox.train.common import common_arguments, rollout_arguments
from paradox.train.prompts import train_on_rollouts


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Train one arm; inputs and outputs are those of the step ``grpo``."""
    # With a KL term the trainer loads its reference model from the folder that the policy was
    # loaded from: the base's.
    train_on_rollouts("rloo", RLOOTrainer, arguments, spec, inputs, outputs, progress)


def arguments(settings: dict[str, Any], seed: int, work: Path) -> RLOOConfig:
    """Return the trainer's arguments; every one that changes the result is written out."""
    return RLOOConfig(
        **common_arguments(settings, seed, work),
        **rollout_arguments(settings),
        normalize_advantages=False,
        reward_clip_range=None,
    )
