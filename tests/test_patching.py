"""Patching against brute force: one whole forward pass with hooks for each cell."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import patching as timed
import pytest
import torch
from families import FAMILIES, tiny, tokens
from torch import Tensor

from paradox.mechanisms.model import traces
from paradox.mechanisms.model.access import Access, AccessError, Node
from paradox.mechanisms.model.traces import PATCHED, Trace, states, trace, weights
from paradox.mechanisms.patching import engine as engines
from paradox.mechanisms.patching.engine import (
    METRICS,
    Answers,
    Effects,
    all_positions,
    direct_effects,
    each_position,
    score,
    total_effects,
)

ITEMS, LENGTH, BLOCKS = 3, 8, 3
PLACES = torch.tensor([4, 6])
ANSWERS = Answers(PLACES, tokens(ITEMS, 2, seed=8), tokens(ITEMS, 2, seed=9))
EXACT = {"atol": 1e-5, "rtol": 1e-5}
Case = tuple[Access, Tensor, Tensor | None, Trace, Trace]


def inputs(ids: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
    if mask is None:
        return {"input_ids": ids}
    places = (mask.cumsum(-1) - 1).clamp(min=0)
    return {"input_ids": ids, "attention_mask": mask, "position_ids": places}


@torch.no_grad()
def logits_of(access: Access, ids: Tensor, mask: Tensor | None) -> Tensor:
    return access.model(**inputs(ids, mask)).logits[:, PLACES]


def left_padded() -> Tensor:
    mask = torch.ones(ITEMS, LENGTH, dtype=torch.long)
    mask[1, :3] = 0
    return mask


@pytest.fixture(scope="module", params=["qwen2", "llama", "olmo2", "gemma3", "qwen3", "padded"])
def case(request: Any) -> Case:
    """Two items of one model, or (padded) of two models: target access and both runs."""
    mask = left_padded() if request.param == "padded" else None
    family = "qwen2" if mask is not None else request.param
    access = Access(tiny(family))
    source = Access(tiny(family, seed=5)) if mask is not None else access
    ids = tokens(ITEMS, LENGTH)
    others = ids if mask is not None else tokens(ITEMS, LENGTH, seed=1)
    return access, ids, mask, trace(access, ids, mask), trace(source, others, mask)


def brute_force(case: Case, values: Any, groups: Tensor) -> dict[str, Tensor]:
    access, ids, mask, _, _ = case
    clean = logits_of(access, ids, mask)
    found: dict[str, Tensor] = {
        name: torch.zeros(len(PATCHED), BLOCKS, len(groups), ITEMS, len(PLACES)) for name in METRICS
    }
    for kind, name in enumerate(PATCHED):
        for block in range(BLOCKS):
            for number, group in enumerate(groups):
                group = group.expand(ITEMS, LENGTH)
                with access.patch({Node(name, block): values.of(name)[block]}, group):
                    logits = logits_of(access, ids, mask)
                for metric, value in score(logits, ANSWERS, clean).items():
                    found[metric][kind, block, number] = value
    return found


def assert_same(found: Effects, wanted: dict[str, Tensor]) -> None:
    for name in METRICS:
        torch.testing.assert_close(found.patched[name], wanted[name], **EXACT, msg=name)


def test_every_cell_equals_brute_force(case: Case) -> None:
    _, _, _, target, source = case
    ragged = torch.rand(2, ITEMS, LENGTH, generator=torch.Generator().manual_seed(3)) < 0.4
    for groups in (each_position(LENGTH), all_positions(LENGTH), ragged):
        found = total_effects(target, states(source), ANSWERS, groups)
        assert_same(found, brute_force(case, states(source), groups))


def test_a_small_bound_on_memory_gives_the_same(case: Case) -> None:
    _, _, _, target, source = case
    groups = each_position(LENGTH)
    whole = total_effects(target, states(source), ANSWERS, groups)
    for chunk in (1, 3000):
        found = total_effects(target, states(source), ANSWERS, groups, chunk)
        assert_same(found, whole.patched)


def test_patching_a_run_with_itself_is_exactly_nothing(case: Case) -> None:
    access, ids, mask, target, _ = case
    again = states(trace(access, ids, mask))
    for groups in (each_position(LENGTH), all_positions(LENGTH)):
        for effects in (total_effects, direct_effects):
            found = effects(target, again, ANSWERS, groups)
            for name in METRICS:
                assert bool((found.patched[name] == found.clean[name]).all())


def test_cells_that_cannot_act_are_exactly_the_clean_run(case: Case) -> None:
    _, _, mask, target, source = case
    found = total_effects(target, states(source), ANSWERS, each_position(LENGTH))
    effect = found.patched["gold_logp"] - found.clean["gold_logp"]
    assert not effect[:, :, 7].any(), "behind the last answer position"
    assert not effect[:, :, 5:, :, 0].any(), "behind the first answer position"
    assert not effect[:, -1, [0, 1, 2, 3, 5]].any(), "last block, no answer position"
    assert effect[:, -1, 6, :, 1].all() and effect[:, 0, 4].all()
    if mask is not None:
        assert not effect[:, :, :3, 1].any(), "padding"
        assert effect[:, 0, :3, 0].any()


def test_cells_that_cannot_act_are_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal bits may be luck; here the cells that were run are counted."""
    access, ids, mask = Access(tiny("qwen2")), tokens(ITEMS, LENGTH), left_padded()
    target, source = trace(access, ids, mask), trace(Access(tiny("qwen2", 5)), ids, mask)
    run, seen = engines._run, []

    def counted(*arguments: Any) -> Tensor:
        seen.extend(map(tuple, arguments[2].tolist()))
        return run(*arguments)

    monkeypatch.setattr(engines, "_run", counted)
    total_effects(target, states(source), ANSWERS, each_position(LENGTH))
    # Real positions 0 .. 6 in the first blocks, positions 4 and 6 in the last; three are padding.
    for item, tokens_before in ((0, 7), (1, 4), (2, 7)):
        for block, cells in ((0, tokens_before), (1, tokens_before), (2, 2)):
            for kind in range(len(PATCHED)):
                assert seen.count((block, kind, item)) == cells
    seen.clear()
    mixed = states(source)
    mixed.mlp_out[1] = target.mlp[1]
    total_effects(target, mixed, ANSWERS, all_positions(LENGTH))
    kinds = {(block, kind) for block, kind, _ in seen}
    everything = {(block, kind) for block in range(BLOCKS) for kind in range(len(PATCHED))}
    assert kinds == everything - {(1, PATCHED.index("mlp_out"))}


