"""What every trainer is given: prompts in the arm's order, and the arm's reward as a function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from accelerate import PartialState
from datasets import Dataset
from transformers import TrainerState

from paradox.files import read_table
from paradox.progress import Progress
from paradox.rewards._score import VOTE_COLUMNS, Scorer, prompt_facts, training_prompts
from paradox.seeds import keyed_rng, torch_seed
from paradox.tasks import Task, load_task
from paradox.tasks.api import PROMPT_COLUMNS
from paradox.train.callbacks import Watch
from paradox.train.common import Arguments, Start, train_arm
from paradox.train.lora import lora_config


def scoring(
    spec: dict[str, Any], inputs: dict[str, Path], at_least: int
) -> tuple[Scorer, pd.DataFrame]:
    """Return what scores an arm's completions, and the prompts that it is trained on.

    Parameters
    ----------
    spec, inputs
        The training step's.
    at_least
        How many prompts the trainer cannot do without.
    """
    prompts = read_table(inputs["prompts"], PROMPT_COLUMNS)
    votes = read_table(inputs["votes"], VOTE_COLUMNS) if "votes" in inputs else None
    task, facts = load_task(spec["task"]), prompt_facts(prompts, votes)
    scorer = Scorer(spec["reward"], spec["arm"]["seed"], task, facts, spec["logged"])
    return scorer, training_prompts(spec["reward"], prompts, facts, at_least)


def prompt_order(count: int, seed: int) -> list[int]:
    """Return the places of the training prompts in the order of a seed."""
    return keyed_rng(seed, "prompt order").permutation(count).tolist()


def prompt_dataset(prompts: pd.DataFrame, task: Task, seed: int) -> Dataset:
    """Return the training prompts in an order that depends on the arm's seed only."""
    rows = prompts.iloc[prompt_order(len(prompts), seed)]
    return Dataset.from_dict(
        {
            "prompt": [task.prompt(question) for question in rows["question"]],
            "prompt_id": rows["prompt_id"].astype(str).tolist(),
        }
    )


def reward_adapter(name: str, scorer: Scorer, group: int) -> Callable[..., list[float]]:
    """Return the function that TRL calls for a whole rollout.

    It is the only one with a say in the advantages; everything else is logged as metrics, which
    the trainer never sees as rewards.
    """

    def score(
        completions: list[str],
        prompt_id: list[str],
        trainer_state: TrainerState,
        log_metric: Callable[[str, float], None],
        **_: Any,
    ) -> list[float]:
        # A group's rows are consecutive, also across processes.
        first = PartialState().process_index * len(completions)
        samples = [row % group for row in range(first, first + len(completions))]
        read = scorer.completions(trainer_state.global_step, prompt_id, samples, completions)
        for metric, value in scorer.metrics(read).items():
            log_metric(metric, value)
        return scorer.rewards(read)

    score.__name__ = name
    return score


def train_on_rollouts(
    step: str,
    trainer: type[Any],
    arguments: Arguments,
    spec: dict[str, Any],
    inputs: dict[str, Path],
    outputs: dict[str, Path],
    progress: Progress,
) -> None:
    """Train one arm by a trainer of TRL's that samples and is paid by the arm's reward.

    Parameters
    ----------
    step
        Its name; ``spec[step]`` holds the method's settings.
    trainer, arguments
        The trainer's class, and what makes its arguments.
    """
    arm, settings = spec["arm"], spec[step]
    scorer, prompts = scoring(spec, inputs, settings["prompts_per_rollout"])

    def build(start: Start) -> Any:
        return trainer(
            model=start.model,
            args=arguments(settings, torch_seed(arm["seed"], step), start.work),
            processing_class=start.tokenizer,
            reward_funcs=[reward_adapter(arm["reward"], scorer, settings["num_generations"])],
            train_dataset=prompt_dataset(prompts, scorer.task, arm["seed"]),
            peft_config=lora_config(settings["lora_rank"]),
            callbacks=[Watch(progress), *start.callbacks],
        )

    train_arm(spec, inputs, outputs, progress, settings, build)
