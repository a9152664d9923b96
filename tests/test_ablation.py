"""Ablation against whole passes with hooks, and against models whose memory is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from families import FAMILIES, tiny
from test_rerun import made

from paradox.mechanisms.ablation import measure as step
from paradox.mechanisms.ablation.measure import PARTS, measure
from paradox.mechanisms.model.access import ATTN_OUT, MLP_OUT, Access, Node
from paradox.mechanisms.model.rerun import WHERE
from paradox.progress import Progress
from paradox.tasks import load_task


@pytest.fixture(scope="module", params=list(FAMILIES))
def access(request: Any) -> Access:
    return Access(tiny(request.param))


@torch.no_grad()
def test_equal_to_whole_passes_one_by_one(access: Access) -> None:
    prompts = made([6, 6, 6, 6], answers=2)
    found = measure(access, prompts, 4)
    ids = torch.tensor([p.prompt + p.gold for p in prompts])
    nodes = access.nodes(ATTN_OUT, MLP_OUT)
    with access.capture(nodes) as values:
        access.model(ids[:, :-1])
    kept = dict(values)
    for row, prompt in enumerate(prompts):
        others = [n for n in range(4) if n != row]
        for part, kind in zip(PARTS, (ATTN_OUT, MLP_OUT), strict=True):
            for where, first in zip(WHERE, (1, 5), strict=True):
                mask = torch.zeros(1, 7, dtype=torch.bool)
                mask[:, first:] = True
                for block in range(3):
                    node = Node(kind, block)
                    mean = {node: kept[node][others].mean(0)}
                    with access.ablate([node], mean, mask):
                        logits = access.model(ids[[row], :-1]).logits[0, 5:]
                    gold = torch.tensor(prompt.gold)
                    logp = logits.log_softmax(-1).gather(-1, gold[:, None]).mean()
                    right = bool((logits.argmax(-1) == gold).all())
                    cell = found[f"{part}@{where}"][:, block, row]
                    assert cell[0] == pytest.approx(float(logp), abs=1e-4)
                    assert cell[1] == right


def test_batched_equals_one_by_one(access: Access) -> None:
    prompts = made([5, 7, 6, 4, 7], answers=2)
    whole, alone = measure(access, prompts, 5), measure(access, prompts, 1)
    for cell, values in whole.items():
        np.testing.assert_allclose(values, alone[cell], atol=1e-5, rtol=1e-4, err_msg=cell)


def test_equal_items_lose_nothing(access: Access) -> None:
    found = measure(access, made([6]) * 3, 3)
    for cell, values in found.items():
        np.testing.assert_allclose(values, found["clean"].repeat(values.shape[1], 1), atol=1e-5)
        assert cell in (*(f"{p}@{w}" for p in PARTS for w in WHERE), "clean")


@torch.no_grad()
def test_memory_in_one_mlp_is_found_there() -> None:
    """A block that alone tells the items apart; the others add nothing."""
    model = tiny("qwen2")
    for n, layer in enumerate(model.model.layers):
        layer.self_attn.o_proj.weight.zero_()
        if n != 1:
            layer.mlp.down_proj.weight.zero_()
    access = Access(model)
    prompts = made([6] * 12)
    logits = model(torch.tensor([p.prompt for p in prompts])).logits[:, -1]
    known = [
        type(p)(p.item, p.prompt, [int(g)], 0)
        for p, g in zip(prompts, logits.argmax(-1), strict=True)
    ]
    found = measure(access, known, 12)
    assert found["clean"][1].all()
    for part in PARTS:
        for where in WHERE:
            drop = found["clean"][0] - found[f"{part}@{where}"][0]
            if part == "mlp":
                assert drop[1].max() > 0.05
                drop = drop[[0, 2]]
            assert np.abs(drop).max() < 1e-5


def test_the_step_ablates_for_every_item(
    tiny_checkpoint: Path, task_spec: dict[str, Any], tmp_path: Path
) -> None:
    items = load_task(task_spec).items(0)
    items.to_csv(tmp_path / "items.csv", index=False)
    arm = {"base": "b", "method": "base", "reward": "none", "seed": 0}
    step.main(
        {
            "arm": arm,
            "task": task_spec,
            "seed": 0,
            "ablation": {"batch_size": 7, "dtype": "float32"},
        },
        {"manifest": tiny_checkpoint / "manifest.json", "items": tmp_path / "items.csv"},
        {"table": tmp_path / "ablation.csv"},
        Progress("ablation"),
    )
    table = pd.read_csv(tmp_path / "ablation.csv")
    assert set(table["component"]) == {f"{part}@{where}" for part in PARTS for where in WHERE}
    np.testing.assert_allclose(table["logp_drop"], table["clean_logp"] - table["logp"], atol=1e-12)
    assert table.groupby("item")["clean_logp"].nunique().eq(1).all()
    assert table["correct_drop"].isin([-1, 0, 1]).all()
