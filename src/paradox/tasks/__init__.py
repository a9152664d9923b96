"""Tasks: items with known exposure, their texts, and how a response is read."""

from __future__ import annotations

from typing import Any

from paradox.tasks.api import Task

KINDS = ("organism", "word_problems", "benchmarks")


def load_task(spec: dict[str, Any]) -> Task:
    """Return the task that ``spec["kind"]`` names, with its sizes from `spec`."""
    if spec["kind"] == "organism":
        from paradox.tasks.organism import Organism

        return Organism(spec)
    if spec["kind"] == "word_problems":
        from paradox.tasks.word_problems import WordProblems

        return WordProblems(spec)
    if spec["kind"] == "benchmarks":
        from paradox.tasks.benchmarks import Benchmarks

        return Benchmarks(spec)
    raise ValueError(f"unknown task {spec['kind']!r}; allowed: {', '.join(KINDS)}")


__all__ = ["KINDS", "Task", "load_task"]
