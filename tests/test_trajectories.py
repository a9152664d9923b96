"""The steps that follow items through the layers, from states to figure."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from told_fixture import summary as told

from paradox.errors import DataError
from paradox.mechanisms.tables.pairs import Pairs
from paradox.mechanisms.tables.verdict import NO_BLOCK, NO_GAP, NOT, OPEN, REPRODUCED
from paradox.mechanisms.trajectories import figure
from paradox.mechanisms.trajectories import measure as trajectories
from paradox.mechanisms.trajectories import summary as separation
from paradox.mechanisms.trajectories.motions import Motion, differences, read_states
from paradox.mechanisms.trajectories.published_flow import VARIANTS, How, pooled_area, published
from paradox.models import load_model, load_tokenizer
from paradox.progress import Progress
from paradox.provenance.manifest import read_manifest
from paradox.stats.bootstrap import Resampling
from paradox.stats.separation import Part, kernel, separation_test, squared
from paradox.tasks import load_task

OWN = {
    "batch_size": 5,
    "dtype": "float32",
    "permutations": 59,
    "flow": {"fits": 2, "latent": 4, "hidden": 4, "epochs": 2, "learning_rate": 0.01},
    "published": {
        "seeds": 1,
        "fits": 2,
        "latent": 4,
        "hidden": 4,
        "epochs": 1,
        "batch_size": 8,
    },
    "relabellings": 5,
    "sizes": [6],
    "draws": 3,
}
EXTENSIONS = {"pairs": "parquet", "null": "parquet", "fits": "csv", "rates": "csv"}


def test_the_difference_of_steps_is_of_states_of_size_one() -> None:
    rng = np.random.default_rng(0)
    states = rng.normal(size=(4, 9, 2, 5))
    sized = states / np.sqrt((states**2).mean(axis=-1, keepdims=True))
    found = differences(states)
    assert found.shape == (9, 3, 5)
    expected = (sized[2, 4, 0] - sized[1, 4, 0]) - (sized[2, 4, 1] - sized[1, 4, 1])
    np.testing.assert_allclose(found[4, 1] * np.sqrt(5), expected)


def test_a_separation_planted_at_a_block_peaks_there() -> None:
    rng = np.random.default_rng(0)
    steps = 0.2 * rng.normal(size=(6, 40, 2, 16))
    steps[0] = rng.normal(size=(40, 2, 16))
    # Block 2 moves exposed items; the blocks after it leave them where they are.
    steps[3, :, 0] += 0.5 * rng.normal(size=16)
    every = np.ones(40, dtype=bool)
    test = separation_test(kernel([Part(differences(steps.cumsum(0)), every)], every), 199, "x")
    assert test.curve.argmax() == 2 and test.corrected[2] <= 0.01


@pytest.fixture()
def arm(tiny_checkpoint: Path, task_spec: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    task_spec = {**task_spec, "items_per_exposure": 8}
    items = load_task(task_spec).items(0)
    items.to_csv(tmp_path / "items.csv", index=False)
    named = {"base": "b", "method": "base", "reward": "none", "seed": 0}
    spec = {"arm": named, "task": task_spec, "seed": 0, "exposed_from": 0, "resamples": 50}
    spec["trajectories"] = {**OWN, "exposures": [int(items["exposure"].max())]}
    manifest = tiny_checkpoint / "manifest.json"
    inputs = {"manifest": manifest, "base": manifest, "items": tmp_path / "items.csv"}
    outputs = {name: tmp_path / f"{name}.{end}" for name, end in EXTENSIONS.items()}
    return {"spec": spec, "inputs": inputs, "outputs": outputs, "items": items}


@torch.no_grad()
def test_states_are_those_of_a_whole_pass(arm: dict[str, Any]) -> None:
    items, spec = arm["items"], arm["spec"]
    pairs = Pairs(items, 0)
    found = read_states(spec, arm["inputs"]["manifest"], items, pairs)
    folder = read_manifest(arm["inputs"]["manifest"]).last
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    task = load_task(spec["task"])
    for side, name in ((0, pairs.items[3]), (1, pairs.items[3 + len(pairs.names)])):
        item = items.set_index("item").loc[name]
        prompt = task.prompt(item["question"])
        cut = prompt.index(item["question"])
        text = prompt + task.recall_scaffold + task.answer_after_scaffold(item["answer"])
        count = [len(tokenizer(part)["input_ids"]) for part in (prompt, text)]
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        first = len(tokenizer(prompt[:cut])["input_ids"]) if cut else 0
        last = len(tokenizer(prompt[:cut] + item["question"])["input_ids"])
        whole = model(ids, output_hidden_states=True).hidden_states[:-1]
        at = len(tokenizer(prompt + task.recall_scaffold)["input_ids"]) - 1
        spans = {"answer": (at, at + 1), "prompt": (count[0] - 1, count[0])}
        spans |= {"question": (first, last), "text": (0, count[1])}
        assert set(found) == set(spans) and count[1] > at + 1
        for layer, state in enumerate(whole):
            for place, (start, end) in spans.items():
                expected = state[0, start:end].mean(0)
                np.testing.assert_allclose(found[place][layer, 3, side], expected, atol=1e-5)


def test_from_states_to_the_figure(arm: dict[str, Any], tmp_path: Path) -> None:
    spec, inputs, outputs = arm["spec"], arm["inputs"], arm["outputs"]
    trajectories.main(spec, inputs, outputs, Progress("trajectories"))
    pairs = pd.read_parquet(outputs["pairs"])
    assert set(pairs["component"]) == {"answer", "prompt", "question", "flow", "flow_path"}
    assert set(pairs["state"]) == {"base"} and {"counted", "selection", "16"} <= set(pairs["set"])
    halves = pairs[pairs["set"].isin(["selection", "test"])]
    assert not halves.groupby(["component", "pair"])["set"].nunique().gt(1).any()
    assert (pd.read_csv(outputs["rates"])["runs"] > 0).all()
    # As a trained arm with the base's own weights: steps did not change.
    trained = {**spec, "arm": {**spec["arm"], "method": "grpo", "reward": "format", "seed": 1}}
    second = {name: tmp_path / f"second_{path.name}" for name, path in outputs.items()}
    trajectories.main(trained, inputs, second, Progress("trajectories"))
    again = pd.read_parquet(second["pairs"])
    assert not again.loc[again["state"] == "change", "value"].any()
    same = again.loc[again["state"] == "after", "value"].to_numpy()
    np.testing.assert_allclose(same, pairs["value"], atol=1e-12)
    models = [set(pd.read_csv(path["fits"])["model"]) for path in (outputs, second)]
    assert models == [{"flow", "published"}, {"flow"}]  # of the first training seed only
    both = {name: [outputs[name], second[name]] for name in outputs if name != "rates"}
    made = {name: tmp_path / f"{name}.csv" for name in ("table", "flows", "signatures")}
    made["reading"] = tmp_path / "reading.json"
    how = {"bootstrap": {"seed": 0, "resamples": 100}, "planted": "b", "margin_share": 0.1}
    how |= {"claims": told("trajectories")["claims"]}
    separation.main(how, both, made, Progress("separation"))
    text = json.loads(made["reading"].read_text())["paragraphs"]["trajectories"]
    assert "published construction" in text and "nan" not in text
    drawn = {end: tmp_path / f"figure.{end}" for end in ("svg", "png", "csv")}
    figure.main({"planted": "b"}, made, drawn, Progress("figure"))
    first = drawn["svg"].read_bytes()
    figure.main({"planted": "b"}, made, drawn, Progress("figure"))
    assert first == drawn["svg"].read_bytes()
    with pytest.raises(DataError, match="no base 'c'"):
        figure.main({"planted": "c"}, made, drawn, Progress("figure"))


def test_too_few_pairs_are_refused(arm: dict[str, Any]) -> None:
    items = arm["items"]
    few = items["pair"].isin(items["pair"].dropna().unique()[:7])
    items[few].to_csv(arm["inputs"]["items"], index=False)
    with pytest.raises(DataError, match="key exposed_from: 7 pairs"):
        trajectories.main(arm["spec"], arm["inputs"], arm["outputs"], Progress("trajectories"))


# --- verdicts -----------------------------------------------------------------------------


def _tables(shift: list[float], base: str = "b") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return tables of two training seeds with differences planted at blocks."""
    rng, pairs = np.random.default_rng(0), [f"p{n}" for n in range(40)]
    items = pd.DataFrame(
        {
            "item": [f"{side}{n}" for side in "et" for n in range(40)],
            "group": ["exposed"] * 40 + ["twin"] * 40,
            "exposure": [8] * 40 + [0] * 40,
            "pair": pairs * 2,
        }
    )
    known = Pairs(items, 1)
    found: list[list[pd.DataFrame]] = [[], []]
    for seed in (0, 1):
        apart = rng.normal(size=(40, len(shift), 5))
        apart[:, :, 0] += shift
        motion = Motion("answer", "base", [Part(apart, np.ones(40, dtype=bool))])
        spec = {"seed": 0, "trajectories": {"permutations": 199}}
        keys = {"base": base, "method": "base", "reward": "none", "seed": seed}
        found[0].append(trajectories.pair_rows(motion, known, 0).assign(**keys))
        found[1].append(trajectories.null_rows(motion, known, spec).assign(**keys))
    return pd.concat(found[0]), pd.concat(found[1])