def test_the_last_residual_of_the_source_gives_its_output(case: Case) -> None:
    """All positions, after the last block: the source's states through the target's final norm."""
    access, _, _, target, source = case
    clean = access.logits(target.residual[-1][:, PLACES])
    wanted = score(access.logits(source.residual[-1][:, PLACES]), ANSWERS, clean)
    found = total_effects(target, states(source), ANSWERS, all_positions(LENGTH))
    for name in METRICS:
        torch.testing.assert_close(found.patched[name][2, -1, 0], wanted[name], **EXACT)


@torch.no_grad()
def test_every_node_of_the_source_gives_the_sources_output() -> None:
    """One model, two items: the output of the source run itself."""
    access = Access(tiny("llama"))
    ids, others = tokens(ITEMS, LENGTH), tokens(ITEMS, LENGTH, seed=1)
    source = trace(access, others)
    nodes = {Node("resid_pre", 0): source.residual[0]}
    for block in range(BLOCKS):
        nodes[Node("attn_out", block)] = source.attention[block]
        nodes[Node("mlp_out", block)] = source.mlp[block]
    with access.patch(nodes):
        found = logits_of(access, ids, None)
    torch.testing.assert_close(found, logits_of(access, others, None), **EXACT)
    first = total_effects(trace(access, ids), states(source), ANSWERS, all_positions(LENGTH))
    wanted = score(found, ANSWERS, logits_of(access, ids, None))
    for name in METRICS:
        for block in range(BLOCKS):
            torch.testing.assert_close(first.patched[name][2, block, 0], wanted[name], **EXACT)


def test_reused_keys_and_values_change_nothing(case: Case) -> None:
    """A run resumed at a position equals the same run from the first position on."""
    _, _, _, target, _ = case
    items, start = torch.tensor([2, 0, 1, 1]), 3
    residual = target.residual[1][items].clone()
    residual[:, start:] += torch.randn(4, LENGTH - start, residual.shape[-1])
    whole = target.resume(1, residual, items, 0)
    part = target.resume(1, residual[:, start:], items, start)
    torch.testing.assert_close(part, whole[:, start:], **EXACT)
    wanted = torch.tensor([1, 4])
    few = target.resume(1, residual[:, start:], items, start, wanted)
    torch.testing.assert_close(few, whole[:, start + wanted], **EXACT)
    for block in range(BLOCKS):
        clean = target.resume(block, target.residual[block], torch.arange(ITEMS), 0)
        torch.testing.assert_close(clean, target.residual[block + 1], **EXACT)


