"""Step ``grpo``: an arm trained by TRL's GRPOTrainer under one reward condition.

Group-relative policy optimisation (2402.03300): the advantage of a completion is its reward
minus its group's mean, over the group's standard deviation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trl import GRPOConfig

from paradox.progress import Progress
from paradox.train.band import BandTrainer
from paradox.train.common import common_arguments, rollout_arguments
from paradox.train.prompts import train_on_rollouts


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Train one arm and publish its checkpoints with a manifest.

    Parameters
    ----------
    spec
        ``arm`` (base, method, reward, seed), ``grpo`` (sizes and rates), ``reward`` and
        ``logged`` (definitions), ``task``.
    inputs
        ``base`` (the base's manifest), ``prompts`` (csv) and, for a reward that needs them,
        ``votes`` (csv).
    outputs
        ``manifest``, ``curves`` (csv) and ``arguments`` (every trainer argument, json).
    """
    train_on_rollouts("grpo", BandTrainer, arguments, spec, inputs, outputs, progress)


def arguments(settings: dict[str, Any], seed: int, work: Path) -> GRPOConfig:
    """Return the trainer's arguments; every one that changes the result is written out."""
    return GRPOConfig(
        **common_arguments(settings, seed, work),
        **rollout_arguments(settings),
        loss_type=settings["loss_type"],
        scale_rewards=settings["scale_rewards"],
        importance_sampling_level="token",
        multi_objective_aggregation="sum_then_normalize",
        delta=None,
        entropy_coef=0.0,
        use_adaptive_entropy=False,
        use_bias_correction_kl=settings["use_bias_correction_kl"],
        off_policy_mask_threshold=settings["off_policy_mask_threshold"],
        top_entropy_quantile=1.0,
    )
