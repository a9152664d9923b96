"""An arm's last checkpoint as most analyses read it: with its task and the study's items."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from paradox.arms import with_arm
from paradox.files import read_table, write_table
from paradox.mechanisms.model.access import Access
from paradox.mechanisms.model.recalls import Recall, recalls
from paradox.models import load_model, load_tokenizer
from paradox.provenance.manifest import read_manifest
from paradox.tasks import Task, load_task
from paradox.tasks.api import ITEM_COLUMNS


class Checkpoint(NamedTuple):
    """The last checkpoint of an arm."""

    arm: dict[str, Any]  # the first columns of its tables, the step among them
    items: pd.DataFrame
    access: Access
    task: Task
    tokenizer: PreTrainedTokenizerBase

    def recalls(self, seed: int) -> list[Recall]:
        """Return the recall prompt of every item."""
        return recalls(self.task, self.tokenizer, self.items, seed)

    def write(self, path: Path, *tables: pd.DataFrame) -> None:
        """Write tables, one below the other, behind the arm's columns."""
        write_table(path, with_arm(pd.concat(tables, ignore_index=True), self.arm))


def last_checkpoint(spec: dict[str, Any], inputs: dict[str, Path], dtype: str) -> Checkpoint:
    """Load the last checkpoint of ``manifest``, the task and ``items``."""
    checkpoints = read_manifest(inputs["manifest"])
    return Checkpoint(
        {**spec["arm"], "step": max(checkpoints.steps)},
        read_table(inputs["items"], ITEM_COLUMNS),
        Access(load_model(checkpoints.last, dtype)),
        load_task(spec["task"]),
        load_tokenizer(checkpoints.last),
    )
