"""Weights between base and trained: exact ends, exact restoration, what was changed."""

from __future__ import annotations

import pytest
import torch
from families import FAMILIES, tiny, tokens
from torch import Tensor
from transformers import PreTrainedModel

from paradox.errors import CheckpointError
from paradox.mechanisms.model.weights import (
    ATTENTION,
    BOTH,
    MLP,
    REST,
    Change,
    Unit,
    effective_rank,
)


def logits(model: PreTrainedModel) -> Tensor:
    with torch.no_grad():
        return model(input_ids=tokens(2, 7), use_cache=False).logits


def pair(family: str = "qwen2") -> tuple[PreTrainedModel, PreTrainedModel, Change]:
    base, after = tiny(family), tiny(family, seed=1)
    return base, after, Change(base, after)


@pytest.mark.parametrize("family", FAMILIES)
def test_ends_are_exact(family: str) -> None:
    base, after, change = pair(family)
    model = tiny(family)  # the base again, untouched
    ends = logits(model), logits(after)
    assert not torch.equal(*ends)
    for context, end in (
        (change.reset([]), ends[1]),
        (change.reset(change.every), ends[0]),
        (change.reset(change.every, 1.0), ends[1]),
        (change.keep([]), ends[0]),
        (change.keep(change.every), ends[1]),
        (change.keep(change.every, 0.0), ends[0]),
        (change.mixed({}), ends[0]),
    ):
        with context:
            assert torch.equal(logits(base), end)
        assert torch.equal(logits(base), ends[0])


def test_only_the_chosen_units_are_written() -> None:
    base, after, change = pair()
    old, new = tiny("qwen2").state_dict(), after.state_dict()
    block = "model.layers.1."
    with change.keep(change.units(MLP, [1]), 0.25):
        found = {name: value.clone() for name, value in base.state_dict().items()}
    changed = {name for name in old if not torch.equal(found[name], old[name])}
    assert changed == {name for name in old if name.startswith(f"{block}mlp.")}
    for name in changed:
        torch.testing.assert_close(found[name], old[name] + 0.25 * (new[name] - old[name]))
    with change.reset([REST]):
        for name, value in base.state_dict().items():
            inside = ".mlp." in name or ".self_attn." in name
            assert torch.equal(value, (new if inside else old)[name]), name


def test_weights_come_back_after_an_error() -> None:
    base, _, change = pair()
    before = logits(base)
    with pytest.raises(ValueError), change.reset(change.units(ATTENTION, [0]), 0.5):
        raise ValueError
    with pytest.raises(KeyError), change.mixed({Unit(MLP, 0): 1.0, Unit(MLP, 9): 1.0}):
        pass
    assert torch.equal(logits(base), before)


def test_shuffled_changes_are_as_large_and_elsewhere() -> None:
    base, after, change = pair()
    name = change.names(Unit(MLP, 2))[0]
    new, old = after.state_dict()[name], tiny("qwen2").state_dict()[name]
    with change.keep([Unit(MLP, 2)], shuffled=("a", 1)):
        kept = base.state_dict()[name] - old
    with change.reset([Unit(MLP, 2)], shuffled=("a", 1)):
        lost = new - base.state_dict()[name]
    torch.testing.assert_close(kept, lost)
    torch.testing.assert_close(kept.norm(), (new - old).norm())
    assert not torch.allclose(kept, new - old)
    assert not torch.equal(change.delta(name, ("a", 1)), change.delta(name, ("a", 2)))


def test_profile_sees_one_direction_in_one_matrix() -> None:
    base, after = tiny("qwen2"), tiny("qwen2")
    weight = after.model.layers[1].mlp.up_proj.weight
    with torch.no_grad():
        weight += torch.outer(torch.arange(48.0), torch.ones(32))
    change = Change(base, after)
    table = change.profile(("x",)).set_index("parameter")
    row = table.loc["model.layers.1.mlp.up_proj.weight"]
    assert (table["change_norm"] > 0).sum() == 1
    assert row["effective_rank"] == pytest.approx(1, abs=1e-3)
    assert row["shuffled_rank"] > 20
    assert row["relative"] == pytest.approx(row["change_norm"] / row["base_norm"])
    assert change.norm(Unit(MLP, 1)) == pytest.approx(row["change_norm"])
    assert [unit for unit in change.every if change.norm(unit)] == [Unit(MLP, 1)]
    assert set(table["part"]) == {MLP, ATTENTION, REST.part}
    assert effective_rank(torch.eye(4)) == pytest.approx(4)


def test_models_that_do_not_fit_are_refused() -> None:
    base, other = tiny("qwen2"), tiny("llama")
    with pytest.raises(CheckpointError, match="only in the trained model"):
        Change(base, other)
    assert len(Change(base, tiny("qwen2", 1)).units(BOTH, [0, 2])) == 4
