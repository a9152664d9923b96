"""A very small arm of every trainer, for the tests of methods and of resuming."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

from paradox.files import sha256
from paradox.progress import Progress
from paradox.provenance.manifest import read_manifest
from paradox.rewards import FOLDER
from paradox.steps import TRAINERS

PRELOAD = ["train_fixture", "kill_fixture", *TRAINERS.values()]
COMMON = {
    "updates": 8,
    "micro_batch": 4,
    "learning_rate": 1e-3,
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "max_grad_norm": 1.0,
    "lora_rank": 0,
    "dtype": "float32",
    "autocast_bf16": False,
    "gradient_checkpointing": False,
    "checkpoint_every": 2,
}
ROLLOUTS = COMMON | {
    "prompts_per_rollout": 4,
    "num_generations": 4,
    "updates_per_rollout": 2,
    "max_completion_tokens": 8,
    "temperature": 1.0,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "grpo": ROLLOUTS
    | {
        "loss_type": "grpo",
        "scale_rewards": "group",
        "epsilon": 0.2,
        "beta": 0.0,
        "use_bias_correction_kl": False,
        "off_policy_mask_threshold": None,
    },
    "rloo": ROLLOUTS | {"epsilon": 0.2, "beta": 0.05},
    "ppo": ROLLOUTS
    | {
        "lam": 1.0,
        "gamma": 1.0,
        "kl_coef": 0.0,
        "vf_coef": 0.1,
        "cliprange": 0.2,
        "cliprange_value": 0.2,
    },
    "dpo": COMMON | {"rows_per_update": 8, "beta": 0.1},
    "sft": COMMON | {"rows_per_update": 8, "target": "rewarded"},
}


def train(
    folder: Path, base: Path, data: Path, task: dict[str, Any], trainer: str, **changes: Any
) -> Path:
    """Run the step of a trainer and return the arm's folder.

    `data` holds ``prompts.csv`` and ``samples.parquet``; ``reward``, ``logged`` (names), ``votes``
    (a table) and ``seed`` are the arm's, other changes are the method's.
    """
    from paradox.models import set_determinism
    from paradox.steps import STEPS
    from paradox.study.kinds import TRAINERS as DECLARED

    votes = changes.pop("votes", None)
    spec = arm_spec(task, trainer, **changes)
    set_determinism(1, spec["arm"]["seed"])
    names = ("manifest.json", "train.csv", "arguments.json")
    outputs = dict(zip(("manifest", "curves", "arguments"), names, strict=True))
    folder.mkdir(parents=True, exist_ok=True)
    inputs: dict[str, Any] = {"base": base / "manifest.json", "prompts": data / "prompts.csv"}
    if DECLARED[trainer].from_samples:
        inputs["samples"] = data / "samples.parquet"
    if votes:
        inputs["votes"] = votes
    inputs["reward"] = [FOLDER / f"{name}.py" for name in (spec["arm"]["reward"], *spec["logged"])]
    importlib.import_module(STEPS[trainer]).main(
        spec,
        inputs,
        {key: folder / name for key, name in outputs.items()},
        Progress("test"),
    )
    return folder


def arm_spec(
    task: dict[str, Any],
    trainer: str,
    reward: str = "random",
    seed: int = 0,
    logged: tuple[str, ...] = (),
    **changes: Any,
) -> dict[str, Any]:
    """Return the parameters of a trainer's step."""
    from paradox.study.rewards import resolve

    arm = {"base": "contaminated", "method": trainer, "reward": reward, "seed": seed}
    spec = {"arm": arm, trainer: SETTINGS[trainer] | changes, "task": task}
    return spec | {"reward": resolve(reward, {}), "logged": {n: resolve(n, {}) for n in logged}}


def weights(folder: Path) -> str:
    """Return the hash of an arm's last weights."""
    return sha256(read_manifest(folder / "manifest.json").last / "model.safetensors")


def kill_at(moment: str) -> None:
    """Let this process kill itself at a moment, given as ``NAME@STEP``."""
    from paradox.train import common

    name, _, step = moment.partition("@")

    def die(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def at(path: Any) -> bool:
        return Path(path).name.split("-")[-1] == step

    if name == "weights":  # half of the weights that will be published
        whole = common.save_model

        def save_model(model: Any, tokenizer: Any, folder: Path) -> None:
            whole(model, tokenizer, folder)
            if at(folder):
                half(folder / "model.safetensors")
                die()

        common.save_model = save_model
    elif name in ("state", "model"):  # half of the trainer's own checkpoint
        written = common.write_json

        def write_json(path: Path, value: Any) -> None:
            if path.name == common.COMPLETE and at(path.parent):
                file = common.STATE if name == "state" else "model.safetensors"
                half(path.parent / file)
                if name == "model":
                    written(path, value)
                die()
            written(path, value)

        common.write_json = write_json
    elif name == "update":  # between two checkpoints
        common.SaveWeights.on_step_begin = lambda self, args, state, *_, **__: (
            die() if state.global_step == int(step) else None
        )
    elif name == "publish":  # with some weights in their place
        linked = common.shutil.copytree

        def copytree(source: Path, target: Path, **more: Any) -> None:
            linked(source, target, **more)
            if at(target):
                die()

        common.shutil.copytree = copytree
    else:
        raise ValueError(moment)


def half(file: Path) -> None:
    """Cut a file in half, as a kill in the middle of writing it would."""
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def in_a_process(kill: str | None, *arguments: Any, **changes: Any) -> int:
    """Run `train` in a process of its own, killed at a moment; return how the process ended."""
    context = multiprocessing.get_context("forkserver")
    # The libraries are imported once, in the process that the others are forked from.
    context.set_forkserver_preload(PRELOAD)
    process = context.Process(target=_process, args=(kill, arguments, changes))
    process.start()
    process.join(120)
    assert process.exitcode is not None, "the training hangs"
    return process.exitcode


def _process(kill: str | None, arguments: tuple[Any, ...], changes: dict[str, Any]) -> None:
    if kill:
        kill_at(kill)
    train(*arguments, **changes)
