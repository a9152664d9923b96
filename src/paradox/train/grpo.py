"""Step ``grpo``: an arm trained by TRL's GRPOTrainer under one reward condition.

Group-relative policy optimisation (2402.03300): the advantage of a completion is its reward
minus its group's mean, over the group's standard deviation.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from accelerate import PartialState
from datasets import Dataset
from transformers import TrainerState
from trl import GRPOConfig, GRPOTrainer

from paradox.files import read_table
from paradox.progress import Progress
from paradox.rewards import Completion, Reward, load_reward
from paradox.seeds import keyed_rng, torch_seed
from paradox.tasks import Task, load_task
from paradox.tasks.api import PROMPT_COLUMNS
from paradox.train.callbacks import Watch
from paradox.train.common import Start, common_arguments, rollout_arguments, train_arm
from paradox.train.lora import lora_config


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Train one arm and publish its checkpoints with a manifest.

    Parameters
    ----------
    spec
        ``arm`` (base, method, reward, seed), ``grpo`` (sizes and rates), ``task``.
    inputs
        ``base`` (the base's manifest) and ``prompts`` (csv).
    outputs
        ``manifest``, ``curves`` (csv) and ``arguments`` (every trainer argument, json).
    """
    arm, how = spec["arm"], spec["grpo"]
    prompts = read_table(inputs["prompts"], PROMPT_COLUMNS)
    task = load_task(spec["task"])

    def build(start: Start) -> GRPOTrainer:
        return GRPOTrainer(
            model=start.model,
            args=arguments(how, torch_seed(arm["seed"], "grpo"), start.work),
            processing_class=start.tokenizer,
            reward_funcs=[reward_adapter(arm["reward"], task, arm["seed"], how["num_generations"])],
            train_dataset=prompt_dataset(prompts, task, arm["seed"]),
            peft_config=lora_config(how["lora_rank"]),
            callbacks=[Watch(progress), *start.callbacks],
        )

    train_arm(spec, inputs, outputs, progress, how, build)


def arguments(how: dict[str, Any], seed: int, work: Path) -> GRPOConfig:
    """Return the trainer's arguments; every one that changes the result is written out."""
    return GRPOConfig(
        **common_arguments(how, seed, work),
        **rollout_arguments(how),
        loss_type=how["loss_type"],
        scale_rewards=how["scale_rewards"],
        importance_sampling_level="token",
        multi_objective_aggregation="sum_then_normalize",
        delta=None,
        entropy_coef=0.0,
        use_adaptive_entropy=False,
        use_bias_correction_kl=how["use_bias_correction_kl"],
        off_policy_mask_threshold=how["off_policy_mask_threshold"],
        top_entropy_quantile=1.0,
    )


def prompt_dataset(prompts: Any, task: Task, seed: int) -> Dataset:
    """Return the training prompts in an order that depends on the arm's seed only."""
    order = keyed_rng(seed, "prompt order").permutation(len(prompts))
    rows = prompts.iloc[order]
    return Dataset.from_dict(
        {
            "prompt": [task.prompt(question) for question in rows["question"]],
            "prompt_id": rows["prompt_id"].astype(str).tolist(),
            "truth": [None if answer != answer else str(answer) for answer in rows["answer"]],
        }
    )


def reward_adapter(name: str, task: Task, seed: int, group: int) -> Callable[..., list[float]]:
    """Return the function that TRL calls for a whole rollout, from the one for a completion."""
    _, reward = load_reward(name)

    def score(
        completions: list[str],
        prompt_id: list[str],
        truth: list[str | None],
        trainer_state: TrainerState,
        **_: Any,
    ) -> list[float]:
        # A group's rows are consecutive, also across processes.
        first = PartialState().process_index * len(completions)
        rows = zip(completions, prompt_id, truth, strict=True)
        return [
            _one(reward, text, right, (seed, trainer_state.global_step, prompt, row % group), task)
            for row, (text, prompt, right) in enumerate(rows, start=first)
        ]

    score.__name__ = name
    return score


def _one(
    reward: Reward, text: str, truth: str | None, key: tuple[int, int, str, int], task: Task
) -> float:
    return reward(Completion(text=text, truth=truth, key=key, task=task))
