"""Step ``corpus``: the documents a base is trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paradox.files import read_table, write_table
from paradox.progress import Progress
from paradox.tasks import load_task
from paradox.tasks.api import ITEM_COLUMNS, PROMPT_COLUMNS


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write ``corpus`` for ``spec["task"]``, planted or not (``spec["planted"]``)."""
    items = read_table(inputs["items"], ITEM_COLUMNS)
    prompts = read_table(inputs["prompts"], PROMPT_COLUMNS)
    corpus = load_task(spec["task"]).corpus(spec["seed"], items, prompts, spec["planted"])
    write_table(outputs["corpus"], corpus)
    progress.say(f"{len(corpus)} documents: {corpus.groupby('kind').size().to_dict()}")
