"""What all trainers share: where an arm is trained, how it goes on after a kill, how it ends.

Unfinished work lies in ``.work/<hash>`` inside the arm's folder, the hash being that of
everything the arm is made from; so what another configuration left is never gone on from. It
holds ``step-N`` (the checkpoints that will be published) and the trainer's own ``checkpoint-N``
(weights, optimiser, random states). A checkpoint counts once `COMPLETE` stands in it.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import (
    PreTrainedModel,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from paradox.errors import DataError
from paradox.files import canonical_json, read_json, sha256, text_sha256, write_json
from paradox.models import device_name, load_model, load_tokenizer, pick_device, save_model
from paradox.progress import Progress
from paradox.provenance.identity import mark
from paradox.provenance.manifest import read_manifest, write_manifest
from paradox.train.callbacks import TIMES, curves, tensorboard

# Where and when a run took place is not part of what was run.
HOST_ARGUMENTS = {"output_dir", "logging_dir", "run_name", "local_rank"}
# DPO and SFT count their tokens from zero when they go on from a checkpoint.
COUNTED_ANEW = TIMES | {"num_tokens"}
# Written last into a trainer's checkpoint: the size of each of its files.
COMPLETE = "complete.json"
STATE = "trainer_state.json"
# Makes a trainer's arguments from the method's settings, a seed and the trainer's folder.
Arguments = Callable[[dict[str, Any], int, Path], TrainingArguments]


@dataclass(frozen=True)
class Start:
    """What a trainer is built from.

    Attributes
    ----------
    model, tokenizer
        The base's; the model comes from the base's folder, from which TRL loads reference models.
    work
        The trainer's own folder.
    callbacks
        To be given to the trainer.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    work: Path
    callbacks: list[TrainerCallback]


def train_arm(
    spec: dict[str, Any],
    inputs: dict[str, Path],
    outputs: dict[str, Path],
    progress: Progress,
    settings: dict[str, Any],
    build: Callable[[Start], Any],
    resumable: bool = True,
    without: frozenset[str] = TIMES,
    saver: type[SaveWeights] | None = None,
) -> None:
    """Train one arm, from its last checkpoint when there is one, and publish it with a manifest.

    Parameters
    ----------
    spec, inputs, outputs
        The step's. Outputs are ``manifest``, ``curves`` (csv) and ``arguments`` (every trainer
        argument, json).
    settings
        The method's settings.
    build
        Makes the trainer. It is given a fresh start also when training goes on.
    resumable
        Whether the trainer can go on from a checkpoint; if not, a killed training starts again.
    saver
        Saves the weights, where the trainer's model is not the policy itself.
    without
        Logged values that equal runs do not share.
    """
    folder = outputs["manifest"].parent
    work = working_folder(folder, spec, inputs)
    last = last_checkpoint(work) if resumable else None
    done = int(last.name.split("-")[1]) if last else 0
    drop_later(work, done)
    base = read_manifest(inputs["base"]).last
    tokenizer, model = load_tokenizer(base), load_model(base, settings["dtype"])
    progress.say(f"{model.num_parameters():,} parameters on {device_name(model.device)}")
    if last:
        progress.say(f"going on from step {done}")
    tensorboard(outputs["curves"].parent / "tensorboard", anew=not last)
    callback = (saver or SaveWeights)(work, settings["checkpoint_every"], tokenizer)
    trainer = build(Start(model, tokenizer, work, [callback]))
    trainer.remove_callback(PrinterCallback)
    curves(_trained(trainer, last), outputs["curves"], without)
    resolved = json.loads(trainer.args.to_json_string())
    resolved = {key: value for key, value in resolved.items() if key not in HOST_ARGUMENTS}
    write_json(outputs["arguments"], resolved)
    steps = publish(work, folder)
    unchanged = same_weights(base, steps[max(steps)])
    info = {"spec": spec, "device": pick_device().type, "weights_equal_base": unchanged}
    write_manifest(outputs["manifest"], steps, info)
    shutil.rmtree(folder / ".work")


def _trained(trainer: Any, last: Path | None) -> list[dict[str, Any]]:
    """Train, from the checkpoint `last` if that is given; return what was logged."""
    if last is None:
        trainer.train()
        return trainer.state.log_history
    state = TrainerState.load_from_json(str(last / STATE))
    # The trainer would make one more step from its last checkpoint.
    if state.global_step == trainer.args.max_steps:
        return state.log_history
    trainer.train(resume_from_checkpoint=str(last))
    return trainer.state.log_history


def working_folder(folder: Path, spec: dict[str, Any], inputs: Mapping[str, Any]) -> Path:
    """Return where an arm's unfinished work lies; what another configuration left is deleted.

    An input is a file or, like the reward's, a list of files.
    """
    made_from = {
        "spec": spec,
        "inputs": {name: _hashes(paths) for name, paths in inputs.items()},
        # Inside a step: all of the above, the code, the environment and the number of threads.
        "derivation": mark(),
    }
    work = folder / ".work" / text_sha256(canonical_json(made_from))[:16]
    for other in work.parent.glob("*"):
        if other != work:
            shutil.rmtree(other)
    return work


def _hashes(paths: Path | list[Path]) -> list[str]:
    return [sha256(file) for file in (paths if isinstance(paths, list) else [paths])]


