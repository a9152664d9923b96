"""Step ``train`` with the method ``grpo``: TRL's GRPOTrainer under one reward condition.

Group-relative policy optimisation (2402.03300): the advantage of a completion is its reward
minus its group's mean, over the group's standard deviation.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accelerate import PartialState
from datasets import Dataset
from transformers import (
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from trl import GRPOConfig, GRPOTrainer

from paradox.files import read_table, sha256, write_json
from paradox.models import device_name, load_model, load_tokenizer, pick_device, save_model
from paradox.progress import Progress
from paradox.provenance.manifest import read_manifest, write_manifest
from paradox.rewards._score import VOTE_COLUMNS, Scorer, prompt_facts, training_prompts
from paradox.seeds import keyed_rng, torch_seed
from paradox.tasks import Task, load_task
from paradox.tasks.api import PROMPT_COLUMNS
from paradox.train.callbacks import Watch, curves, tensorboard
from paradox.train.lora import lora_config

# Where and when a run took place is not part of what was run.
HOST_ARGUMENTS = {"output_dir", "logging_dir", "run_name", "local_rank"}


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
    arm, how = spec["arm"], spec["grpo"]
    folder = outputs["manifest"].parent
    work = folder / ".work"
    shutil.rmtree(work, ignore_errors=True)
    base = read_manifest(inputs["base"]).last
    tokenizer, model = load_tokenizer(base), load_model(base, how["dtype"])
    progress.say(f"{model.num_parameters():,} parameters on {device_name(model.device)}")
    prompts = read_table(inputs["prompts"], PROMPT_COLUMNS)
    votes = read_table(inputs["votes"], VOTE_COLUMNS) if "votes" in inputs else None
    task, facts = load_task(spec["task"]), prompt_facts(prompts, votes)
    scorer = Scorer(spec["reward"], arm["seed"], task, facts, spec["logged"])
    prompts = training_prompts(spec["reward"], prompts, facts, how["prompts_per_rollout"])
    tensorboard(outputs["curves"].parent / "tensorboard")
    arguments = grpo_arguments(how, torch_seed(arm["seed"], "grpo"), work)
    saver = SaveWeights(work, how["checkpoint_every"], tokenizer)
    trainer = GRPOTrainer(
        model=model,
        args=arguments,
        processing_class=tokenizer,
        reward_funcs=[reward_adapter(arm["reward"], scorer, how["num_generations"])],
        train_dataset=prompt_dataset(prompts, task, arm["seed"]),
        peft_config=lora_config(how["lora_rank"]),
        callbacks=[Watch(progress), saver],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    curves(trainer.state.log_history, outputs["curves"])
    resolved = json.loads(arguments.to_json_string())
    resolved = {key: value for key, value in resolved.items() if key not in HOST_ARGUMENTS}
    write_json(outputs["arguments"], resolved)
    publish(saver.saved, folder)
    shutil.rmtree(work)
    steps = {step: folder / f"step-{step}" for step in saver.saved}
    unchanged = _same_weights(base, steps[max(steps)])
    info = {"spec": spec, "device": pick_device().type, "weights_equal_base": unchanged}
    write_manifest(outputs["manifest"], steps, info)


def grpo_arguments(how: dict[str, Any], seed: int, work: Path) -> GRPOConfig:
    """Return the trainer's arguments; every one that changes the result is written out.

    One rollout is ``prompts_per_rollout * num_generations`` completions and is used for
    ``updates_per_rollout`` optimiser steps, each over micro-batches of ``micro_batch``.
    """
    rollout = how["prompts_per_rollout"] * how["num_generations"]
    micro_steps = rollout // how["micro_batch"]
    return GRPOConfig(
        output_dir=str(work),
        max_steps=how["updates"],
        per_device_train_batch_size=how["micro_batch"],
        steps_per_generation=micro_steps,
        gradient_accumulation_steps=micro_steps // how["updates_per_rollout"],
        num_generations=how["num_generations"],
        max_completion_length=how["max_completion_tokens"],
        num_iterations=1,
        shuffle_dataset=False,
        temperature=how["temperature"],
        top_p=1.0,
        top_k=0,
        repetition_penalty=1.0,
        loss_type=how["loss_type"],
        scale_rewards=how["scale_rewards"],
        importance_sampling_level="token",
        epsilon=how["epsilon"],
        beta=how["beta"],
        mask_truncated_completions=False,
        top_entropy_quantile=1.0,
        use_vllm=False,
        disable_dropout=True,
        learning_rate=how["learning_rate"],
        lr_scheduler_type="constant",
        warmup_steps=0,
        optim="adamw_torch",
        adam_beta1=how["adam_beta1"],
        adam_beta2=how["adam_beta2"],
        adam_epsilon=1e-8,
        # Weight decay would move the weights even when no reward does.
        weight_decay=0.0,
        max_grad_norm=how["max_grad_norm"],
        bf16=how["autocast_bf16"],
        fp16=False,
        gradient_checkpointing=how["gradient_checkpointing"],
        use_cpu=pick_device().type == "cpu",
        seed=seed,
        save_strategy="no",
        # One row per rollout.
        logging_steps=how["updates_per_rollout"],
        logging_nan_inf_filter=False,
        report_to=["tensorboard"],
        disable_tqdm=True,
    )


def prompt_dataset(prompts: Any, task: Task, seed: int) -> Dataset:
    """Return the training prompts in an order that depends on the arm's seed only."""
    order = keyed_rng(seed, "prompt order").permutation(len(prompts))
    rows = prompts.iloc[order]
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


class SaveWeights(TrainerCallback):
    """Save ordinary checkpoint folders (LoRA merged) every so many updates and at the end."""

    def __init__(self, work: Path, every: int, tokenizer: Any) -> None:
        self.work, self.every, self.tokenizer = work, every, tokenizer
        self.saved: dict[int, Path] = {}

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        **_: Any,
    ) -> None:
        """Save when it is time."""
        step = state.global_step
        if step % self.every and step != state.max_steps:
            return
        if hasattr(model, "merge_and_unload"):
            # Merging works in place, and training goes on with the adapter.
            model = copy.deepcopy(model).merge_and_unload()
        self.saved[step] = self.work / f"step-{step}"
        save_model(model, self.tokenizer, self.saved[step])


def publish(saved: dict[int, Path], folder: Path) -> None:
    """Move finished checkpoints from the working folder to their place."""
    for old in folder.glob("step-*"):
        shutil.rmtree(old)
    for path in saved.values():
        path.rename(folder / path.name)


def _same_weights(first: Path, second: Path) -> bool:
    """Say whether two checkpoint folders hold the same weight files, byte for byte."""
    one, two = (
        {file.name: sha256(file) for file in sorted(folder.glob("*.safetensors"))}
        for folder in (first, second)
    )
    return one == two
