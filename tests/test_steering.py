"""Scaling neurons against hooks one at a time, attribution against differences, and the step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from families import FAMILIES, tiny
from test_rerun import made, together

from paradox.errors import DataError
from paradox.mechanisms.model.access import Access
from paradox.mechanisms.model.neurons import (
    MEASURES,
    Profile,
    matched,
    profile,
    scaled,
    scaling,
    scores,
    strongest,
    sweep,
)
from paradox.mechanisms.model.rerun import WHERE
from paradox.mechanisms.steering import measure as step
from paradox.mechanisms.steering.measure import modes, overlaps
from paradox.progress import Progress
from paradox.stats.doses import rise, trend
from paradox.stats.sets import expected_jaccard, jaccard
from paradox.tasks import load_task

ODDS = MEASURES.index("odds")
SETS = np.array([[[0, 5], [7, 3]], [[1, 2], [40, 9]], [[11, 30], [8, 2]]])


@pytest.fixture(scope="module", params=list(FAMILIES))
def access(request: Any) -> Access:
    return Access(tiny(request.param))


def hooked(access: Access, batch: Any, block: int, own: Any, dose: float, where: str) -> Any:
    """Return the scores of one whole pass with a hook."""
    factors = torch.ones(48)
    factors[own] = dose
    with torch.no_grad(), scaling(access, {block: factors}, scaled(batch, where)):
        logits = access.model(**batch.inputs, use_cache=False).logits
    return scores(logits[:, batch.at :], batch).numpy()


@pytest.mark.parametrize("lengths", [[6, 6, 6], [4, 7, 5], [1, 1]])
def test_the_sweep_equals_hooks_one_at_a_time(access: Access, lengths: list[int]) -> None:
    prompts, doses = made(lengths, answers=2), [0.0, 0.5, 1.0, 3.0]
    batch = together(prompts)
    for where in WHERE:
        found = sweep(access, prompts, SETS, doses, 3, where, chunk=1500)
        assert np.ptp(found[0], axis=2).max() > 0.01
        for block, one, place in np.ndindex(3, 2, len(doses)):
            alone = hooked(access, batch, block, SETS[block, one], doses[place], where)
            swept = found[:, block, one, place][:, batch.rows]
            np.testing.assert_allclose(swept, alone, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_alpha_one_changes_no_bit(access: Access) -> None:
    prompts = made([5, 6])
    batch = together(prompts)
    clean = access.model(**batch.inputs).logits
    with scaling(access, {n: torch.ones(48) for n in range(3)}):
        assert torch.equal(access.model(**batch.inputs).logits, clean)
    with scaling(access, {1: torch.full((48,), 1.01)}):
        assert not torch.equal(access.model(**batch.inputs).logits, clean)
    found = sweep(access, prompts, SETS, [1.0, 2.0], 2, "all")[..., 0, :]
    assert (found == found[:, :1, :1]).all()


def test_attribution_is_the_derivative_by_alpha() -> None:
    model = tiny("qwen2").double()
    access, prompts, by = Access(model), made([5, 7, 6], answers=2), 0.01
    for where in WHERE:
        found = profile(access, prompts, 2, where).attribution
        for block, own in ((0, 3), (1, 40), (2, 17)):
            sets = np.full((3, 1, 1), own)
            ends = sweep(access, prompts, sets, [1 - by, 1 + by], 3, where)[ODDS, block, 0]
            slope = (ends[1] - ends[0]) / (2 * by)
            np.testing.assert_allclose(found[:, block, own], slope, atol=2e-4, rtol=2e-3)


def test_random_sets_match_and_leave_out_the_chosen() -> None:
    rng = np.random.default_rng(0)
    of = Profile(np.zeros((1, 2, 200)), rng.lognormal(size=(2, 200)), rng.lognormal(size=(2, 200)))
    chosen = np.argsort(-of.activity, axis=1)[:, 5:15]
    found = np.stack(matched(list(chosen), of, 20, 4, 0))
    assert found.shape == (2, 20, 10)
    anywhere = np.stack([rng.permutation(200)[:10] for _ in range(20)])
    for layer in range(2):
        assert not set(found[layer].ravel()) & set(chosen[layer])
        assert all(len(set(draw)) == 10 for draw in found[layer])
        assert len({tuple(draw) for draw in found[layer]}) == 20
        target = np.log(of.activity[layer][chosen[layer]]).mean()
        errors = [
            np.abs(np.log(of.activity[layer][sets]).mean(axis=1) - target).mean()
            for sets in (found[layer], anywhere)
        ]
        assert errors[0] < errors[1] / 3


def test_choices_of_halves_agree_only_when_there_is_something() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(40, 2, 100))
    noise[:, 1, :8] += 3
    same = overlaps(noise, 8, 30, 0, "all", 1).mean(axis=0)
    swapped = overlaps(noise, 8, 30, 0, "all", 0).mean(axis=0)
    assert same[1] > 0.9 and same[0] < 0.15 and swapped.max() < 0.3
    drawn = [jaccard(rng.permutation(100)[:8], rng.permutation(100)[:8]) for _ in range(4000)]
    assert np.mean(drawn) == pytest.approx(expected_jaccard(100, 8), abs=0.004)


def test_modes_and_trends() -> None:
    values = np.zeros((3, 3, 4))
    values[ODDS] = np.array([[0, 1, 2], [0, 2, 1], [0, 1, 2], [2, 1, 0]]).T
    values[2] = np.array([[0, 0, 1], [0, 1, 1], [0, 0, 0], [1, 0, 1]]).T
    found = modes(values)
    assert found["monotone"].tolist() == [True, False, True, False]
    assert found["switched"].tolist() == [True, False, False, False]
    curves = values[ODDS].T
    np.testing.assert_allclose(trend(curves), [1, 0.5, 1, -1])
    np.testing.assert_allclose(rise(curves), [2, 1.5, 2, -2])


def spec(task_spec: dict[str, Any]) -> dict[str, Any]:
    how = {"neurons": 4, "doses": [0.2, 0.5, 1, 2, 3], "pairs": 2, "sets": 6, "nearest": 4}
    how |= {"null_pairs": 1, "null_doses": [0.2, 3], "texts": 3, "text_sets": 2, "splits": 5}
    how |= {"batch_size": 5, "dtype": "float32"}
    arm = {"base": "b", "method": "base", "reward": "none", "seed": 0}
    return {"arm": arm, "task": task_spec, "seed": 0, "exposed_from": 16, "steering": how}


def test_the_step_tests_pairs_that_chose_nothing(
    tiny_checkpoint: Path, task_spec: dict[str, Any], tmp_path: Path
) -> None:
    task = load_task(task_spec)
    items = task.items(0)
    items.to_csv(tmp_path / "items.csv", index=False)
    corpus = task.corpus(0, items, task.prompts(0, items), planted=True)
    corpus.to_parquet(tmp_path / "corpus.parquet")
    given = spec(task_spec)
    outputs = {name: tmp_path / f"{name}.parquet" for name in ("table", "sets", "side", "neurons")}
    inputs = {"manifest": tiny_checkpoint / "manifest.json", "items": tmp_path / "items.csv"}
    inputs["corpus"] = tmp_path / "corpus.parquet"
    step.main(given, inputs, outputs, Progress("steering"))
    tables = {name: pd.read_parquet(path) for name, path in outputs.items()}
    of = step.split(items, 16, given["steering"], 0)
    assert not set(of.discovery["pair"]) & set(of.tested["pair"])
    assert set(of.discovery["exposure"]) == {0, 16} and set(of.tested["exposure"]) == {0, 4, 16}
    assert (of.tested["pair"].to_numpy()[::2] == of.tested["pair"].to_numpy()[1::2]).all()
    rows = tables["table"]
    assert set(rows["item"]) == set(of.tested["item"])
    assert len(rows) == 2 * 5 * 2 * len(of.tested)
    plain = rows[rows["component"].isin(["all:1", "answer:1"])]
    assert plain["odds_change"].eq(0).all() and plain.groupby("item")["logp"].nunique().eq(1).all()
    null = of.tested["item"][of.null].tolist()
    own = tables["sets"][(tables["sets"]["set"] == -1) & (tables["sets"]["measure"] == "odds")]
    for _, row in own.iterrows():
        same = rows[(rows["component"] == f"{row['component']}:{row['dose']:g}")]
        same = same[(same["layer"] == row["layer"]) & same["item"].isin(null)]
        means = same.groupby("group")["odds_change"].mean()
        assert row["exposed"] == pytest.approx(means["exposed"], abs=1e-5)
        assert row["twin"] == pytest.approx(means["twin"], abs=1e-5)
    assert set(tables["side"]["what"]) == {"chain", "text"}
    assert set(tables["side"]["set"]) == {-1, 0, 1}
    assert tables["neurons"]["neurons"].str.split().str.len().eq(4).all()
    again = {name: tmp_path / f"again-{name}.parquet" for name in outputs}
    step.main(given, inputs, again, Progress("steering"))
    for name, table in tables.items():
        pd.testing.assert_frame_equal(table, pd.read_parquet(again[name]))


def test_half_of_a_layer_is_the_most(task_spec: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="neurons: 9 found, allowed 1 to 8"):
        strongest(np.zeros((2, 16)), 9)
