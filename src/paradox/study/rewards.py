"""Reward conditions of the configuration: what each is made of, and which cannot be trained on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any

from paradox.errors import hint
from paradox.rewards import RewardFile, available_rewards, load_file
from paradox.rewards._score import Definition, loaded
from paradox.study.config import Config
from paradox.study.grids import named as names_of
from paradox.study.kinds import TASKS, TRAINERS
from paradox.study.load import MAIN, scale_file
from paradox.study.methods import resolved, setting_place

# The untrained base stands in this place of every table.
RESERVED = "none"
Named = Mapping[str, Mapping[str, Any]]


def plain(config: Config) -> dict[str, dict[str, Any]]:
    """Return the section ``rewards`` as plain data."""
    return {name: given.model_dump() for name, given in config.rewards.items()}


def reward_names(named: Named) -> list[str]:
    """Return every name that ``arms.rewards`` may hold: files, then named conditions."""
    return [*available_rewards(), *named]


def resolve(name: str, named: Named) -> Definition:
    """Return the definition of a file or of a named condition, with every parameter filled in."""
    given = named.get(name)
    if given is None or given["file"]:
        return {"all": [_entry(name, named)], "none": []}
    return {part: [_entry(member, named) for member in given[part]] for part in ("all", "none")}


def _entry(name: str, named: Named) -> dict[str, Any]:
    given = named.get(name, {"file": name, "parameters": {}})
    file = given["file"]
    return {"file": file, "parameters": {**load_file(file).parameters, **given["parameters"]}}


def reward_problems(named: Named, where: str) -> list[str]:
    """Return everything that is wrong with the named conditions; `where` begins each line."""
    files = {name: load_file(name) for name in available_rewards()}
    lines = []
    for name, given in named.items():
        place = f"{where}.{name}"
        if name in files:
            lines.append(f"{place}: there is a reward file of this name; choose another")
        if name == RESERVED:
            lines.append(f"{place}: this name stands for the untrained base; choose another")
        if given["file"] and (given["all"] or given["none"]):
            lines.append(f"{place}: has both file and all/none; a compound names its files there")
        elif given["file"]:
            lines += _file_problems(place, given, files)
        elif given["all"] or given["none"]:
            lines += _compound_problems(place, given, named, files)
        else:
            lines.append(f"{place}: names nothing; needed: file, or all and none (lists of names)")
    return lines


def _file_problems(
    place: str, given: Mapping[str, Any], files: Mapping[str, RewardFile]
) -> list[str]:
    name = given["file"]
    if name not in files:
        return [f"{place}.file = {name!r} is not a reward file; {hint(name, files)}"]
    lines = []
    for key, value in given["parameters"].items():
        here = f"{place}.parameters.{key}"
        if key not in files[name].parameters:
            known = hint(key, files[name].parameters)
            lines.append(f"{here}: {name} has no such parameter; {known}")
            continue
        low, high = files[name].limits[key]
        if not low <= value <= high:
            lines.append(f"{here} = {value}: allowed: {low:g} to {high:g}")
    return lines


def _compound_problems(
    place: str, given: Mapping[str, Any], named: Named, files: Mapping[str, RewardFile]
) -> list[str]:
    lines = []
    if given["parameters"]:
        lines.append(
            f"{place}.parameters: a compound has none; name the file with its parameters, and "
            "that name in the compound"
        )
    members = [(part, index) for part in ("all", "none") for index in range(len(given[part]))]
    simple = [*files, *(name for name, other in named.items() if other["file"])]
    seen: set[str] = set()
    for part, index in members:
        member = given[part][index]
        here = f"{place}.{part}[{index}] = {member!r}"
        if member in seen:
            lines.append(f"{here}: stands in this compound already")
        seen.add(member)
        if member in named and member not in simple:
            lines.append(f"{here} is a compound itself; name the files it is made of")
        elif member not in simple:
            lines.append(f"{here} is not a reward; {hint(member, simple)}")
        else:
            file = files.get(named[member]["file"] if member in named else member)
            if file and not file.condition.binary:
                lines.append(
                    f"{here} is not binary ({file.condition.formula}): AND and NOT are defined "
                    "for rewards of 0 and 1 only"
                )
    return lines


# --- what a scale's prompts and methods do not give ---------------------------------------


def missing_facts(config: Config) -> list[str]:
    """Return which rewards ask for what this scale's prompts do not have."""
    given, task = plain(config), TASKS[config.task.kind]
    if reward_problems(given, ""):
        return []
    known = {name: loaded(resolve(name, given)) for name in reward_names(given)}
    places = [*names_of(config, "rewards").items()]
    places += [(name, f"{MAIN}: arms.logged") for name in config.arms.logged]
    asked = [(f"{place}: {name!r}", known[name]) for name, place in places if name in known]
    lines = []
    if task.truth and reduce(getattr, task.truth.split("."), config.task) is None:
        blind = [name for name, files in known.items() if not _some(files, "uses_truth")]
        lines += [
            f"{place} compares with the right answer, but {scale_file(config.scale)}: "
            f"task.{task.truth} is null, so the training prompts have none; allowed: "
            f"{', '.join(blind)}."
            for place, files in asked
            if _some(files, "uses_truth")
        ]
    lines += [
        f"{place} weighs prompts by their value, but the prompts of task.kind = "
        f"{task.name!r} ({scale_file(config.scale)}) have none."
        for place, files in asked
        if not task.values and any("value" in file.condition.needs for file in files)
    ]
    return lines


def without_pairs(config: Config, cells: Iterable[tuple[str, str]]) -> list[str]:
    """Return the (method, reward) whose method needs pairs, while its reward prefers nothing."""
    named, constant = plain(config), resolve("constant", {})
    return [
        f"{MAIN}: arms: method {method!r} (trainer {trainer}) learns from pairs of a rewarded and "
        f"an unrewarded completion, and the reward {reward!r} makes none; exclude "
        f"{{method: {method}, reward: {reward}, why: ...}}"
        for method, reward in dict.fromkeys(cells)
        for trainer in [config.methods[method].trainer]
        if TRAINERS[trainer].pairs and resolve(reward, named) == constant
    ]


def cancelled(config: Config, cells: Iterable[tuple[str, str]]) -> list[str]:
    """Return the (method, reward) whose reward has a factor per prompt that the method cancels."""
    named, lines = plain(config), []
    for method, reward in dict.fromkeys(cells):
        why = _cancels(config, method)
        if why and _some(loaded(resolve(reward, named)), "scales_prompt"):
            lines.append(
                f"{MAIN}: arms: {reward!r} multiplies a reward of 0 or 1 by a number of the "
                f"prompt, but method {method!r} cancels that number exactly: {why} Use another "
                f"method, or exclude {{method: {method}, reward: {reward}, why: ...}}"
            )
    return lines


def _cancels(config: Config, method: str) -> str:
    """Return how a method cancels a factor per prompt, or nothing."""
    if TRAINERS[config.methods[method].trainer].from_samples:
        return "it only asks whether a sample's reward is above zero."
    if resolved(config, method).get("scale_rewards") != "group":
        return ""
    place = setting_place(config, method, "scale_rewards")
    return f"{place} = 'group' divides by each prompt's standard deviation; allowed: batch, none."


def _some(files: Iterable[RewardFile], attribute: str) -> bool:
    return any(getattr(file.condition, attribute) for file in files)
