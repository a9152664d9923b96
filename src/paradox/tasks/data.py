"""Step ``data``: the item table and the training prompts of a scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paradox.files import write_table
from paradox.progress import Progress
from paradox.tasks import load_task


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write ``items`` and ``prompts`` for ``spec["task"]`` and ``spec["seed"]``."""
    task = load_task(spec["task"])
    items = task.items(spec["seed"])
    prompts = task.prompts(spec["seed"], items)
    write_table(outputs["items"], items)
    write_table(outputs["prompts"], prompts)
    counts = items.groupby("group").size().to_dict()
    progress.say(f"{counts} items, {len(prompts)} training prompts")
