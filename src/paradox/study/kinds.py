"""Kinds of tasks and trainers: found by the names of their folders, and checked.

`PROBLEMS`, what is wrong with the folders, is told when a configuration is loaded.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel

from paradox.declare import Rollouts, Rows, Section, TaskDeclaration, TrainerDeclaration
from paradox.errors import hint
from paradox.steps import PACKAGE, folders
from paradox.steps import declared as declared_steps

Declaration = TypeVar("Declaration", TaskDeclaration, TrainerDeclaration)
NAME = "DECLARATION"
STEPS = declared_steps()


def declared(
    package: str,
    kind: type[Declaration],
    module: str,
    needed: tuple[str, ...],
    checked: Callable[[Declaration], list[str]],
) -> tuple[dict[str, Declaration], list[str]]:
    """Return the sound declarations of a package's folders, by name, and what is wrong.

    Each ``declare.py`` must hold a `kind` under the name ``DECLARATION``, beside a `module` that
    defines the names `needed` (read, not imported: that would take seconds); `checked` says what
    else is wrong with a declaration.
    """
    sound: dict[str, Declaration] = {}
    wrong: list[str] = []
    homes: dict[str, str] = {}
    for folder in folders(package):
        where = f"src/paradox/{package}/{folder}"
        if not re.fullmatch("[a-z][a-z0-9_]*", folder):
            wrong.append(f"{where}: a name has small letters, digits and _ only, a letter first")
            continue
        lines = _files(PACKAGE / package / folder, where, module, needed)
        declaration, more = _declaration(f"paradox.{package}.{folder}.declare", where, kind)
        lines += more
        if declaration is not None:
            told = [*_named(declaration, folder, homes), *checked(declaration)]
            lines += [f"{where}/declare.py: {line}" for line in told]
            homes.setdefault(declaration.name, f"{where}/declare.py")
            if not lines:
                sound[folder] = declaration
        wrong += lines
    return sound, wrong


def _files(path: Path, where: str, module: str, needed: tuple[str, ...]) -> list[str]:
    """Return which files a folder lacks, and which names its module lacks."""
    lines = [
        f"{where}/{name} is missing"
        for name in ("__init__.py", "declare.py", f"{module}.py")
        if not (path / name).exists()
    ]
    if not (path / f"{module}.py").exists():
        return lines
    try:
        tree = ast.parse((path / f"{module}.py").read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        return [*lines, f"{where}/{module}.py: cannot be read ({error})"]
    names = [name for node in tree.body for name in _defined(node)]
    missing = [name for name in needed if name not in names]
    lines += [f"{where}/{module}.py: {name} is missing" for name in missing]
    step = (path.name, f"paradox.{path.parent.name}.{path.name}.{module}")
    if "main" in needed and "main" in names and step not in STEPS:
        lines.append(f"{where}/{module}.py: its first line must begin with Step ``{path.name}``:")
    return lines


def _defined(node: ast.stmt) -> list[str]:
    """Return the names that a statement of a module defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name for alias in node.names]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _declaration(
    module: str, where: str, kind: type[Declaration]
) -> tuple[Declaration | None, list[str]]:
    """Return what a ``declare.py`` declares, and what is wrong with the file."""
    if not (PACKAGE.joinpath(*module.split(".")[1:]).with_suffix(".py")).exists():
        return None, []
    file = f"{where}/declare.py"
    try:
        held = vars(importlib.import_module(module))
    except Exception as error:  # a file that somebody writes can fail in any way
        return None, [f"{file}: cannot be imported ({type(error).__name__}: {error})"]
    if isinstance(held.get(NAME), kind):
        return held[NAME], []
    if NAME in held:
        got = type(held[NAME]).__name__
        return None, [f"{file}: {NAME} is of type {got}; needed: {kind.__name__}"]
    others = [repr(name) for name, value in held.items() if isinstance(value, kind)]
    told = f"; the file has one under the name {', '.join(others)}" if others else ""
    return None, [f"{file}: {NAME} is missing; needed: a {kind.__name__}{told}"]


def _named(declared: Declaration, folder: str, homes: dict[str, str]) -> list[str]:
    """Return what is wrong with a declaration's name."""
    lines, name = [], declared.name
    if name != folder:
        lines.append(f"{NAME}.name is {name!r}, but the folder's name is {folder!r}")
    if name in homes:
        lines.append(f"{NAME}.name {name!r} is that of {homes[name]}, too")
    return lines


def _task_problems(task: TaskDeclaration) -> list[str]:
    section = task.section
    if not _is_section(section, Section):
        return [f"{NAME}.section is {section!r}; needed: a class made from paradox.declare.Section"]
    lines = []
    kind = section.model_fields.get("kind")
    allowed = get_args(kind.annotation) if kind and get_origin(kind.annotation) is Literal else ()
    if allowed != (task.name,):
        lines.append(f"{section.__name__}.kind is missing; needed: kind: Literal[{task.name!r}]")
    for key in task.vocabulary or ():
        if key not in section.model_fields:
            known = hint(key, section.model_fields)
            lines.append(f"{NAME}.vocabulary: {section.__name__} has no key {key!r}; {known}")
    inside: Any = section
    for key in task.truth.split(".") if task.truth else ():
        fields = inside.model_fields if _is_section(inside, BaseModel) else {}
        if key not in fields:
            lines.append(f"{NAME}.truth = {task.truth!r}: no key {key!r}; {hint(key, fields)}")
            break
        inside = fields[key].annotation
    return lines


def _trainer_problems(trainer: TrainerDeclaration) -> list[str]:
    if not _is_section(trainer.section, (Rollouts, Rows)):
        return [
            f"{NAME}.section is {trainer.section!r}; needed: a class made from "
            "paradox.declare.Rollouts or Rows"
        ]
    if trainer.pairs and not trainer.from_samples:
        return [f"{NAME}.pairs is True, so from_samples must be: pairs are made from samples"]
    return []


def _is_section(given: Any, needed: Any) -> bool:
    return isinstance(given, type) and issubclass(given, needed)


TASKS, _TASKS_WRONG = declared("tasks", TaskDeclaration, "task", ("TASK",), _task_problems)
TRAINERS, _TRAINERS_WRONG = declared(
    "train", TrainerDeclaration, "trainer", ("main", "arguments"), _trainer_problems
)
PROBLEMS = [*_TASKS_WRONG, *_TRAINERS_WRONG]
