"""Means over other items, and reruns that equal whole passes with hooks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from families import FAMILIES, tiny, tokens

from paradox.mechanisms.model.access import ATTN_OUT, GATE, MLP_OUT, Access, Node
from paradox.mechanisms.model.recalls import Batch, Recall, batches
from paradox.mechanisms.model.rerun import OtherMeans, clean_pass, counted, put, rerun

BLOCKS = 3


@pytest.fixture(scope="module", params=list(FAMILIES))
def access(request: Any) -> Access:
    return Access(tiny(request.param))


def made(lengths: list[int], answers: int = 1, seed: int = 0) -> list[Recall]:
    """Return random prompts; the first tokens are all the same."""
    rows = tokens(len(lengths), max(lengths) + answers, seed).tolist()
    return [
        Recall(f"i{n}", [1, *row[1:length]], row[-answers:], 7 if row[-answers] != 7 else 8)
        for n, (length, row) in enumerate(zip(lengths, rows, strict=True))
    ]


def together(prompts: list[Recall]) -> Batch:
    (batch,) = batches(prompts, len(prompts), torch.device("cpu"))
    return batch


@torch.no_grad()
@pytest.mark.parametrize("lengths", [[6, 6, 6], [4, 7, 6]])
def test_a_rerun_without_changes_gives_the_output(access: Access, lengths: list[int]) -> None:
    batch = together(made(lengths, answers=2))
    clean = clean_pass(access, batch)
    usual = access.model(**batch.inputs).logits[:, batch.at :]
    for block in range(BLOCKS):
        after = clean.middle(block) + access.blocks[block].feed_forward(clean.middle(block))
        logits = rerun(access, clean, block, torch.stack([after, after]))
        for run in logits:
            torch.testing.assert_close(run, usual, atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("kind", [ATTN_OUT, MLP_OUT])
def test_a_rerun_equals_a_whole_pass_with_hooks(access: Access, kind: str) -> None:
    batch = together(made([4, 7, 6], answers=2))
    clean = clean_pass(access, batch)
    width = clean.after.shape[-1]
    for block in range(BLOCKS):
        other = torch.randn(width, generator=torch.Generator().manual_seed(block))
        with access.ablate([Node(kind, block)], {Node(kind, block): other}, counted(batch)):
            usual = access.model(**batch.inputs).logits[:, batch.at :]
        parts = access.blocks[block]
        if kind == ATTN_OUT:
            new = put(batch, "all", other, clean.attention[block])
            middle = clean.before[block] + new
            changed = middle + parts.feed_forward(middle)
        else:
            middle = clean.middle(block)
            changed = middle + put(batch, "all", other, parts.feed_forward(middle))
        logits = rerun(access, clean, block, changed[None])[0]
        torch.testing.assert_close(logits[batch.real], usual[batch.real], atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("lengths", [[6, 6, 6], [4, 9, 6]])
@pytest.mark.parametrize("answers", [1, 3])
def test_the_last_tokens_alone_give_the_same(
    access: Access, lengths: list[int], answers: int
) -> None:
    batch = together(made(lengths, answers))
    clean = clean_pass(access, batch)
    draw = torch.Generator().manual_seed(0)
    for block in range(BLOCKS):
        parts, middle = access.blocks[block], clean.middle(block)
        after = middle + parts.feed_forward(middle)
        other = torch.randn(2, *after.shape, generator=draw)
        changed = torch.stack([put(batch, "answer", new, after) for new in other])
        whole = rerun(access, clean, block, changed)
        last = rerun(access, clean, block, changed[:, :, batch.at :])
        assert last.shape == whole.shape == (2, 3, answers, 50)
        torch.testing.assert_close(last[:, batch.real], whole[:, batch.real], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_means_are_of_the_others_at_the_same_distance(access: Access) -> None:
    prompts = made([4, 6, 6, 5])
    means = OtherMeans(access, (GATE,), batches(prompts, 2, torch.device("cpu")))
    node = Node(GATE, 1)
    alone = []
    for prompt in prompts:
        with access.capture([node]) as found:
            access.model(torch.tensor([prompt.prompt]))
        alone.append(found[node][0])
    batch = together(prompts)
    with access.capture([node]) as found:
        access.model(**batch.inputs)
    value = means.of_others(node, batch, found[node])
    for row, place in enumerate(batch.rows):
        others = [alone[n] for n in range(4) if n != place]
        for back in range(1, len(prompts[place].prompt)):
            at_distance = [o[-back] for o in others if back < len(o)]
            expected = torch.stack(at_distance).mean(0)
            torch.testing.assert_close(value[row, -back], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_distance_no_other_reaches_borrows_from_all(access: Access) -> None:
    prompts = made([3, 6])
    means = OtherMeans(access, (GATE,), batches(prompts, 2, torch.device("cpu")))
    node, batch = Node(GATE, 0), together(prompts)
    with access.capture([node]) as found:
        access.model(**batch.inputs)
    short, long = batch.rows.index(0), batch.rows.index(1)
    value = means.of_others(node, batch, found[node])
    expected = found[node][short, -2:].mean(0)
    torch.testing.assert_close(value[long, 1], expected, atol=1e-5, rtol=1e-5)


def test_what_counts_and_where_things_are_put() -> None:
    batch = together(made([3, 5], answers=2))
    assert counted(batch).int().tolist() == [[0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 1, 1]]
    new, old = torch.ones(2, 6, 1), torch.zeros(2, 6, 1)
    assert torch.equal(put(batch, "all", new, old)[..., 0] > 0, counted(batch))
    answer = put(batch, "answer", new, old)[..., 0]
    assert answer.tolist() == [[0, 0, 0, 0, 1, 1]] * 2


def test_no_hooks_stay(access: Access) -> None:
    clean_pass(access, together(made([4, 5])))
    modules = access.model.modules()
    assert not sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules)
