"""Patching between models and items: against one whole pass with hooks per cell and item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from families import tiny
from test_rerun import made
from torch import Tensor

from paradox.errors import DataError
from paradox.mechanisms.model.access import Access, Node
from paradox.mechanisms.model.recalls import Recall, scaffold_tokens
from paradox.mechanisms.model.traces import PATCHED, Trace, trace, weights
from paradox.mechanisms.patching import cross_item, cross_model
from paradox.mechanisms.patching.cross_item import swap
from paradox.mechanisms.patching.transplants import MEASURES, Swap, donors, measure
from paradox.progress import Progress
from paradox.seeds import keyed_rng
from paradox.tasks import load_task
from paradox.tokenizer import word_tokenizer

BLOCKS, SEED = 3, 4
POSITIONS = ("prompt", "final", "answer", "all")
STATES = ("states", "other", "shift", "states_noise")


def swaps(partners: bool, lengths: list[int], scaffolds: list[int]) -> list[Swap]:
    """Return swaps of items with two answer tokens; with `partners`, rows 2n and 2n + 1 swap."""
    prompts = made(lengths, answers=2)
    found = []
    for number, (prompt, scaffold) in enumerate(zip(prompts, scaffolds, strict=True)):
        of = replace(prompt, prompt=prompts[number ^ 1].prompt) if partners else prompt
        found.append(Swap(prompt, of, "ab"[number % 2], scaffold))
    return found


def how(sources: Sequence[str], batch_size: int) -> dict[str, Any]:
    given = {"kinds": PATCHED, "positions": POSITIONS, "sources": sources}
    return given | {"batch_size": batch_size}


def alone(access: Access, prompt: Recall, gold: list[int]) -> Trace:
    return trace(access, torch.tensor([prompt.prompt + gold[:-1]]))


def aligned(new: Tensor, own: Tensor) -> Tensor:
    """Return `own` with its last tokens replaced by those that `new` has."""
    size = min(new.shape[1], own.shape[1])
    return torch.cat([own[:, : own.shape[1] - size], new[:, -size:]], 1)


def nodes(run: Trace, kind: str) -> list[Tensor]:
    lists = {"attn_out": run.attention, "mlp_out": run.mlp, "resid_post": run.residual[1:]}
    return lists[kind]


def written(models: tuple[Access, Access], all_of: list[Swap], number: int, kind: str) -> Any:
    """Return what each source writes, block by block, made item by item."""
    target, source = models
    own, other = all_of[number], all_of[donors(all_of, SEED)[number]]
    gold = own.target.gold
    mine, theirs = alone(target, own.target, gold), alone(source, own.source, gold)
    old = nodes(mine, kind)
    values = {"states": [aligned(*p) for p in zip(nodes(theirs, kind), old, strict=True)]}
    away, at = alone(source, other.source, gold), alone(target, other.target, gold)
    values["other"] = [aligned(*p) for p in zip(nodes(away, kind), old, strict=True)]
    values["shift"] = []
    for one, two, here in zip(nodes(away, kind), nodes(at, kind), old, strict=True):
        size = min(one.shape[1], two.shape[1])
        change = one[:, -size:] - two[:, -size:]
        moved = here.clone()
        size = min(size, here.shape[1])
        moved[:, -size:] += change[:, -size:]
        values["shift"].append(moved)
    values["weights"] = weights(source, mine).of(kind)
    rng = keyed_rng(SEED, "patch direction", own.target.item)
    drawn = torch.from_numpy(
        rng.standard_normal((BLOCKS, old[0].shape[1], old[0].shape[2]), np.float32)
    )
    for null, of in (("states_noise", "states"), ("weights_noise", "weights")):
        values[null] = [
            here + (new - here).norm(dim=-1, keepdim=True) * (step / step.norm(dim=-1)[:, None])
            for here, new, step in zip(old, values[of], drawn, strict=True)
        ]
    return values


def scored(logits: Tensor, swap: Swap, wanted: Tensor) -> dict[str, float]:
    """Return the measures from the logits of a whole text."""
    gold, at = torch.tensor(swap.target.gold), len(swap.target.prompt) - 1
    logp = logits.log_softmax(-1)
    own = logp[at:].gather(-1, gold[:, None])[:, 0]
    before = range(at - swap.scaffold, at)
    mode = [float(logp[n, swap.target.prompt[n + 1]]) for n in before]
    to = wanted[-len(gold) :].log_softmax(-1)
    return {
        "gold_logp": float(own.mean()),
        "logit_difference": float(logits[at, gold[0]] - logits[at, swap.target.control]),
        "kl": float((to.exp() * (to - logp[at:])).sum(-1).mean()),
        "correct": float((logits[at:].argmax(-1) == gold).all()),
        "mode_logp": float(np.mean(mode)),
    }


def compare(models: tuple[Access, Access], all_of: list[Swap], sources: tuple[str, ...]) -> int:
    target, source = models
    found = measure(target, source, all_of, how(sources, 3), SEED)
    checked = 0
    for number, own in enumerate(all_of):
        text = torch.tensor([own.target.prompt + own.target.gold[:-1]])
        theirs = torch.tensor([own.source.prompt + own.target.gold[:-1]])
        with torch.no_grad():
            wanted = source.model(theirs).logits[0]
            clean = scored(target.model(text).logits[0], own, wanted)
        for place, name in enumerate(MEASURES):
            assert found.target[place, number] == pytest.approx(clean[name], abs=2e-5)
        column, first = torch.arange(text.shape[1]), len(own.target.prompt) - own.scaffold
        at = len(own.target.prompt) - 1
        masks = {
            "prompt": column < first,
            "final": (column >= first) & (column <= at),
            "answer": column >= at,
            "all": column >= 0,
        }
        for kind in PATCHED:
            values = written(models, all_of, number, kind)
            for name in sources:
                for place, block in ((p, b) for p in POSITIONS for b in range(BLOCKS)):
                    cell = found.cells[kind, place, "total", name][:, block, number]
                    if place in ("prompt", "all") and not own.aligned:
                        assert np.isnan(cell).all()
                        continue
                    node = {Node(kind, block): values[name][block]}
                    with target.patch(node, masks[place][None]), torch.no_grad():
                        patched = scored(target.model(text).logits[0], own, wanted)
                    expected = [patched[measure] for measure in MEASURES]
                    np.testing.assert_allclose(cell, expected, atol=3e-5, rtol=1e-5)
                    checked += 1
    return checked


def test_between_models_every_cell_equals_a_pass_with_hooks() -> None:
    models = Access(tiny("qwen2")), Access(tiny("qwen2", seed=5))
    every = swaps(False, [6, 8, 6, 8, 7], [2, 2, 1, 2, 2])
    sources = (*STATES, "weights", "weights_noise")
    assert compare(models, every, sources) == 5 * 3 * 6 * 4 * BLOCKS


def test_between_items_every_cell_equals_a_pass_with_hooks() -> None:
    access = Access(tiny("llama"))
    every = swaps(True, [7, 7, 5, 8, 7, 7], [2] * 6)
    assert compare((access, access), every, STATES) == (4 * 4 + 2 * 2) * 3 * 4 * BLOCKS


def test_direct_effects_are_of_all_positions() -> None:
    """After the last block there is only the final norm, so direct and total are one."""
    models = Access(tiny("qwen2")), Access(tiny("qwen2", seed=5))
    found = measure(*models, swaps(False, [6, 7], [1, 2])[:1] * 2, how(("states",), 2), SEED)
    for kind in ("mlp_out", "resid_post"):
        one, two = (found.cells[kind, "all", e, "states"] for e in ("total", "direct"))
        np.testing.assert_allclose(one[:, -1], two[:, -1], atol=1e-5)
        assert np.abs(one[0, 0] - two[0, 0]).max() > 1e-3


def test_a_run_written_into_itself_changes_exactly_nothing() -> None:
    access = Access(tiny("qwen3"))
    found = measure(access, access, swaps(False, [6] * 4, [2] * 4), how(STATES, 4), SEED)
    for (_, _, _, source), values in found.cells.items():
        change = values - found.target[:, None]
        assert change.any() == (source == "other"), source
    assert np.array_equal(found.target, found.source) and not found.source[2].any()


def test_the_residual_everywhere_is_the_source_run() -> None:
    """Exact between items; between models where final norm and output embedding are shared."""
    one, two = tiny("qwen2"), tiny("qwen2", seed=5)
    two.model.norm.load_state_dict(one.model.norm.state_dict())
    two.lm_head.load_state_dict(one.lm_head.state_dict())
    models = Access(one), Access(two)
    last = measure(*models, swaps(False, [6] * 4, [2] * 4), how(("states",), 4), SEED)
    cell = last.cells["resid_post", "all", "total", "states"][:, -1]
    np.testing.assert_allclose(cell, last.source, atol=1e-5)
    assert np.abs(last.source[0] - last.target[0]).min() > 1e-3
    within = measure(models[0], models[0], swaps(True, [6] * 4, [2] * 4), how(("states",), 4), SEED)
    cell = within.cells["resid_post", "all", "total", "states"]
    np.testing.assert_allclose(cell, within.source[:, None].repeat(BLOCKS, 1), atol=1e-5)


def test_batches_do_not_matter() -> None:
    models = Access(tiny("qwen2")), Access(tiny("qwen2", seed=5))
    every = swaps(False, [6, 8, 5, 6], [2, 1, 1, 2])
    one, two = (measure(*models, every, how(STATES, size), SEED) for size in (1, 4))
    assert one.cells.keys() == two.cells.keys()
    for cell, values in one.cells.items():
        np.testing.assert_allclose(values, two.cells[cell], atol=2e-5, rtol=1e-4, err_msg=str(cell))


def test_positions_that_are_the_same_are_measured_once() -> None:
    access = Access(tiny("qwen2"))
    short = [
        replace(
            s, scaffold=1, target=replace(s.target, gold=[5]), source=replace(s.source, gold=[5])
        )
        for s in swaps(True, [6] * 4, [1] * 4)
    ]
    found = measure(access, access, short, how(("states",), 4), SEED)
    assert {place for _, place, _, _ in found.cells} == {"prompt", "final", "all"}


def test_donors_are_others_of_the_group_and_as_long() -> None:
    every = swaps(False, [6, 6, 8, 8, 6, 6, 8, 8], [1] * 8)
    for number, donor in enumerate(donors(every, 0)):
        assert donor != number and every[donor].group == every[number].group
        assert len(every[donor].target.prompt) == len(every[number].target.prompt)
    many = swaps(False, [6] * 16, [1] * 16)
    turned = [many[n].target.item for n in donors(many, 0)]
    names = {s.target.item: d for s, d in zip(many, turned, strict=True)}
    again = [many[::-1][n].target.item for n in donors(many[::-1], 0)][::-1]
    assert again == list(names.values()) and donors(many, 1) != donors(many, 0)
    with pytest.raises(DataError, match="only one of group 'b'"):
        donors(every[:2] + every[2:3], 0)


def test_a_pair_swaps_roles() -> None:
    one, two = Recall("e", [1, 2, 3], [4], 9), Recall("t", [1, 5, 6], [7], 9)
    known = swap(one, 1, two, 2, "exposed", "denoise")
    assert known.target == Recall("e", [1, 5, 6], [4], 7) and known.source == replace(
        one, control=7
    )
    lost = swap(one, 1, two, 2, "exposed", "noise")
    assert (lost.target, lost.source) == (known.source, known.target) and lost.scaffold == 1
    same = swap(one, 1, replace(two, gold=[4]), 1, "exposed", "noise")
    assert same.target.control == 9


def test_kinds_can_be_left_out() -> None:
    models = Access(tiny("qwen2")), Access(tiny("qwen2", seed=5))
    every = swaps(False, [6] * 4, [2] * 4)
    whole = measure(*models, every, how(("states",), 4), SEED)
    some = measure(*models, every, how(("states",), 4) | {"kinds": ["mlp_out"]}, SEED)
    assert {kind for kind, *_ in some.cells} == {"mlp_out"}
    for cell, values in some.cells.items():
        np.testing.assert_array_equal(values, whole.cells[cell])


@pytest.fixture()
def ready(task_spec: dict[str, Any], tiny_checkpoint: Path, tmp_path: Path) -> Any:
    load_task(task_spec).items(0).to_csv(tmp_path / "items.csv", index=False)
    arm = {"base": "b", "method": "grpo", "reward": "format", "seed": 0}
    spec: dict[str, Any] = {"arm": arm, "task": task_spec, "seed": 0, "exposed_from": 16}
    manifest = tiny_checkpoint / "manifest.json"
    inputs = {"manifest": manifest, "base": manifest, "items": tmp_path / "items.csv"}
    return spec, inputs, {"table": tmp_path / "table.parquet"}


@pytest.mark.parametrize("step", [cross_model, cross_item])
def test_the_steps_write_every_item_and_component(step: Any, ready: Any) -> None:
    spec, inputs, outputs = ready
    name = step.__name__.rpartition(".")[2]
    both = ["states", "states_noise", "other"]
    sources = both if step is cross_item else [*both, "shift", "weights", "weights_noise"]
    given = how(sources, 3) | {"dtype": "float32"}
    step.main({**spec, name: given}, inputs, outputs, Progress("t"))
    table = pd.read_parquet(outputs["table"])
    parts = table["component"].str.split(":", expand=True)
    assert set(parts[0]) == set(PATCHED) and set(parts[2]) == {"denoise", "noise"}
    assert set(parts[4]) == set(sources)
    assert len(table) == 2 * 3 * (3 + 1) * len(sources) * 2 * 8
    assert not table.duplicated(["item", "component", "layer"]).any()
    assert table["item"].nunique() == 8 and (table["exposure"].isin([0, 16])).all()
    own = table[parts[4] == "states"]
    assert own["gold_logp_change"].any() == (step is cross_item)
    whole = own[own["component"].str.startswith("resid_post:all:denoise:total")]
    gap = whole["gold_logp_source"] - whole["gold_logp_target"]
    np.testing.assert_allclose(whole["gold_logp_change"], gap, atol=1e-5)


def test_items_without_twins_cannot_be_swapped(ready: Any) -> None:
    spec, inputs, outputs = ready
    items = pd.read_csv(inputs["items"])
    items.loc[items["group"] == "twin", "pair"] = None
    items.to_csv(inputs["items"], index=False)
    spec["cross_item"] = how(["states"], 3) | {"dtype": "float32"}
    with pytest.raises(DataError, match="needs a twin for every exposed item"):
        cross_item.main(spec, inputs, outputs, Progress("t"))


def test_scaffold_tokens_are_counted(task_spec: dict[str, Any]) -> None:
    task = load_task(task_spec)
    tokenizer = word_tokenizer(task.vocabulary(task_spec))
    items = task.items(0)
    prompts = [Recall(i, [0] * 11, [1], 2) for i in items["item"]]
    assert scaffold_tokens(task, tokenizer, items, prompts) == [1] * len(items)
