"""Step ``boundary``: quantiles, temperatures, and the whole step on a random organism."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from paradox.mechanisms.boundary import measure as boundary
from paradox.mechanisms.boundary.draws import Draws
from paradox.mechanisms.boundary.measure import SOURCES, match, quantiles, ranks, select
from paradox.progress import Progress
from paradox.tasks import load_task

HOW = {"pairs": 2, "samples": 16, "pilot": 8, "temperature": 1.0, "cold": 0.2, "max_tokens": 6}
HOW |= {"tolerance": 0.01, "rows": 64, "dtype": "float32", "batch_size": 8}


def _sides(values: np.ndarray, right: list[bool], mode: list[str]) -> Any:
    return values, np.array(right), np.array(mode)


def test_quantiles_of_the_bases_own_samples_are_uniform() -> None:
    """Samples that come from where the reference comes from have uniform ranks, mean 1/2."""
    rng = np.random.default_rng(0)
    found = np.concatenate([ranks(rng.gumbel(size=32), rng.gumbel(size=64)) for _ in range(100)])
    assert stats.kstest(found, "uniform").statistic < 0.05
    # Likelihoods tie, since equal texts have equal ones.
    tied = [ranks(rng.integers(0, 3, 32), rng.integers(0, 3, 64)).mean() for _ in range(400)]
    assert np.mean(tied) == pytest.approx(0.5, abs=4 * np.std(tied) / 20)
    assert ranks(np.array([0.0, 9.0]), np.array([1.0, 2.0])).tolist() == [0, 1]


def test_quantiles_by_correctness_and_mode() -> None:
    """Right and wrong samples count apart; modes are compared with their own only."""
    reference = _sides(np.array([1.0, 2.0, 11.0, 12.0]), [True] * 4, ["a", "a", "b", "b"])
    own = _sides(np.array([1.5, 10.0, 50.0]), [True, False, False], ["a", "b", "new"])
    found = quantiles(own, reference)
    assert found["quantile_right"] == 0.25
    assert found["quantile_wrong"] == pytest.approx((0.5 + 1) / 2)
    assert found["quantile_same"] == pytest.approx((0.5 + 0) / 2)
    none = quantiles(_sides(np.array([3.0]), [True], ["new"]), reference)
    assert math.isnan(none["quantile_wrong"]) and math.isnan(none["quantile_same"])


def _draws(entropy: float) -> Draws:
    return Draws([[(1,)]], np.array([[entropy]]), np.zeros((1, 1)))


@pytest.mark.parametrize("target", [0.05, 0.3, 0.9])
def test_temperature_reaches_its_entropy(target: float) -> None:
    """The root is found wherever it lies, also where entropy first falls with temperature."""
    for curve in (lambda t: t**3 / 4, lambda t: t / 4, lambda t: t - 0.5 * math.exp(-t) + 0.3):
        low, high = curve(1 / 8), curve(8)
        temperature, drawn = match(lambda t, c=curve: _draws(c(t)), (1.0, curve(1)), target, 0.01)
        if low < target < high:
            assert drawn.token_entropy == pytest.approx(target, rel=0.01)
            assert curve(temperature) == drawn.token_entropy


def test_temperature_out_of_reach() -> None:
    """An entropy that no temperature has gives the nearest one there is."""
    temperature, drawn = match(lambda t: _draws(min(t, 2.0)), (1.0, 1.0), 5.0, 0.01)
    assert drawn.token_entropy == 2.0 and temperature <= 32.0 + 1e-9


def _items(task_spec: dict[str, Any]) -> pd.DataFrame:
    return load_task(task_spec).items(0)


def test_selects_whole_pairs(task_spec: dict[str, Any]) -> None:
    """Up to so many pairs of each exposure that counts, with their twins, the same every time."""
    items = _items(task_spec)
    found = select(items, 4, 2, 0)
    exposed = found[found["group"] == "exposed"]
    assert exposed["exposure"].value_counts().to_dict() == {4: 2, 16: 2}
    assert set(found.loc[found["group"] == "twin", "pair"]) == set(exposed["pair"])
    assert select(items, 4, 2, 0).equals(found) and len(select(items, 16, 9, 0)) == 8


def test_step(tmp_path: Path, tiny_checkpoint: Path, task_spec: dict[str, Any]) -> None:
    """A base compared with itself: other samples, matched temperatures, quantiles about 1/2."""
    _items(task_spec).to_csv(tmp_path / "items.csv", index=False)
    arm = {"base": "contaminated", "method": "base", "reward": "none", "seed": 0}
    spec = {"arm": arm, "task": task_spec, "seed": 0, "exposed_from": 4, "boundary": HOW}
    manifest = tiny_checkpoint / "manifest.json"
    inputs = {"manifest": manifest, "base": manifest, "items": tmp_path / "items.csv"}
    for name in ("one", "two"):
        outputs = {"table": tmp_path / f"{name}.csv"}
        boundary.main(spec, inputs, outputs, Progress("test", streams=()))
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    table = pd.read_csv(tmp_path / "one.csv")
    assert table["source"].value_counts().to_dict() == dict.fromkeys(SOURCES, 8)
    of = table.set_index("source")
    assert (of.loc[["base", "after", "matched"], "samples"] == 16).all()
    assert of.loc["base", "tokens"].tolist() != of.loc["after", "tokens"].tolist()
    assert of.loc["after", "quantile"].mean() == pytest.approx(0.5, abs=0.15)
    assert of.loc["cold", "quantile"].mean() < 0.4
    assert of.loc["cold", "entropy"].mean() < 0.9 * of.loc["base", "entropy"].mean()
    assert of.loc["matched", "entropy"].mean() == pytest.approx(
        of.loc["base", "entropy"].mean(), rel=0.05
    )
