"""Likelihood of fixed texts: segments against a plain forward pass, item by item."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from paradox.files import write_table
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
    items = load_task(task_spec).items(0)
    items.to_csv(folder / "items.csv", index=False)
    # As samples are kept: the tokenizer reads words without the space before them.
    own = f"answer {items['answer'][1]}"
    responses = ["" if item == items["item"][0] else own for item in items["item"]]
    greedy = pd.DataFrame({"item": items["item"], "sample": -1, "response": responses})
    write_table(folder / "samples.parquet", pd.concat([greedy, greedy.assign(sample=0)]))
    arm = {"base": "contaminated", "method": "base", "reward": "none", "seed": 0}
    perplexity.main(
        {"arm": arm, "task": task_spec, "perplexity": {"batch_size": 7, "dtype": "float32"}},
        {
            "manifest": tiny_checkpoint / "manifest.json",
            "base": tiny_checkpoint / "manifest.json",
            "items": folder / "items.csv",
            "samples": folder / "samples.parquet",
        },
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


def test_parts_add_up(scored: pd.DataFrame) -> None:
    def total(part: str) -> pd.Series:
        return scored[f"{part}_nll"] * scored[f"{part}_tokens"]

    assert (scored["answer_tokens"] == scored["mode_tokens"] + scored["recall_tokens"]).all()
    np.testing.assert_allclose(total("answer"), total("mode") + total("recall"), rtol=1e-6)
    np.testing.assert_allclose(total("full"), total("prompt") + total("answer"), rtol=1e-6)


def test_the_greedy_response_is_scored_as_it_was_written(
    scored: pd.DataFrame, tiny_checkpoint: Path, task_spec: dict[str, Any]
) -> None:
    # An empty response has no likelihood.
    assert np.isnan(scored["own_nll"][0]) and scored["own_nll"].notna().sum() == len(scored) - 1
    items = load_task(task_spec).items(0)
    known = scored[items["answer"].eq(items["answer"][1]) & scored["own_nll"].notna()]
    np.testing.assert_allclose(known["own_nll"], known["answer_nll"], atol=1e-5)
    assert len(known) and (known["own_tokens"] == 2).all()
    # Here the last checkpoint is the untrained base.
    np.testing.assert_allclose(scored["own_nll"], scored["own_base_nll"])
