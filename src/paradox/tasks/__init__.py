"""Tasks: items with known exposure, their texts, and how a response is read.

A kind of task is a folder of that name: ``declare.py`` says what the study must know of it, and
``task.py`` is the task. docs/extending.md walks through an example.
"""

from __future__ import annotations

import importlib
from typing import Any

from paradox.tasks.api import Task


def module_of(kind: str) -> str:
    """Return the module that holds a kind of task."""
    return f"{__name__}.{kind}.task"


def task_class(kind: str) -> type[Task]:
    """Return the class of a kind of task.

    Only its own module is imported, so that a task's results do not depend on the others' code.
    """
    return importlib.import_module(module_of(kind)).TASK


def load_task(spec: dict[str, Any]) -> Task:
    """Return the task of the kind ``spec["kind"]``, with its sizes."""
    return task_class(spec["kind"])(spec)


__all__ = ["Task", "load_task", "module_of", "task_class"]
