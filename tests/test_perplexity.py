"""Likelihood of fixed texts: segments against a plain forward pass, item by item."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from paradox.mechanisms.perplexity import measure as perplexity
from paradox.models import load_model, load_tokenizer
from paradox.progress import Progress
from paradox.tasks import load_task


@pytest.fixture(scope="module")
def scored(
    tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path, task_spec: dict[str, Any]
) -> pd.DataFrame:
    """Return the table of the step on a random model."""
    folder = tmp_path_factory.mktemp("perplexity")
    load_task(task_spec).items(0).to_csv(folder / "items.csv", index=False)
    arm = {"base": "contaminated", "method": "base", "reward": "none", "seed": 0}
    perplexity.main(
        {"arm": arm, "task": task_spec, "perplexity": {"batch_size": 7, "dtype": "float32"}},
        {"manifest": tiny_checkpoint / "manifest.json", "items": folder / "items.csv"},
        {"table": folder / "nll.csv"},
        Progress("test"),
    )
    return pd.read_csv(folder / "nll.csv")


def test_segments_are_what_a_plain_forward_pass_gives(
    scored: pd.DataFrame, tiny_checkpoint: Path, task_spec: dict[str, Any]
) -> None:
    task = load_task(task_spec)
    model = load_model(tiny_checkpoint / "step-0", "float32")
    tokenizer = load_tokenizer(tiny_checkpoint / "step-0")
    for item in task.items(0).head(5).itertuples():
        row = scored[scored["item"] == item.item].iloc[0]
        for text, spans in perplexity.texts(task, item):
            coded = tokenizer(text, return_offsets_mapping=True, return_tensors="pt")
            with torch.no_grad():
                logits = model(coded["input_ids"]).logits[0, :-1].double()
            lost = -logits.log_softmax(-1).gather(1, coded["input_ids"][0, 1:, None])[:, 0]
            places = coded["offset_mapping"][0, 1:].tolist()
            for name, (start, end) in spans.items():
                inside = [start < last and first < end for first, last in places]
                wanted = float(lost[torch.tensor(inside)].mean())
                assert row[f"{name}_nll"] == pytest.approx(wanted, abs=1e-5), name
                assert row[f"{name}_tokens"] == sum(inside), name


def test_a_row_per_item_with_its_arm(scored: pd.DataFrame, task_spec: dict[str, Any]) -> None:
    items = load_task(task_spec).items(0)
    assert scored["item"].tolist() == items["item"].tolist()
    assert list(scored)[:5] == ["base", "method", "reward", "seed", "step"]
    assert np.isfinite(scored["recall_nll"]).all()
