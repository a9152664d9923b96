"""Reading the configuration: merge, validate, and say everything that is wrong at once."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from paradox.errors import ConfigError, hint, problems
from paradox.rewards import available_rewards
from paradox.study import captions
from paradox.study.config import Config
from paradox.study.registry import check

MAIN = "config/config.yaml"
METHODS_FILE = "config/methods.yaml"
COMMAND_LINE = "--config"


def scale_file(scale: str) -> str:
    """Return the path of a scale's file, relative to the repository."""
    return f"config/scales/{scale}.yaml"


def grid_file(grid: str) -> str:
    """Return the path of a grid's file, relative to the repository."""
    return f"config/grids/{grid}.yaml"


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with the values of `over` laid over it; only mappings are merged.

    >>> merge({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}})
    {'a': {'b': 3, 'c': 2}}
    """
    merged = copy.deepcopy(base)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def load_config(given: dict[str, Any], root: Path) -> Config:
    """Return the validated configuration of the repository at `root`.

    `given` is ``config/config.yaml`` with the command line's overrides merged in. A `ConfigError`
    lists what is wrong with the declarations that the keys come from, or every wrong key with its
    file, what was found and what is allowed.
    """
    check()
    scale, grid = (
        _one_of(root, given.get(kind), MAIN, kind, f"config/{kind}s") for kind in ("scale", "grid")
    )
    names = (MAIN, scale_file(scale), METHODS_FILE)
    files = {name: _read(root / name, name) for name in names}
    merged = merge(merge(files[METHODS_FILE], files[scale_file(scale)]), given)
    merged["grids"] = _grids(root, grid)
    files |= {grid_file(name): data for name, data in merged["grids"].items()}
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        lines = [_line(item, files) for item in error.errors()]
        if all(isinstance(merged.get(key), dict) for key in ("bases", "methods", "rewards")):
            lines += unknown_names(merged)
        # A union reports the same problem once for each of its members.
        title = "The configuration is not valid:"
        raise ConfigError(problems(title, list(dict.fromkeys(lines)))) from None


def _one_of(root: Path, name: Any, file: str, key: str, folder: str) -> str:
    known = sorted(path.stem for path in (root / folder).glob("*.yaml"))
    if name not in known:
        kind = folder.split("/")[1].removesuffix("s")
        raise ConfigError(f"{file}: {key} = {name!r} is not a {kind}; {hint(name, known)}")
    return str(name)


def _grids(root: Path, name: str) -> dict[str, Any]:
    """Return the content of a grid's file and of those it includes, by name."""
    grids, waiting = {}, [name]
    while waiting:
        if (grid := waiting.pop(0)) in grids:
            continue
        grids[grid] = _read(root / grid_file(grid), grid_file(grid))
        included = grids[grid].get("include", [])
        for index, other in enumerate(included if isinstance(included, list) else []):
            _one_of(root, other, grid_file(grid), f"include[{index}]", "config/grids")
            waiting.append(other)
    return grids


def unknown_names(config: dict[str, Any]) -> list[str]:
    """Return the problems with the names of bases, methods and rewards of the arms, and figures.

    `config` is the configuration as plain data, which need not be valid.
    """
    rewards = [*available_rewards(), *config["rewards"]]
    allowed = {
        "bases": ("base", list(config["bases"])),
        "methods": ("method", list(config["methods"])),
        "rewards": ("reward", rewards),
        "logged": ("reward", rewards),
        "figures": ("figure", list(captions.FIGURES)),
    }
    lines = []
    for where, key, given in _lists(config):
        names = [name for name in given if isinstance(name, str)] if isinstance(given, list) else []
        kind, known = allowed[key]
        lines += [
            f"{where}[{index}] = {name!r} is not a {kind}; {hint(name, known)}"
            for index, name in enumerate(names)
            if name not in known
        ]
        doubled = sorted({name for name in names if names.count(name) > 1})
        lines += [f"{where}: {name!r} is listed more than once" for name in doubled]
    return lines


