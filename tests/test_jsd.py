"""Divergences against closed forms, and changes with a known effect."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from families import FAMILIES, tiny
from scipy.spatial.distance import jensenshannon
from test_rerun import made, together

from paradox.mechanisms.jsd import measure as step
from paradox.mechanisms.jsd.measure import MEASURES, changes, directions, js_divergence, measure
from paradox.mechanisms.model.access import GATE, KEY, MLP_OUT, UP, Access
from paradox.mechanisms.model.recalls import batches
from paradox.mechanisms.model.rerun import OtherMeans, clean_pass, counted
from paradox.progress import Progress
from paradox.tasks import load_task

LENGTHS = [5, 7, 6, 7, 5, 6]


@pytest.fixture(scope="module", params=list(FAMILIES))
def access(request: Any) -> Access:
    return Access(tiny(request.param))


def of(values: dict[str, Any], part: str, name: str) -> Any:
    return values[part][MEASURES.index(name)]


def log(*probabilities: float) -> torch.Tensor:
    return torch.tensor(probabilities, dtype=torch.float64).log()


def test_closed_forms() -> None:
    assert float(js_divergence(log(0.2, 0.8), log(0.2, 0.8))) == 0
    assert float(js_divergence(log(1, 0), log(0, 1))) == 1
    assert float(js_divergence(log(0.5, 0.5, 0, 0), log(0, 0, 0.5, 0.5))) == 1

    def entropy(p: float) -> float:
        return -sum(x * math.log2(x) for x in (p, 1 - p) if x)

    for one, other in ((0.5, 1.0), (0.1, 0.7), (0.3, 0.3001)):
        expected = entropy((one + other) / 2) - (entropy(one) + entropy(other)) / 2
        found = js_divergence(log(one, 1 - one), log(other, 1 - other))
        assert float(found) == pytest.approx(expected, abs=1e-14)


def test_random_tables_agree_with_scipy_in_any_chunk_and_order() -> None:
    draw = torch.Generator().manual_seed(0)
    one, other = (torch.randn(3, 5, 40, generator=draw) * 4 for _ in range(2))
    whole = js_divergence(one, other)
    p, q = (x.double().softmax(-1).numpy() for x in (one, other))
    np.testing.assert_allclose(whole, jensenshannon(p, q, axis=-1, base=2) ** 2, atol=1e-12)
    assert torch.equal(whole, js_divergence(other, one))
    assert torch.equal(whole, js_divergence(one, other, chunk=1))
    torch.testing.assert_close(whole, js_divergence(one + 100, other - 50), atol=1e-5, rtol=0)


def test_no_more_than_a_chunk_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    inner = step._bits
    monkeypatch.setattr(step, "_bits", lambda p, q: sizes.append(p.numel()) or inner(p, q))
    js_divergence(torch.randn(50, 20), torch.randn(50, 20), chunk=100)
    assert len(sizes) == 10 and max(sizes) == 100


def test_batched_equals_one_by_one(access: Access) -> None:
    prompts = made(LENGTHS)
    whole = measure(access, prompts, len(prompts), 2, 0)
    alone = measure(access, prompts, 1, 2, 0)
    for part, values in whole.items():
        np.testing.assert_allclose(values, alone[part], atol=1e-5, rtol=1e-4, err_msg=part)


def test_half_precision_gives_about_the_same() -> None:
    model = tiny("qwen2")
    exact = measure(Access(model), made(LENGTHS), 6, 2, 0)
    rough = measure(Access(model.bfloat16()), made(LENGTHS), 6, 2, 0)
    for part in exact:
        one, two = of(exact, part, "jsd"), of(rough, part, "jsd")
        np.testing.assert_allclose(one, two, atol=0.1 * one.max(), err_msg=part)


def test_every_part_matters_in_a_random_model(access: Access) -> None:
    values = measure(access, made(LENGTHS), 6, 2, 0)
    for part in values:
        for name in ("jsd", "random", "moved", "local_jsd"):
            assert (of(values, part, name) > 0).all(), (part, name)
        np.testing.assert_allclose(
            of(values, part, "excess"), of(values, part, "jsd") - of(values, part, "random")
        )
    post_norm = any(type(b.mlp_out).__name__ != "Identity" for b in access.blocks)
    down, mlp = of(values, "down@all", "jsd"), of(values, "mlp@all", "jsd")
    assert np.allclose(down, mlp, atol=1e-6) != post_norm


@torch.no_grad()
def test_a_part_with_zero_weights_does_nothing() -> None:
    model = tiny("qwen2")
    mlp = model.model.layers[1].mlp
    mlp.gate_proj.weight.zero_()
    values = measure(Access(model), made(LENGTHS), 6, 2, 0)
    # The gate is 0 everywhere, so all parts of this block already are their means.
    for name in MEASURES:
        assert np.abs(of(values, "gate@all", name)[1]).max() < 1e-9, name
        assert np.abs(of(values, "mlp@all", name)[1]).max() < 1e-9, name
    assert of(values, "gate@all", "jsd")[0].all()
    mlp.down_proj.weight.zero_()
    torch.nn.init.normal_(mlp.gate_proj.weight)
    values = measure(Access(model), made(LENGTHS), 6, 2, 0)
    for part in values:
        assert of(values, part, "jsd")[1].max() < 1e-9, part


def test_equal_items_are_their_own_means(access: Access) -> None:
    same = made([6])[0]
    prompts = [same, same, same]
    values = measure(access, prompts, 3, 2, 0)
    for part in values:
        assert (of(values, part, "jsd") < 1e-6).all(), part
        assert (of(values, part, "moved") < 1e-4).all(), part


@torch.no_grad()
def test_directions_are_unit_vectors_of_their_own(access: Access) -> None:
    prompts = made(LENGTHS)
    batch = together(prompts)
    names = [prompts[row].item for row in batch.rows]
    noise = directions(batch, names, 32, 3, 0, 1)
    lengths = noise.norm(dim=-1)
    assert torch.allclose(lengths[:, counted(batch)], torch.ones(1), atol=1e-5)
    assert not lengths[:, ~counted(batch)].any()
    assert (noise[0, 0, -1] @ noise[1, 0, -1]).abs() < 0.9
    assert not torch.equal(noise, directions(batch, names, 32, 3, 0, 2))
    (alone,) = batches([prompts[batch.rows[2]]], 1, torch.device("cpu"))
    length = int(batch.mask[2].sum())
    torch.testing.assert_close(
        directions(alone, [names[2]], 32, 3, 0, 1)[:, 0], noise[:, 2, -length:]
    )


@torch.no_grad()
def test_only_the_part_named_is_changed() -> None:
    access = Access(tiny("llama"))
    prompts = made(LENGTHS)
    batch = together(prompts)
    means = OtherMeans(access, (GATE, UP, KEY, MLP_OUT), [batch])
    clean = clean_pass(access, batch)
    found = {part: (own, new) for part, own, new in changes(access, clean, means, 1)}
    # A linear unit: where the gate's mean is taken as the gate, the key is act(mean) * up.
    mlp, into = access.blocks[1].mlp, access.blocks[1].mlp_in(clean.middle(1))
    gate, up = mlp.gate_proj(into)[:, -1], mlp.up_proj(into)[:, -1]
    rows = len(prompts)
    for part, new_gate, new_up in (
        ("gate", (gate.sum(0) - gate) / (rows - 1), up),
        ("up", gate, (up.sum(0) - up) / (rows - 1)),
    ):
        expected = mlp.down_proj(torch.nn.functional.silu(new_gate) * new_up)
        torch.testing.assert_close(found[part][1][:, -1], expected, atol=1e-5, rtol=1e-4)
        assert torch.equal(found[part][0][:, 0], found[part][1][:, 0])


def test_the_step_measures_every_item(
    tiny_checkpoint: Path, task_spec: dict[str, Any], tmp_path: Path
) -> None:
    items = load_task(task_spec).items(0)
    items.to_csv(tmp_path / "items.csv", index=False)
    arm = {"base": "b", "method": "base", "reward": "none", "seed": 0}
    how = {"batch_size": 7, "dtype": "float32", "draws": 1}
    step.main(
        {"arm": arm, "task": task_spec, "seed": 0, "jsd": how},
        {"manifest": tiny_checkpoint / "manifest.json", "items": tmp_path / "items.csv"},
        {"table": tmp_path / "jsd.csv"},
        Progress("jsd"),
    )
    table = pd.read_csv(tmp_path / "jsd.csv")
    layers = json.loads((tiny_checkpoint / "step-0/config.json").read_text())["num_hidden_layers"]
    assert len(table) == len(items) * layers * 8
    assert np.isfinite(table[list(MEASURES)]).all(axis=None)
    assert table["jsd"].between(0, 1).all()
