"""Reading and writing nodes: right hook points in every family, exact no-ops, no hooks left."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from families import FAMILIES, tiny, tokens
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GraniteConfig,
    PreTrainedModel,
    Qwen2MoeConfig,
)

from paradox.mechanisms.model.access import KINDS, Access, AccessError, Node, at

BLOCKS = 3


@pytest.fixture(scope="module", params=list(FAMILIES))
def access(request: Any) -> Access:
    return Access(tiny(request.param))


@torch.no_grad()
def run(access: Access, kinds: tuple[str, ...], **inputs: Any) -> tuple[Any, Any]:
    with access.capture(access.nodes(*kinds)) as found:
        out = access.model(**inputs, output_hidden_states=True, use_cache=False)
    return found, out


def count_hooks(model: PreTrainedModel) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_nodes_add_up_and_equal_the_librarys_states(access: Access) -> None:
    found, out = run(access, KINDS, input_ids=tokens(2, 9))
    for n in range(BLOCKS):
        value = {kind: found[Node(kind, n)] for kind in KINDS}
        total = value["resid_pre"] + value["attn_out"] + value["mlp_out"]
        torch.testing.assert_close(value["resid_post"], total, atol=1e-6, rtol=1e-6)
        assert torch.equal(value["resid_pre"], out.hidden_states[n])
        block = access.blocks[n]
        torch.testing.assert_close(
            block.mlp_out(block.mlp.down_proj(value["key"])), value["mlp_out"]
        )
        torch.testing.assert_close(
            block.mlp.act_fn(value["gate"]) * value["up"], value["key"], atol=1e-6, rtol=1e-6
        )
        added = value["head_out"].sum(2)
        if block.attention.o_proj.bias is not None:
            added = added + block.attention.o_proj.bias
        torch.testing.assert_close(
            block.attention_out(added), value["attn_out"], atol=1e-5, rtol=1e-5
        )
        torch.testing.assert_close(
            block.attention.o_proj(value["head_in"].flatten(2)),
            added,
            atol=1e-5,
            rtol=1e-5,
        )
    last = found[Node("resid_post", BLOCKS - 1)]
    assert torch.equal(access.norm(last), out.hidden_states[-1])
    assert torch.equal(access.logits(last), out.logits)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_a_node_patched_with_itself_changes_no_bit(access: Access, kind: str) -> None:
    ids = tokens(3, 8)
    found, out = run(access, (kind,), input_ids=ids)
    for mask in (None, at((3, 8), items=[0, 2], positions=[1, -1])):
        with access.patch(found, mask):
            assert torch.equal(access.model(ids).logits, out.logits)
        with access.patch({node: lambda value: value for node in found}, mask):
            assert torch.equal(access.model(ids).logits, out.logits)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_a_patch_changes_what_the_mask_says_and_what_comes_after(access: Access, kind: str) -> None:
    ids, node = tokens(3, 8), Node(kind, 1)
    before, out = run(access, (kind,), input_ids=ids)
    with (
        access.patch({node: lambda value: value + 1}, at((3, 8), items=[1], positions=[4])),
        access.capture([node]) as after,
    ):
        logits = access.model(ids).logits
    if kind != "head_out":  # its capture recomputes the parts from the input of o_proj
        difference = (after[node] - before[node]).flatten(2)
        wanted = torch.zeros_like(difference)
        wanted[1, 4] = 1
        torch.testing.assert_close(difference, wanted, atol=1e-5, rtol=0)
    changed = (logits != out.logits).any(-1)
    assert not changed[[0, 2]].any() and not changed[1, :4].any() and changed[1, 4:].any()


@torch.no_grad()
def test_all_nodes_of_another_model_make_its_residual() -> None:
    ids = tokens(2, 7)
    source, target = Access(tiny("olmo2", 1)), Access(tiny("olmo2", 2))
    kinds = ("attn_out", "mlp_out")
    values, _ = run(source, ("resid_pre", *kinds), input_ids=ids)
    last = Node("resid_post", BLOCKS - 1)
    wanted, _ = run(source, ("resid_post",), input_ids=ids)
    chosen = {n: v for n, v in values.items() if n.kind in kinds or n.block == 0}
    with target.patch(chosen), target.capture([last]) as found:
        target.model(ids)
    torch.testing.assert_close(found[last], wanted[last])


@torch.no_grad()
def test_one_head_ablated_loses_its_part(access: Access) -> None:
    ids, node = tokens(2, 6), Node("head_in", 2)
    before, _ = run(access, ("head_out", "head_in"), input_ids=ids)
    attention = access.blocks[2].attention
    seen: list[torch.Tensor] = []
    handle = attention.o_proj.register_forward_hook(lambda _m, _a, out: seen.append(out))
    access.model(ids)
    with access.ablate([node], where=at((2, 6, 4), units=[3])):
        access.model(ids)
    with access.ablate([Node("head_out", 2)], where=at((2, 6, 4), units=[3])):
        access.model(ids)
    # The hook of this test runs before the patch of head_out: its third value is untouched.
    handle.remove()
    part = before[Node("head_out", 2)][:, :, 3]
    torch.testing.assert_close(seen[0] - seen[1], part, atol=1e-5, rtol=1e-5)
    assert torch.equal(seen[2], seen[0])
    with access.ablate([node], where=at((2, 6, 4), units=[3])):
        one = access.model(ids).logits
    with access.ablate([Node("head_out", 2)], where=at((2, 6, 4), units=[3])):
        two = access.model(ids).logits
    torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_ablating_to_zero_and_to_the_mean(access: Access) -> None:
    ids, nodes = tokens(3, 6), [Node("mlp_out", 0), Node("key", 2)]
    with access.ablate(nodes), access.capture(nodes) as found:
        access.model(ids)
    assert all(not value.any() for value in found.values())
    mask = torch.ones_like(ids)
    mask[0, 4:] = 0
    batches = [
        {"input_ids": ids[:1], "attention_mask": mask[:1]},
        {"input_ids": ids[1:], "attention_mask": mask[1:]},
    ]
    means = access.means(nodes, batches)
    whole, _ = run(access, ("mlp_out", "key"), input_ids=ids, attention_mask=mask)
    for node in nodes:
        wanted = whole[node][mask.bool()].mean(0)
        torch.testing.assert_close(means[node], wanted, atol=1e-6, rtol=1e-5)
    with access.ablate(nodes, means), access.capture(nodes) as found:
        access.model(ids)
    assert all(torch.equal(value[1, 2], means[node]) for node, value in found.items())


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_leaves_the_values_of_real_tokens(access: Access, side: str) -> None:
    ids = tokens(2, 8)
    alone, _ = run(access, KINDS, input_ids=ids[1:, :5])
    mask = torch.ones_like(ids)
    real = slice(3, 8) if side == "left" else slice(0, 5)
    padded = ids.clone()
    padded[1], mask[1] = 0, 0
    padded[1, real], mask[1, real] = ids[1, :5], 1
    places = (mask.cumsum(-1) - 1).clamp(min=0)
    inputs = {"input_ids": padded, "attention_mask": mask, "position_ids": places}
    together, _ = run(access, KINDS, **inputs)
    for node, value in alone.items():
        torch.testing.assert_close(together[node][1:, real], value, atol=2e-5, rtol=1e-4)
    with access.capture([Node("key", 1)], torch.tensor([[7, 6], [real.stop - 1, 0]])) as found:
        access.model(**inputs)
    key = found[Node("key", 1)]
    assert key.shape[:2] == (2, 2)
    torch.testing.assert_close(key[1, 0], alone[Node("key", 1)][0, 4], atol=2e-5, rtol=1e-4)


def test_gradients_flow_through_captured_values(access: Access) -> None:
    node = Node("mlp_out", 1)
    with access.capture([node]) as found:
        access.model(tokens(2, 5)).logits.sum().backward(inputs=[access.norm.weight])
    assert found[node].grad_fn is not None


def test_hooks_are_gone_after_an_error(access: Access) -> None:
    before = count_hooks(access.model)
    nodes = access.nodes(*KINDS)
    with pytest.raises(ZeroDivisionError), access.capture(nodes), access.ablate(nodes):
        assert count_hooks(access.model) == before + 2 * len(nodes)
        raise ZeroDivisionError
    assert count_hooks(access.model) == before
    with pytest.raises(ZeroDivisionError), access.patch({nodes[0]: lambda value: 1 / 0}):
        access.model(tokens(1, 3))
    assert count_hooks(access.model) == before
    # A wrong node among right ones must not leave the hooks of those before it.
    with pytest.raises(AccessError), access.capture([*nodes, Node("mlp_out", BLOCKS)]):
        pass
    assert count_hooks(access.model) == before


def test_errors_say_what_is_wrong() -> None:
    access = Access(tiny("qwen2"))
    with pytest.raises(AccessError, match="Did you mean 'mlp_out'"):
        access.nodes("mlp_oot")
    with pytest.raises(AccessError, match="block 3 found, allowed: 0 to 2"):
        access.ablate([Node("up", 3)]).__enter__()
    wrong = {Node("mlp_out", 0): torch.zeros(7)}
    with pytest.raises(AccessError, match="mlp_out of block 0 has shape"), access.patch(wrong):
        access.model(tokens(1, 3))


SMALL = {
    "vocab_size": 20,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (GPT2Config(vocab_size=20, n_embd=16, n_layer=2, n_head=2), "no list of blocks"),
        (Qwen2MoeConfig(**SMALL, num_experts=2, moe_intermediate_size=8), "no list of blocks"),
        (GraniteConfig(**SMALL, residual_multiplier=0.5), "does not add"),
        (GraniteConfig(**SMALL, logits_scaling=2.0), "do not give the logits"),
    ],
)
def test_an_unknown_architecture_is_an_error(config: Any, words: str) -> None:
    model = AutoModelForCausalLM.from_config(config).eval()
    with pytest.raises(AccessError, match=words):
        Access(model)
    assert count_hooks(model) == 0