def _lists(config: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield place, key and value of each list of names, without those that ``arms`` replaces."""
    arms = config["arms"] if isinstance(config.get("arms"), dict) else {}
    kept = [key for key in ("bases", "methods", "rewards") if arms.get(key) is None]
    for key in ("bases", "methods", "rewards", "logged"):
        if key not in kept:
            yield f"{MAIN}: arms.{key}", key, arms.get(key)
    for name, grid in config["grids"].items():
        yield f"{grid_file(name)}: figures", "figures", grid.get("figures")
        products = grid.get("products")
        for place, product in enumerate(products if isinstance(products, list) else []):
            if isinstance(product, dict):
                for key in kept:
                    yield f"{grid_file(name)}: products[{place}].{key}", key, product.get(key)


def _read(path: Path, name: str) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{name}: cannot be read ({error}).") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{name}: must be a mapping of keys to values.")
    return data


def _line(error: Any, files: dict[str, dict[str, Any]]) -> str:
    """Return one problem as ``file: key = found: what is allowed``."""
    parts, allowed = _place(error["loc"])
    grid = grid_file(parts[1]) if parts[0] == "grids" and len(parts) > 1 else None
    shown = parts[2:] if grid else parts
    key = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in shown).lstrip(".")
    file = grid or origin(parts, files, error["input"])
    if error["type"] == "extra_forbidden":
        return f"{file}: unknown key {key!r}; {hint(parts[-1], allowed)}"
    if error["type"] == "missing":
        within, needs = _place((*error["loc"], "any"))
        holds = f"; it holds: {', '.join(needs)}" if needs and len(within) > len(parts) else ""
        return f"{grid or _holder(parts[:-1], files) or file}: key {key!r} is missing{holds}"
    value, context = error["input"], error.get("ctx") or {}
    # A section's kind is chosen by one of its keys.
    chooser = str(context.get("discriminator")).strip("'")
    if error["type"] == "union_tag_not_found":
        return f"{file}: key '{key}.{chooser}' is missing"
    if error["type"] == "union_tag_invalid":
        key, value = f"{key}.{chooser}", context["tag"]
    text = f"{file}: {key} = {value!r}: {error['msg']}"
    expected = context.get("expected") or context.get("expected_tags")
    if expected and isinstance(value, str):
        allowed = [name.strip("' ") for name in str(expected).replace(" or ", ",").split(",")]
        text += f"; {hint(value, allowed)}"
    return text


def _place(loc: tuple[Any, ...]) -> tuple[list[Any], list[str]]:
    """Return the keys of a place in the configuration, and those allowed where its last one is.

    Where a section is one of several, pydantic's path also names the one that it took.
    """
    parts: list[Any] = []
    allowed: list[str] = []
    inside: Any = Config
    chooser: str | None = None
    for part in loc:
        members = _members(inside)
        if len(members) > 1:
            taken = (member for member in members if _is_chosen(member, chooser, part))
            inside = next(taken, None)
            continue
        parts.append(part)
        within = members[0] if members else None
        fields = within.model_fields if _is_model(within) else {}
        allowed = list(fields)
        if part in fields:
            inside, chooser = fields[part].annotation, fields[part].discriminator
        else:
            # What a list or a mapping holds.
            inside, chooser = (get_args(within) or (None,))[-1], None
        if get_origin(inside) is Annotated:
            inside, *notes = get_args(inside)
            chooser = next((n.discriminator for n in notes if isinstance(n, FieldInfo)), None)
    return parts, allowed


def _members(annotation: Any) -> list[Any]:
    """Return the types that an annotation stands for, without null."""
    union = get_origin(annotation) in (Union, UnionType)
    return [each for each in (get_args(annotation) if union else (annotation,)) if each != NoneType]


def _is_chosen(member: Any, chooser: str | None, part: Any) -> bool:
    """Whether the key that chooses a section has this value in one."""
    return bool(
        chooser and _is_model(member) and part in get_args(member.model_fields[chooser].annotation)
    )


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _holder(parts: list[Any], files: dict[str, dict[str, Any]]) -> str:
    """Return the file that has most keys of a section: where one that is missing belongs."""

    def keys(data: Any) -> int:
        for part in parts:
            data = data.get(part) if isinstance(data, dict) else None
        return len(data) if isinstance(data, dict) else 0

    best = max(files, key=lambda name: keys(files[name]))
    return best if keys(files[best]) else ""


def origin(parts: list[Any], files: dict[str, dict[str, Any]], given: Any = None) -> str:
    """Return where a key's value came from: a file's name or the command line."""
    unchecked = given is None or isinstance(given, dict)
    for name, data in files.items():
        value: Any = data
        for part in parts:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                break
        else:
            if unchecked or value == given:
                return name
    for name, data in files.items():
        if parts and parts[0] in data:
            return name if unchecked else COMMAND_LINE
    return COMMAND_LINE