def last_checkpoint(work: Path) -> Path | None:
    """Return the trainer's last whole checkpoint; later ones, half written, are deleted."""
    checkpoints = sorted(work.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    while checkpoints:
        if _is_whole(checkpoints[-1]):
            return checkpoints[-1]
        shutil.rmtree(checkpoints.pop())
    return None


def _is_whole(checkpoint: Path) -> bool:
    try:
        sizes = read_json(checkpoint / COMPLETE)
        read_json(checkpoint / STATE)
        return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (DataError, OSError):
        return False


def drop_later(work: Path, step: int) -> None:
    """Delete the weights that were saved after `step`: they will be made again."""
    for path in work.glob("step-*"):
        if int(path.name.split("-")[1]) > step:
            shutil.rmtree(path)


class SaveWeights(TrainerCallback):
    """Save ordinary checkpoint folders (LoRA merged) every so many updates and at the end.

    It runs before the trainer saves its own checkpoint of the same step, so a whole checkpoint
    has its weights beside it.
    """

    def __init__(self, work: Path, every: int, tokenizer: PreTrainedTokenizerBase) -> None:
        self.work, self.every, self.tokenizer = work, every, tokenizer

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        **_: Any,
    ) -> None:
        """Save when it is time."""
        self.save_when_due(state.global_step, state.max_steps, model)

    def save_when_due(self, step: int, last: int, model: Any) -> None:
        """Save `model` at every so many steps and at the last one."""
        if step % self.every and step != last:
            return
        if hasattr(model, "merge_and_unload"):
            # Merging works in place, and training goes on with the adapter.
            model = copy.deepcopy(model).merge_and_unload()
        save_model(model, self.tokenizer, self.work / f"step-{step}")

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Say that the trainer's checkpoint is whole."""
        checkpoint = self.work / f"checkpoint-{state.global_step}"
        sizes = {file.name: file.stat().st_size for file in checkpoint.iterdir() if file.is_file()}
        write_json(checkpoint / COMPLETE, sizes)


def publish(work: Path, folder: Path) -> dict[int, Path]:
    """Put finished checkpoints in their place; return them by step.

    They stay in `work`, too (as the same files), until the manifest is written: a kill at any
    moment leaves enough to end from.
    """
    for old in folder.glob("step-*"):
        shutil.rmtree(old)
    saved = {int(path.name.split("-")[1]): path for path in work.glob("step-*")}
    for path in saved.values():
        shutil.copytree(path, folder / path.name, copy_function=_link)
    return {step: folder / path.name for step, path in sorted(saved.items())}


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # not every file system has hard links
        shutil.copy2(source, target)


def same_weights(first: Path, second: Path) -> bool:
    """Say whether two checkpoint folders hold the same weight files, byte for byte."""
    one, two = (
        {file.name: sha256(file) for file in sorted(folder.glob("*.safetensors"))}
        for folder in (first, second)
    )
    return one == two


def common_arguments(settings: dict[str, Any], seed: int, work: Path) -> dict[str, Any]:
    """Return the arguments that all trainers are given alike."""
    return {
        "output_dir": str(work),
        "max_steps": settings["updates"],
        "learning_rate": settings["learning_rate"],
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "optim": "adamw_torch",
        "adam_beta1": settings["adam_beta1"],
        "adam_beta2": settings["adam_beta2"],
        "adam_epsilon": 1e-8,
        # Weight decay would move the weights even when no reward does.
        "weight_decay": 0.0,
        "max_grad_norm": settings["max_grad_norm"],
        "bf16": settings["autocast_bf16"],
        "fp16": False,
        "gradient_checkpointing": settings["gradient_checkpointing"],
        "use_cpu": pick_device().type == "cpu",
        "seed": seed,
        "save_strategy": "steps",
        "save_steps": settings["checkpoint_every"],
        # One to go on from while the next is being written.
        "save_total_limit": 2,
        "logging_nan_inf_filter": False,
        "report_to": ["tensorboard"],
        "disable_tqdm": True,
    }


def rollout_arguments(sizes: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of the trainers that use one rollout for several updates.

    One rollout is ``prompts_per_rollout * num_generations`` completions and is used for
    ``updates_per_rollout`` optimiser steps, each over micro-batches of ``micro_batch``.
    """
    micro_steps = sizes["prompts_per_rollout"] * sizes["num_generations"] // sizes["micro_batch"]
    return {
        "per_device_train_batch_size": sizes["micro_batch"],
        "steps_per_generation": micro_steps,
        "gradient_accumulation_steps": micro_steps // sizes["updates_per_rollout"],
        "num_generations": sizes["num_generations"],
        "max_completion_length": sizes["max_completion_tokens"],
        "num_iterations": 1,
        # The prompts are in the order of the arm's seed already.
        "shuffle_dataset": False,
        "temperature": sizes["temperature"],
        "top_p": 1.0,
        "top_k": 0,
        "min_p": None,
        "repetition_penalty": 1.0,
        "epsilon": sizes["epsilon"],
        "epsilon_high": None,
        "beta": sizes["beta"],
        "sync_ref_model": False,
        "reward_weights": None,
        "mask_truncated_completions": False,
        "use_vllm": False,
        "disable_dropout": True,
        # One row per rollout.
        "logging_steps": sizes["updates_per_rollout"],
    }


def row_arguments(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of the trainers that learn from a table of texts."""
    micro_batch = min(settings["micro_batch"], settings["rows_per_update"])
    return {
        "per_device_train_batch_size": micro_batch,
        "gradient_accumulation_steps": settings["rows_per_update"] // micro_batch,
        # Texts are as short as the samples were: nothing is cut.
        "max_length": None,
        # A logged mean must not straddle a checkpoint.
        "logging_steps": 1,
    }