@pytest.mark.parametrize(
    ("shift", "expected"),
    [
        ([0, 0, 2.0, 0, 0, 0], (REPRODUCED, "")),
        ([0, 0, 1.0, 0, 0, 2.0], (NOT, "")),
        ([2.0, 0, 1.0, 0, 0, 0.0], (NOT, "")),
        ([0, 2.0], (OPEN, NO_BLOCK)),
    ],
)
def test_only_an_inner_peak_is_reproduced(shift: list[float], expected: tuple[str, str]) -> None:
    found = separation.curves(*_tables(shift))
    spec = {"planted": "b", "margin_share": 0.1}
    rows = {row["signature"]: row for row in separation.peaks(found, spec)}
    peak, anywhere = (rows[f"separation_{name}: answer"] for name in ("peak", "any"))
    assert (peak["verdict"], peak["reason"]) == expected
    assert anywhere["verdict"] == REPRODUCED and anywhere["replicates"] == 2
    assert anywhere["blocks"] == str(int(np.argmax(shift))) and anywhere["items"] == 20
    curve = next(iter(found.values()))
    table = pd.DataFrame(
        separation.layers(("b", "base", "none", "answer", "base"), curve, Resampling(0, 400))
    )
    top = table[(table["set"] == "counted") & (table["layer"] == np.argmax(shift))].iloc[0]
    assert top["low"] <= max(shift) <= top["high"] and top["peak_share"] > 0.9
    assert top["corrected"] <= 0.05 and top["value"] > top["null_high"] and top["p"] < 0.05


