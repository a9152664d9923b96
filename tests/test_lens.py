"""Lens and attribution against the model, against closed forms and against TransformerLens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import patching as timed
import pytest
import torch
from families import FAMILIES, tiny, tokens

from paradox.errors import CheckpointError
from paradox.mechanisms.lens import measure as step
from paradox.mechanisms.lens.measure import attribution, emergence, lens
from paradox.mechanisms.model.access import Access
from paradox.mechanisms.model.norms import frozen_norm
from paradox.progress import Progress
from paradox.tasks import load_task

BLOCKS = 3


@pytest.fixture(scope="module", params=list(FAMILIES))
def access(request: Any) -> Access:
    return Access(tiny(request.param))


def asked(rows: int, places: int, seed: int = 3) -> torch.Tensor:
    """Return two tokens to follow per position."""
    return tokens(rows, places * 2, seed).unflatten(1, (places, 2))


@torch.no_grad()
def test_the_last_layer_is_the_models_output(access: Access) -> None:
    ids, follow = tokens(4, 9), asked(4, 2)
    read = lens(access, {"input_ids": ids}, [3, -1], follow)
    logits = access.model(ids).logits[:, [3, -1]]
    usual = logits.log_softmax(-1).gather(-1, follow)
    assert read.logp.shape == (BLOCKS + 1, 4, 2, 2)
    torch.testing.assert_close(read.logp[-1], usual, atol=1e-5, rtol=1e-5)
    ranks = 1 + (logits[:, :, None] > logits.gather(-1, follow)[..., None]).sum(-1)
    assert torch.equal(read.rank[-1], ranks)


@torch.no_grad()
def test_earlier_layers_are_the_normed_states(access: Access) -> None:
    ids, follow = tokens(3, 7), asked(3, 7)
    states = access.model(ids, output_hidden_states=True).hidden_states
    read = lens(access, {"input_ids": ids}, list(range(7)), follow)
    for layer in range(BLOCKS):  # the library's last state is normed already
        usual = access.logits(states[layer]).log_softmax(-1).gather(-1, follow)
        torch.testing.assert_close(read.logp[layer], usual, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_positions_may_differ_between_items(access: Access) -> None:
    ids, follow = tokens(3, 7), asked(3, 1)
    places = torch.tensor([[2], [6], [4]])
    read = lens(access, {"input_ids": ids}, places, follow)
    for row, place in enumerate(places.flatten().tolist()):
        alone = lens(access, {"input_ids": ids[[row]]}, [place], follow[[row]])
        torch.testing.assert_close(read.logp[:, [row]], alone.logp, atol=1e-5, rtol=1e-5)


def test_only_the_positions_asked_for_go_through_the_head(access: Access) -> None:
    seen = []
    hook = access.head.register_forward_hook(lambda _, args, out: seen.append(out.shape[:-1]))
    lens(access, {"input_ids": tokens(4, 9)}, [5], asked(4, 1))
    hook.remove()
    assert seen == [(4, 1)] * (BLOCKS + 2)  # the model's own head sees its least, one


def test_emergence_is_the_start_of_the_last_run_of_firsts() -> None:
    rank = torch.tensor([[1, 5, 1, 1, 2], [2, 1, 1, 1, 1], [2, 4, 1, 3, 1], [1, 1, 1, 2, 1]])
    assert emergence(rank).tolist() == [2, 2, -1, 3, 0]


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_parts_add_up_to_the_logit(access: Access, dtype: torch.dtype) -> None:
    model = Access(access.model.to(dtype))
    try:
        ids, follow = tokens(4, 8), asked(4, 2)
        parts = attribution(model, {"input_ids": ids}, [2, -1], follow, heads=True)
        close = 1e-9 if dtype == torch.float64 else 1e-4
        size = parts.total.abs().max()
        assert float((parts.sum() - parts.total).abs().max() / size) < close
        # The library's norms work in float32 whatever they are given.
        states = model.model.base_model(ids).last_hidden_state[:, [2, -1]]
        raw = model.head(states)
        usual = raw.gather(-1, follow) - raw.mean(-1, keepdim=True)
        torch.testing.assert_close(parts.total, usual, atol=1e-5, rtol=1e-5)
    finally:
        access.model.float()


@torch.no_grad()
def test_parts_add_up_to_the_logit_of_a_model_in_float64(
    access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        gain = 1 + self.weight if "Gemma" in type(self).__name__ else self.weight
        epsilon = getattr(self, "variance_epsilon", getattr(self, "eps", None))
        return gain * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon)

    access.model.double()
    monkeypatch.setattr(type(access.norm), "forward", forward)
    try:
        ids, follow = tokens(4, 8), asked(4, 1)
        parts = attribution(access, {"input_ids": ids}, [-1], follow)
        raw = access.head(access.model.base_model(ids).last_hidden_state[:, [-1]])
        usual = raw.gather(-1, follow) - raw.mean(-1, keepdim=True)
        assert float((parts.sum() - usual).abs().max() / usual.abs().max()) < 1e-9
    finally:
        access.model.float()


@torch.no_grad()
def test_heads_add_up_to_attention_without_its_bias(access: Access) -> None:
    ids, follow = tokens(4, 8), asked(4, 1)
    biases = [block.attention.o_proj.bias for block in access.blocks]
    kept = [bias.clone() for bias in biases if bias is not None]
    for bias in biases:
        if bias is not None:
            bias.zero_()
    parts = attribution(access, {"input_ids": ids}, [-1], follow, heads=True)
    for bias, value in zip([b for b in biases if b is not None], kept, strict=True):
        bias.copy_(value)
    torch.testing.assert_close(parts.heads.sum(1), parts.attention, atol=1e-4, rtol=1e-4)
    assert parts.heads.shape == (BLOCKS, access.heads, 4, 1, 2)


@torch.no_grad()
def test_a_silent_mlp_has_no_part() -> None:
    model = tiny("qwen2")
    model.model.layers[1].mlp.down_proj.weight.zero_()
    parts = attribution(Access(model), {"input_ids": tokens(2, 6)}, [-1], asked(2, 1))
    assert not parts.mlp[1].any() and parts.mlp[0].any()


def test_other_norms_are_refused() -> None:
    with pytest.raises(CheckpointError, match="LayerNorm"):
        frozen_norm(torch.nn.LayerNorm(4), torch.randn(2, 4) + 5)


def test_the_step_reads_every_item(
    tiny_checkpoint: Path, task_spec: dict[str, Any], tmp_path: Path
) -> None:
    items = load_task(task_spec).items(0)
    items.to_csv(tmp_path / "items.csv", index=False)
    arm = {"base": "b", "method": "base", "reward": "none", "seed": 0}
    spec = {"arm": arm, "task": task_spec, "seed": 0}
    tables = {}
    for size in (64, 5):
        outputs = {n: tmp_path / f"{n}{size}.csv" for n in ("lens", "attribution", "emergence")}
        step.main(
            {**spec, "lens": {"batch_size": size, "dtype": "float32"}},
            {"manifest": tiny_checkpoint / "manifest.json", "items": tmp_path / "items.csv"},
            outputs,
            Progress("lens"),
        )
        tables[size] = {name: pd.read_csv(path) for name, path in outputs.items()}
    layers = json.loads((tiny_checkpoint / "step-0/config.json").read_text())["num_hidden_layers"]
    read, parts, first = tables[64].values()
    assert len(read) == len(items) * (layers + 1) and len(parts) == len(items) * (2 * layers + 1)
    assert first["item"].tolist() == items["item"].tolist()
    for name, table in tables[64].items():
        pd.testing.assert_frame_equal(table, tables[5][name], atol=1e-5, rtol=1e-5)
    shares = read[read["layer"] == layers - 1].set_index("item")["emerged"]
    assert ((first.set_index("item")["emergence"] < layers) == (shares == 1)).all()
    about = parts.groupby("item")[["first_choice", "answer_tokens"]].nunique()
    assert (about == 1).all(axis=None) and (parts["answer_tokens"] >= 1).all()
    chosen = parts.groupby("item")["first_choice"].first()
    assert (chosen == (shares == 1).sort_index()).all()


@torch.no_grad()
@pytest.mark.parametrize("family", ["qwen2", "llama"])
def test_equal_to_transformer_lens(family: str) -> None:
    pytest.importorskip(timed.RIVAL)
    model = tiny(family)
    bridge = timed.bridged(model)
    ids, follow = tokens(3, 8), asked(3, 1)
    access = Access(model)
    _, cache = bridge.run_with_cache(ids)
    read = lens(access, {"input_ids": ids}, [-1], follow)
    parts = attribution(access, {"input_ids": ids}, [-1], follow, heads=True)
    scale = torch.rsqrt(cache[f"blocks.{BLOCKS - 1}.hook_resid_post"][:, -1].pow(2).mean(-1) + 1e-6)
    matrix = model.lm_head.weight
    direction = (matrix[follow[:, 0]] - matrix.mean(0)) * model.model.norm.weight
    for n in range(BLOCKS):
        state = cache[f"blocks.{n}.hook_resid_post"][:, -1]
        usual = access.logits(state).log_softmax(-1).gather(-1, follow[:, 0])
        torch.testing.assert_close(read.logp[n + 1, :, 0], usual, atol=1e-4, rtol=1e-4)
        for name, of in (("attn_out", parts.attention), ("mlp_out", parts.mlp)):
            value = cache[f"blocks.{n}.hook_{name}"][:, -1] * scale[:, None]
            usual = torch.einsum("bd,bcd->bc", value, direction)
            torch.testing.assert_close(of[n, :, 0], usual, atol=1e-4, rtol=1e-4)
