"""Methods by name: what each comes to at a scale, and which cannot run."""

from __future__ import annotations

from typing import Any

from paradox.declare import Rollouts
from paradox.study.config import Config
from paradox.study.grids import named
from paradox.study.kinds import TASKS, TRAINERS
from paradox.study.load import METHODS_FILE, scale_file


def resolved(config: Config, name: str) -> dict[str, Any]:
    """Return every setting of a method: the scale's (``grpo``), with its own laid over them.

    What only one trainer has must stand in the method.
    """
    method = config.methods[name]
    section = TRAINERS[method.trainer].section
    shared = section if isinstance(config.grpo, section) else Rollouts
    scale = config.grpo.model_dump(mode="json")
    taken = {key: scale[key] for key in section.model_fields if key in shared.model_fields}
    return taken | method.model_dump(mode="json", exclude_unset=True, exclude={"trainer"})


def setting_place(config: Config, method: str, key: str) -> str:
    """Return where a setting of a method stands: in the method, or at the scale."""
    if key in config.methods[method].model_fields_set:
        return f"{METHODS_FILE}: methods.{method}.{key}"
    return f"{scale_file(config.scale)}: grpo.{key}"


def method_problems(config: Config) -> list[str]:
    """Return what is wrong with the methods that the arms name."""
    lines = []
    if "base" in config.methods:
        lines.append(f"{METHODS_FILE}: methods.base: the name stands for the untrained bases")
    for name in named(config, "methods"):
        if name not in config.methods:
            continue
        values, section = resolved(config, name), TRAINERS[config.methods[name].trainer].section
        missing = [key for key in section.model_fields if key not in values]
        lines += [
            f"{METHODS_FILE}: methods.{name}.{key} is missing (the method's own, or under methods "
            f"in {scale_file(config.scale)})"
            for key in missing
        ]
        if not missing:
            lines += [*_sizes(config, name, values), *_data(config, name, values)]
    # Methods that share the scale's sizes share their problems.
    return list(dict.fromkeys(lines))


def _sizes(config: Config, name: str, values: dict[str, Any]) -> list[str]:
    """Return what does not divide: whole groups, micro-batches and updates are needed."""

    def at(key: str) -> str:
        return f"{setting_place(config, name, key)} = {values[key]}"

    lines, micro = [], values["micro_batch"]
    if "rows_per_update" in values:
        if values["rows_per_update"] % min(micro, values["rows_per_update"]):
            lines.append(f"{at('rows_per_update')} must be a multiple of micro_batch ({micro})")
        return lines
    rollout = values["prompts_per_rollout"] * values["num_generations"]
    per = values["updates_per_rollout"]
    if rollout % (per * micro):
        lines.append(
            f"{at('micro_batch')}: prompts_per_rollout x num_generations ({rollout}) must be a "
            f"multiple of updates_per_rollout x micro_batch ({per * micro})"
        )
    multiple = f"must be a multiple of updates_per_rollout ({per})"
    if values["updates"] % per:
        lines.append(f"{at('updates')} {multiple}")
    if values["checkpoint_every"] % per:
        inside = "so that no checkpoint falls inside a rollout"
        lines.append(f"{at('checkpoint_every')} {multiple}, {inside}")
    return lines


def _data(config: Config, name: str, values: dict[str, Any]) -> list[str]:
    """Return the reasons why a method has nothing to learn from."""
    task = TASKS[config.task.kind]
    if values.get("target") != "oracle" or task.worked:
        return []
    return [
        f"{METHODS_FILE}: methods.{name}.target = 'oracle' needs worked answers to the "
        f"training prompts, and task.kind = {task.name!r} has none; allowed: rewarded."
    ]
