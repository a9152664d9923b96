"""Tasks: items with known exposure, their texts, and how a response is read."""

from __future__ import annotations

import importlib
from typing import Any

from paradox.tasks.api import Task

# A kind's module has its name; only that module is imported, so that a task's results do not
# depend on the other tasks' code.
KINDS = {
    "organism": "Organism",
    "word_problems": "WordProblems",
    "benchmarks": "Benchmarks",
}


def module_of(kind: str) -> str:
    """Return the module that holds a kind of task."""
    return f"{__name__}.{kind}"


def load_task(spec: dict[str, Any]) -> Task:
    """Return the task that ``spec["kind"]`` (a key of `KINDS`) names, with its sizes."""
    module = importlib.import_module(module_of(spec["kind"]))
    return getattr(module, KINDS[spec["kind"]])(spec)


__all__ = ["KINDS", "Task", "load_task", "module_of"]
