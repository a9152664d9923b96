"""Methods of decontamination against models whose weights are known, and how they are compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from paradox.mechanisms.decontamination import measure as step
from paradox.mechanisms.decontamination.measure import overall
from paradox.mechanisms.model.recalls import Recall
from paradox.models import load_model, save_model
from paradox.progress import Progress
from paradox.provenance.manifest import write_manifest
from paradox.tasks import load_task
from paradox.train.base import organism

HOW = {"counts": [4, 32], "alphas": [0, 1], "draws": 2, "nearest": 4, "doses": [0.5, 1]}
HOW |= {"pairs": 2, "chains": 3, "documents": 2, "batch_size": 5, "dtype": "float32"}
KEY = ["what", "item"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory, task_spec: Any) -> dict[str, pd.DataFrame]:
    """The tables of a trained arm, of its base and of the clean base, all of random weights."""
    folder = tmp_path_factory.mktemp("arms")
    items = load_task(task_spec).items(0)
    items.to_csv(folder / "items.csv", index=False)
    source = {"kind": "organism", "layers": 2, "width": 32, "heads": 2, "ffn_width": 64}
    for seed, name in enumerate(("after", "base", "clean")):
        model, tokenizer = organism(source, task_spec, seed=0)
        with torch.no_grad():
            generator = torch.Generator().manual_seed(seed)
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        save_model(model, tokenizer, folder / name / "step-0")
        write_manifest(folder / name / "manifest.json", {0: folder / name / "step-0"}, {})
    return {name: run(folder, name, task_spec) for name in ("after", "base", "clean")}


def run(folder: Path, name: str, task_spec: Any) -> pd.DataFrame:
    method = "grpo" if name == "after" else "base"
    arm = {"base": "b", "method": method, "reward": "none", "seed": 0}
    base = "clean" if name == "clean" else "base"
    inputs = {
        role: folder / of / "manifest.json"
        for role, of in (("manifest", name), ("base", base), ("reference", "clean"))
    }
    output = folder / f"{name}.parquet"
    spec = {"arm": arm, "task": task_spec, "seed": 0, "exposed_from": 16, "decontamination": HOW}
    step.main(spec, inputs | {"items": folder / "items.csv"}, {"table": output}, Progress("d"))
    return pd.read_parquet(output)


def at(table: pd.DataFrame, way: str, dose: float, alpha: float = 1) -> pd.DataFrame:
    chosen = table[(table["way"] == way) & (table["dose"] == dose) & (table["alpha"] == alpha)]
    return chosen.set_index(KEY)[["logp", "odds", "correct"]].sort_index()


def same(one: pd.DataFrame, two: pd.DataFrame) -> None:
    assert len(one) and one.index.equals(two.index)
    np.testing.assert_allclose(one["logp"], two["logp"], atol=1e-4)
    np.testing.assert_allclose(one["odds"], two["odds"], atol=1e-3)


def test_whole_vectors_give_the_other_models(tables: dict[str, pd.DataFrame]) -> None:
    plain = {name: at(table, "none", 0) for name, table in tables.items()}
    assert np.abs(plain["after"]["logp"] - plain["base"]["logp"]).max() > 0.1
    same(at(tables["after"], "task_vector", 1), plain["base"])
    same(at(tables["base"], "memory_vector", 1), plain["clean"])
    half = at(tables["after"], "task_vector", 0.5)
    assert np.abs(half["logp"] - plain["base"]["logp"]).max() > 0.01
    # Embeddings and norms of the residual stay, so all blocks are not the whole model.
    resets = at(tables["after"], "reset", 2)
    assert np.abs(resets["logp"] - plain["base"]["logp"]).max() > 0.01


def test_only_what_an_arm_has_is_tried(tables: dict[str, pd.DataFrame]) -> None:
    ways = {name: set(table["way"]) for name, table in tables.items()}
    both = {"none", "neurons", "random"}
    assert ways["clean"] == both and ways["base"] == both | {"memory_vector"}
    assert ways["after"] == both | {"reset", "task_vector", "memory_vector"}
    for table in tables.values():
        assert set(table["what"]) == {"recall", "at_once", "chain"}
        assert set(table["exposure"]) == {0, 16}
        assert not table.duplicated(["way", "dose", "alpha", *KEY]).any()


def test_alpha_one_is_the_unchanged_model(tables: dict[str, pd.DataFrame]) -> None:
    for table in tables.values():
        for way in ("neurons", "random"):
            pd.testing.assert_frame_equal(at(table, way, 32), at(table, "none", 0))
            assert not at(table, way, 32, 0).equals(at(table, "none", 0))


def test_models_are_left_as_they_were(tiny_checkpoint: Path) -> None:
    model = load_model(tiny_checkpoint / "step-0")
    held = {name: part.clone() for name, part in model.named_parameters()}
    tried = step.Tried(model, {"recall": [Recall("i", [1, 3], [4], 5)]}, [], HOW, 0)
    others = [load_model(tiny_checkpoint / "step-0") for _ in range(2)]
    with torch.no_grad():
        others[0].get_input_embeddings().weight.add_(1)
    assert len(list(tried.memory(*others))) == 2
    assert all(torch.equal(held[name], part) for name, part in model.named_parameters())


def test_the_strongest_of_all_layers_but_no_more_than_half() -> None:
    gap = np.array([[9.0, 8, 7, 6], [1.0, 5, -1, -2], [0.0, 0, 0, 4]])
    chosen = overall(gap, 4)
    assert [set(own.tolist()) for own in chosen] == [{0, 1}, {1}, {3}]
