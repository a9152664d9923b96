"""The step that probes an arm, against whole passes and on a model without memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from paradox.errors import DataError
from paradox.mechanisms.model.access import Access
from paradox.mechanisms.probes import measure as step
from paradox.mechanisms.probes.measure import compare, read_states, table
from paradox.mechanisms.tables.pairs import Pairs
from paradox.models import load_model, load_tokenizer
from paradox.progress import Progress
from paradox.provenance.manifest import read_manifest
from paradox.stats.bootstrap import Resampling
from paradox.stats.linear import Folds, probe
from paradox.tasks import load_task

R = Resampling(0, 400)


def _states(seed: int, signal: float = 0.0, pairs: int = 30) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(4, pairs, 2, 12))
    states[2, :, 0] += signal * rng.normal(size=12) / np.sqrt(12)
    return states, [f"p{n}" for n in range(pairs)]


def test_two_models_are_compared_on_the_same_pairs() -> None:
    how = Folds(5, 2, ("a",)), 20
    before, after = probe(*_states(5), *how), probe(*_states(5, 6.0), *how)
    shown = table(after, R).set_index("layer")
    assert list(shown.index) == ["emb", "0", "1", "2"] and shown.loc["1", "pair_auc_low"] > 0.7
    rows = compare(before, after, R).set_index("layer")
    assert rows.loc["1", "low"] > 0.1 and rows.loc["1", "corrected"] < 0.05
    same = rows.drop("1")  # the other layers have the same activations
    assert (same["change"] == 0).all() and (same["corrected"] == 1).all()
    other = probe(*_states(5, pairs=29), *how)
    with pytest.raises(ValueError, match="different pairs"):
        compare(before, other, R)


@pytest.fixture()
def arm(tiny_checkpoint: Path, task_spec: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    task_spec = {**task_spec, "items_per_exposure": 8}
    items = load_task(task_spec).items(0)
    items.to_csv(tmp_path / "items.csv", index=False)
    own = {"folds": 3, "repeats": 1, "permutations": 39, "relabellings": 20, "draws": 5}
    own |= {"exposures": [int(items["exposure"].max())], "sizes": [6]}
    named = {"base": "b", "method": "base", "reward": "none", "seed": 0}
    spec = {"arm": named, "task": task_spec, "seed": 0, "exposed_from": 0, "resamples": 50}
    spec["probes"] = {**own, "batch_size": 5, "dtype": "float32"}
    manifest = tiny_checkpoint / "manifest.json"
    inputs = {"manifest": manifest, "base": manifest, "items": tmp_path / "items.csv"}
    outputs = {name: tmp_path / f"{name}.csv" for name in ("table", "change", "rates")}
    return {"spec": spec, "inputs": inputs, "outputs": outputs, "items": items}


@torch.no_grad()
def test_states_are_those_of_a_whole_pass(arm: dict[str, Any]) -> None:
    items, spec = arm["items"], arm["spec"]
    pairs = Pairs(items, 0)
    found = read_states(spec, arm["inputs"]["manifest"], items, pairs)
    folder = read_manifest(arm["inputs"]["manifest"]).last
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    task, access = load_task(spec["task"]), Access(model)
    for side, name in ((0, pairs.items[3]), (1, pairs.items[3 + len(pairs.names)])):
        item = items.set_index("item").loc[name]
        prompt = task.prompt(item["question"])
        ids = tokenizer(prompt + task.recall_scaffold, return_tensors="pt")["input_ids"]
        before = prompt[: prompt.index(item["question"])]
        first = len(tokenizer(before)["input_ids"]) if before else 0
        last = len(tokenizer(before + item["question"])["input_ids"])
        whole = model(ids, output_hidden_states=True).hidden_states[:-1]
        assert len(found["answer"]) == len(access.blocks) + 1
        for layer, state in enumerate(whole):
            pooled = state[0, first:last].mean(0)
            at = state[0, -1] if layer else pooled
            for place, expected in (("answer", at), ("question", pooled)):
                np.testing.assert_allclose(found[place][layer, 3, side], expected, atol=1e-5)


def test_the_step_writes_its_tables(arm: dict[str, Any]) -> None:
    spec, inputs, outputs = arm["spec"], arm["inputs"], arm["outputs"]
    step.main(spec, inputs, outputs, Progress("probes"))
    found = {name: pd.read_csv(path) for name, path in outputs.items()}
    assert list(found["table"].columns[:7]) == [*spec["arm"], "step", "position", "layer"]
    read = found["table"].set_index(["position", "layer"])
    # The lexical baseline is the same at both positions.
    assert read.loc[("answer", "emb"), "auc"] == read.loc[("question", "emb"), "auc"]
    assert not found["change"]["change"].any()
    assert found["rates"]["kind"].value_counts().to_dict() == {"false_positive": 2, "power": 2}
    # As a trained arm, whose weights happen to be the base's: the change is tested, too.
    trained = {**spec, "arm": {**spec["arm"], "method": "grpo", "reward": "format"}}
    step.main(trained, inputs, outputs, Progress("probes"))
    rates = pd.read_csv(outputs["rates"])
    assert rates["state"].tolist() == ["after", "change"] * 2 and (rates["runs"] == 20).all()
    # Two equal models differ under no relabelling.
    assert not rates.loc[rates["state"] == "change", "rejected"].any()


def test_items_without_twins_are_refused(arm: dict[str, Any]) -> None:
    arm["items"].assign(pair=None).to_csv(arm["inputs"]["items"], index=False)
    with pytest.raises(DataError, match="no pairs"):
        step.main(arm["spec"], arm["inputs"], arm["outputs"], Progress("probes"))


@pytest.mark.parametrize(("key", "value"), [("folds", 9), ("sizes", [5])])
def test_too_few_pairs_are_refused_at_once(arm: dict[str, Any], key: str, value: Any) -> None:
    arm["spec"]["probes"][key] = value
    with pytest.raises(DataError, match=f"key probes.{key}: "):
        step.main(arm["spec"], arm["inputs"], arm["outputs"], Progress("probes"))