def test_direct_effects_equal_later_nodes_frozen_by_hooks(case: Case) -> None:
    access, ids, mask, target, source = case
    values, groups = states(source), each_position(LENGTH)
    found = direct_effects(target, values, ANSWERS, groups)
    clean = logits_of(access, ids, mask)
    for kind, name in enumerate(PATCHED):
        for block in range(BLOCKS):
            later = {
                Node(other, n): (target.attention if other == "attn_out" else target.mlp)[n]
                for other in ("attn_out", "mlp_out")
                for n in range(block, BLOCKS)
                if n > block or (name, other) == ("attn_out", "mlp_out")
            }
            for number, group in enumerate(groups):
                node = {Node(name, block): values.of(name)[block]}
                with access.patch(node, group.expand(ITEMS, LENGTH)), access.patch(later):
                    logits = logits_of(access, ids, mask)
                for metric, value in score(logits, ANSWERS, clean).items():
                    cell = found.patched[metric][kind, block, number]
                    torch.testing.assert_close(cell, value, atol=2e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("family", list(FAMILIES))
def test_transplanted_weights_equal_a_model_with_those_weights(family: str) -> None:
    one, two = tiny(family, seed=0), tiny(family, seed=5)
    target, other = Access(one), Access(two)
    ids, mask = tokens(ITEMS, LENGTH), left_padded()
    clean = trace(target, ids, mask)
    found = total_effects(clean, weights(other, clean), ANSWERS, all_positions(LENGTH))
    before = logits_of(target, ids, mask)
    for kind, names in enumerate((("attention",), ("mlp",), ("attention", "mlp"))):
        for block in range(BLOCKS):
            mixed = Access(copy.deepcopy(one))
            for name in names:
                for part in (name, f"{name}_in", f"{name}_out"):
                    new = getattr(other.blocks[block], part).state_dict()
                    getattr(mixed.blocks[block], part).load_state_dict(new)
            wanted = score(logits_of(mixed, ids, mask), ANSWERS, before)
            for metric in METRICS:
                cell = found.patched[metric][kind, block, 0]
                torch.testing.assert_close(cell, wanted[metric], **EXACT, msg=metric)
    own = total_effects(clean, weights(target, clean), ANSWERS, all_positions(LENGTH))
    effect = own.patched["gold_logp"] - own.clean["gold_logp"]
    torch.testing.assert_close(effect, torch.zeros_like(effect), atol=1e-5, rtol=0)


def test_score_by_hand() -> None:
    logits = torch.tensor([[[0.0, 1.0, 3.0]]])
    answers = Answers(torch.tensor([0]), torch.tensor([[2]]), torch.tensor([[1]]))
    found = score(logits, answers, torch.zeros(1, 1, 3))
    normaliser = torch.tensor([1.0, 2.718281828, 20.08553692]).sum().log()
    torch.testing.assert_close(found["gold_logp"], (3 - normaliser)[None, None])
    assert found["logit_difference"].item() == 2 and found["correct"].item() == 1
    uniform = torch.tensor(1 / 3).log()
    torch.testing.assert_close(found["kl"], (uniform - (4 / 3 - normaliser))[None, None])


def test_what_does_not_fit_is_said_at_once() -> None:
    target = trace(Access(tiny("qwen2")), tokens(ITEMS, LENGTH))
    short = states(trace(target.access, tokens(ITEMS, LENGTH - 1)))
    wrong = replace(ANSWERS, positions=torch.tensor([6, 9]), gold=torch.ones(1, 2).long())
    with pytest.raises(AccessError) as error:
        engines.total_effects(target, short, wrong, each_position(5))
    with pytest.raises(AccessError, match=r"\(3, 32\) found, allowed \(6, 128\)"):
        weights(target.access, trace(Access(timed.organism()), tokens(1, 4)))
    for words in ("values of mlp_out", "groups", "positions [6, 9]", "gold has shape (1, 2)"):
        assert words in str(error.value)


def test_attention_that_hides_its_mask_is_an_error() -> None:
    with pytest.raises(AccessError, match="'sdpa' or 'eager'"):
        traces._visible(Access(tiny("llama")), torch.ones(2, 4), tokens(2, 4))


@pytest.mark.parametrize("family", ["qwen2", "llama"])
def test_transformer_lens_finds_the_same(family: str) -> None:
    pytest.importorskip(timed.RIVAL)
    model, positions = tiny(family), list(range(LENGTH))
    access, bridge = Access(model), timed.bridged(model)
    ids, others = tokens(ITEMS, LENGTH), tokens(ITEMS, LENGTH, seed=1)
    for each in (True, False):
        chosen = positions if each else None
        wanted = timed.by_transformer_lens(bridge, ids, others, ANSWERS, chosen)
        assert wanted.std() > 0.1
        hooks = timed.by_hooks(access, ids, others, ANSWERS, chosen)
        engine = timed.by_engine(access, ids, others, ANSWERS, each)
        torch.testing.assert_close(hooks, wanted, atol=1e-4, rtol=0)
        torch.testing.assert_close(engine, wanted, atol=1e-4, rtol=0)


def test_the_floor_counts_what_the_engine_multiplies() -> None:
    """Counted in tokens that pass the up projections, which all sides need alike."""
    model = timed.organism()
    access, seen = Access(model), [0]
    for block in access.blocks:
        block.mlp.up_proj.register_forward_hook(lambda _m, _a, out: count(out))

    def count(out: Tensor) -> None:
        seen[0] += out[..., 0].numel()

    ids, others = torch.randint(3, 130, (2, 2, timed.LENGTH))
    gold = ids[:, :1]
    answers = Answers(torch.tensor([timed.PLACE]), gold, gold)
    for each in (True, False):
        seen[0] = 0
        timed.by_engine(access, ids, others, answers, each)
        forwards = seen[0] / (len(access.blocks) * ids.numel())
        floor = timed.floor(model.config, each)
        assert 0.9 * floor < forwards < 1.1 * floor
