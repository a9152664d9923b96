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
from paradox.mechanisms.probes.measure import read_states, table
from paradox.mechanisms.probes.signature import probe_peak
from paradox.mechanisms.probes.summary import changes, swapped
from paradox.mechanisms.tables import signatures as computed
from paradox.mechanisms.tables.pairs import Groups, Pairs, item_rows
from paradox.mechanisms.tables.verdict import CEILING, NO_BLOCK, NOT, OPEN, REPRODUCED
from paradox.models import load_model, load_tokenizer
from paradox.progress import Progress
from paradox.provenance.manifest import read_manifest
from paradox.stats.linear import Folds, probe
from paradox.tasks import load_task


def _states(seed: int, signal: float = 0.0, pairs: int = 30) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(4, pairs, 2, 12))
    states[2, :, 0] += signal * rng.normal(size=12) / np.sqrt(12)
    return states, [f"p{n}" for n in range(pairs)]


def test_pairs_told_apart_have_an_interval_and_a_p_of_one_model() -> None:
    shown = table(probe(*_states(5, 3.0), Folds(5, 2, ("a",)), 20)).set_index("layer")
    assert list(shown.index) == ["emb", "0", "1", "2"]
    assert shown.loc["1", "pair_auc_low"] > 0.7 and shown.loc["1", "p"] < 0.001
    assert ((shown["p"] <= 0.05) == (shown["pair_auc_low"] >= 0.5)).all()


def _won(arm: str, shares: list[float], seeds: int = 1, pairs: int = 40) -> pd.DataFrame:
    """Return a table ``won`` with these shares of pairs told apart, from the embedding on."""
    rng = np.random.default_rng(len(arm))
    items = pd.DataFrame({"item": [f"e{n}" for n in range(pairs)], "group": "exposed"})
    items["exposure"] = 64
    made = []
    for seed in range(seeds):
        # As many pairs as stated, other ones at each layer.
        order = rng.random((len(shares), pairs)).argsort(axis=1).argsort(axis=1)
        won = (order < np.array(shares)[:, None] * pairs).astype(float)
        for place in ("answer", "question"):
            rows = item_rows(items, place, range(-1, len(shares) - 1), {"won": won})
            made.append(rows.assign(seed=seed, step=0))
    keys = dict(zip(("base", "method", "reward"), arm.split("/"), strict=True))
    return pd.concat(made).assign(**keys)


BASE, ARM, CLEAN = "contaminated/base/none", "contaminated/grpo/format", "clean/base/none"
MIDDLE = [0.5, 0.55, 0.6, 0.95, 0.7, 0.6, 0.55]


def test_changes_are_of_pairs_crossed_with_trainings() -> None:
    after = [0.5, 0.55, 0.6, 0.95, 0.7, 0.6, 0.95]
    tables = [_won(BASE, MIDDLE), _won(ARM, after, seeds=3)]
    rows = pd.DataFrame(changes(tables, 199, 0))
    untrained = rows[rows["method"] == "base"]
    assert not untrained["change"].any() and untrained["p"].isna().all()
    rows = rows[rows["method"] != "base"]
    assert set(rows["reward"]) == {"format"} and rows["layer"].tolist() == [*range(-1, 6)] * 2
    assert (rows["pairs"] == 40).all() and (rows["replicates"] == 3).all()
    last = rows[rows["layer"] == 5].iloc[0]
    assert last["change"] == pytest.approx(0.4) and last["low"] > 0.1 and last["p"] < 0.01
    assert last["corrected"] <= 0.05
    still = rows[rows["layer"] < 5]
    assert (still["change"].abs() < 1e-9).all() and (still["low"] <= 0).all()
    assert swapped(np.zeros((9, 2)), 50, 0).overall == 1
    with pytest.raises(DataError, match="missing or not finite"):
        list(changes([_won(BASE, MIDDLE), _won(ARM, after, pairs=39)], 199, 0))


def _peaks(folder: Path, *tables: pd.DataFrame) -> dict[tuple[str, str], dict[str, Any]]:
    rows = [
        {"item": f"{side[0]}{n}", "group": side, "pair": f"p{n}", "exposure": times}
        for n in range(40)
        for side, times in (("exposed", 64), ("twin", 0))
    ]
    test = computed.Tester(Groups(pd.DataFrame(rows), 8), 0)
    paths = [folder / f"{n}.csv" for n in range(len(tables))]
    for path, rows_of_arm in zip(paths, tables, strict=True):
        rows_of_arm.to_csv(path, index=False)
    found = probe_peak(computed.Given("probe_peak", paths, test, "contaminated", "clean", 0.1))
    return {(row["signature"], f"{row['base']}/{row['reward']}"): row for row in found}


def test_a_peak_at_an_inner_block_is_reproduced_and_a_rise_is_not(tmp_path: Path) -> None:
    rise = [0.5, 0.5, 0.55, 0.6, 0.65, 0.7, 0.85]
    found = _peaks(tmp_path, _won(BASE, MIDDLE), _won(ARM, rise, 3), _won(CLEAN, [0.5] * 7))
    assert len(found) == 6
    for place in ("answer", "question"):
        base, arm, clean = (
            found[f"probe_peak: {place}", name]
            for name in ("contaminated/none", "contaminated/format", "clean/none")
        )
        assert (base["verdict"], base["blocks"]) == (REPRODUCED, "2") and base["p"] < 0.05
        assert base["margin"] == pytest.approx(0.045) and base["items"] == 20
        assert arm["verdict"] == NOT and arm["replicates"] == 3
        assert clean["verdict"] != REPRODUCED


def test_no_peak_can_be_seen_where_the_last_block_tells_all_pairs_apart(tmp_path: Path) -> None:
    full = [0.5, 0.6, 0.8, 0.95, 0.95, 1.0, 1.0]
    found = _peaks(tmp_path, _won(BASE, full))
    row = found["probe_peak: answer", "contaminated/none"]
    assert (row["verdict"], row["reason"]) == (OPEN, CEILING)


def test_two_blocks_have_no_inner_one(tmp_path: Path) -> None:
    row = _peaks(tmp_path, _won(BASE, [0.5, 0.6, 0.9]))["probe_peak: answer", "contaminated/none"]
    assert (row["verdict"], row["reason"]) == (OPEN, NO_BLOCK)


@pytest.fixture()
def arm(tiny_checkpoint: Path, task_spec: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    task_spec = {**task_spec, "items_per_exposure": 8}
    items = load_task(task_spec).items(0)
    items.to_csv(tmp_path / "items.csv", index=False)
    own = {"folds": 3, "repeats": 1, "permutations": 39, "relabellings": 20, "draws": 5}
    own |= {"exposures": [int(items["exposure"].max())], "sizes": [6]}
    named = {"base": "b", "method": "base", "reward": "none", "seed": 0}
    spec = {"arm": named, "task": task_spec, "seed": 0, "exposed_from": 0}
    spec["probes"] = {**own, "batch_size": 5, "dtype": "float32"}
    manifest = tiny_checkpoint / "manifest.json"
    inputs = {"manifest": manifest, "base": manifest, "items": tmp_path / "items.csv"}
    outputs = {name: tmp_path / f"{name}.csv" for name in ("table", "won", "rates")}
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
    won = found["won"].groupby(["component", "layer"])["won"].mean()
    np.testing.assert_allclose(won["question"], read.loc["question", "pair_auc"])
    assert found["won"]["item"].nunique() == read["pairs"].iloc[0]
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