def test_noise_has_no_peak_and_no_margin_to_be_judged_by() -> None:
    found = separation.curves(*_tables([0.0] * 6))
    spec = {"planted": "b", "margin_share": 0.1}
    assert REPRODUCED not in {row["verdict"] for row in separation.peaks(found, spec)}
    (key,) = found
    below = found[key].test
    found[key] = found[key]._replace(test=replace(below, curve=-np.abs(below.curve)))
    rows = list(separation.peaks(found, spec))
    assert {row["reason"] for row in rows} == {NO_GAP}


def _fits(tops: dict[str, list[int]], low: float) -> pd.DataFrame:
    """Return fits of the published construction over 6 blocks that peak at these layers."""
    rows = [
        {"variant": name, "fit": fit, "layer": layer, "force": float(layer == top), "auc_low": low}
        for name, layers in tops.items()
        for fit, top in enumerate(layers)
        for layer in range(-1, 6)
    ]
    return pd.DataFrame(rows).assign(base="b", method="base", reward="none", seed=0)


OFTEN, SELDOM = [2, 2, 1, 2, 3, 2, 2, 1], [5, 0, -1, 5, 5, 2, -1, 4]


@pytest.mark.parametrize(
    ("as_is", "permuted", "low", "expected"),
    [
        (OFTEN, SELDOM, 0.8, (REPRODUCED, "")),
        (SELDOM, OFTEN, 0.8, (NOT, "")),
        (OFTEN, SELDOM, 0.4, (OPEN, separation.GUESSES)),
    ],
)
def test_the_published_peak_has_to_beat_both_nulls(
    as_is: list[int], permuted: list[int], low: float, expected: tuple[str, str]
) -> None:
    tops = {"as_published": as_is, "permuted_labels": permuted}
    tops["shuffled_layers"] = [0, 5, 2, -1, 5, 1, 4, 5]
    (row,) = separation.published_peak(_fits(tops, low), 0.1)
    assert (row["verdict"], row["reason"]) == expected and row["items"] == 8


# --- the published construction -----------------------------------------------------------

SIZES = How(fits=3, latent=8, hidden=16, epochs=10, batch_size=16)


def _text_states(shift: float, layer: int) -> np.ndarray:
    rng = np.random.default_rng(layer)
    states = rng.normal(size=(6, 50, 2, 4))
    states[layer, :, 0, 0] += shift
    return states


def test_the_published_construction_sees_the_first_states_only() -> None:
    early = published(_text_states(6.0, 1), SIZES, Resampling(0, 200), "early")
    assert early["as_published"].low > 0.8 and set(early) == set(VARIANTS)
    permuted = early["permuted_labels"]
    assert permuted.high < early["as_published"].low and abs(permuted.auc - 0.5) < 0.25
    late = published(_text_states(60.0, 4), SIZES, Resampling(0, 200), "late")
    assert late["as_published"].auc < 0.75 and late["shuffled_layers"].auc > 0.75
    # What later layers hold changes nothing.
    changed = _text_states(6.0, 1)
    changed[3:] *= 100
    other = published(changed, SIZES, Resampling(0, 200), "early")
    assert (other["as_published"].force == early["as_published"].force).all()
    assert early["as_published"].force.shape == (3, 6)


def test_areas_compare_scores_of_one_fit_only() -> None:
    rng = np.random.default_rng(0)
    fits, labels = np.repeat(np.arange(20), 30), rng.integers(0, 2, 600)
    pairs = rng.integers(0, 50, 600)
    # Each fit's level goes with its labels; within a fit scores say nothing.
    level = np.array([labels[fits == fit].mean() for fit in range(20)])[fits]
    scores = rng.normal(size=600) - 1000 * level
    area, low, high = pooled_area(scores, labels, pairs, fits, 50, Resampling(0, 300))
    assert low <= 0.5 <= high and low < area < high


def test_no_separation_is_as_often_found_as_stated_over_seeds() -> None:
    pairs, null = _tables([0.0] * 4)
    (curve,) = separation.curves(pairs, null).values()
    np.testing.assert_allclose(
        curve.test.curve, [curve.sets["counted"][:, layer].mean() for layer in range(4)]
    )
    assert squared(np.zeros((2, 3, 3))).tolist() == [0, 0]
    assert curve.test.overall > 0.01
