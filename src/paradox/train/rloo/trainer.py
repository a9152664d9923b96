"""Step ``rloo``: an arm trained by TRL's RLOOTrainer under one reward condition.

REINFORCE leave-one-out (2402.14740): the advantage of a completion is its reward minus the mean
of its group's other rewards. The KL term is part of the reward.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trl import RLOOConfig, RLOOTrainer

from paradox.progress import Progress
from paradox.seeds import torch_seed
from paradox.train.callbacks import Watch
from paradox.train.common import Start, common_arguments, rollout_arguments, train_arm
from paradox.train.lora import lora_config
from paradox.train.prompts import prompt_dataset, reward_adapter, scoring


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Train one arm; inputs and outputs are those of the step ``grpo``."""
    arm, settings = spec["arm"], spec["rloo"]
    scorer, prompts = scoring(spec, inputs, settings["prompts_per_rollout"])

    def build(start: Start) -> RLOOTrainer:
        # With a KL term the trainer loads its reference model from the folder that the policy
        # was loaded from: the base's.
        return RLOOTrainer(
            model=start.model,
            args=arguments(settings, torch_seed(arm["seed"], "rloo"), start.work),
            processing_class=start.tokenizer,
            reward_funcs=[reward_adapter(arm["reward"], scorer, settings["num_generations"])],
            train_dataset=prompt_dataset(prompts, scorer.task, arm["seed"]),
            peft_config=lora_config(settings["lora_rank"]),
            callbacks=[Watch(progress), *start.callbacks],
        )

    train_arm(spec, inputs, outputs, progress, settings, build)


def arguments(settings: dict[str, Any], seed: int, work: Path) -> RLOOConfig:
    """Return the trainer's arguments; every one that changes the result is written out."""
    return RLOOConfig(
        **common_arguments(settings, seed, work),
        **rollout_arguments(settings),
        normalize_advantages=False,
        reward_clip_range=None,
    )
