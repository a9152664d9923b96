"""Simulated studies: their spread is the one asked for, and a wrong rule is seen to be wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from paradox.errors import DataError
from paradox.mechanisms.overview import rule_rates as step
from paradox.mechanisms.tables import signatures
from paradox.mechanisms.tables.pairs import Groups, item_rows
from paradox.mechanisms.tables.verdict import NOT, REPRODUCED, VERDICTS
from paradox.progress import Progress

PAIRS, BLOCKS, TRAININGS = 60, 6, 4
GAP = np.array([0.0, 0.5, 1.0, 2.0, 0.5, 0.2])
SPEC = {
    "error_rates": {"studies": 40, "margin_share": 0.2},
    "exposed_from": 64,
    "bootstrap": {"seed": 0, "resamples": 100},
    "bases": {"planted": "dirty", "clean": None},
}


def items(pairs: int = PAIRS) -> pd.DataFrame:
    rows = [
        {"item": f"{group[0]}{n}", "group": group, "pair": f"p{n}", "exposure": exposure}
        for n in range(pairs)
        for group, exposure in (("exposed", 64), ("twin", 0))
    ]
    text = dict.fromkeys(("question", "answer", "worked", "source"), "x")
    return pd.DataFrame(rows).assign(worked_documents=0, **text)


def tables(
    of: pd.DataFrame, spread: float, rest: float = 0.3, trainings: int = TRAININGS
) -> list[pd.DataFrame]:
    """Return tables of a base and of an arm whose replicates have this sd in every block."""
    rng = np.random.default_rng(5)
    exposed = (of["group"] == "exposed").to_numpy()
    base = rng.normal(size=(BLOCKS, len(of))) + GAP[:, None] * exposed
    moved = 0.5 * rng.normal(size=(BLOCKS, len(of)))
    found = []
    for seed in range(-1, trainings):
        values = base
        if seed >= 0:
            values = base + moved + rest * rng.normal(size=base.shape)
            values = values + spread * rng.normal(size=(BLOCKS, 1)) * exposed
        arm = ("dirty", "grpo", "format") if seed >= 0 else ("dirty", "base", "none")
        named = dict(zip(("base", "method", "reward", "seed"), (*arm, max(seed, 0)), strict=True))
        for component in (step.COMPONENT, "attn@all"):
            table = item_rows(of, component, range(BLOCKS), {step.MEASURE: values})
            found.append(table.assign(**named, step=0))
    return found


def observed(spread: float, pairs: int = PAIRS, **more: Any) -> step.Observed:
    of = items(pairs)
    return step.observed(tables(of, spread, **more), Groups(of, 64), "dirty")


def run(folder: Path, of: pd.DataFrame, made: list[pd.DataFrame], **settings: Any) -> Path:
    folder.mkdir(parents=True)
    of.to_csv(folder / "items.csv", index=False)
    paths = [folder / f"{place}.csv" for place in range(len(made))]
    for path, table in zip(paths, made, strict=True):
        table.to_csv(path, index=False)
    spec = SPEC | {"error_rates": SPEC["error_rates"] | settings}
    inputs = {"items": folder / "items.csv", "tables": paths}
    step.main(spec, inputs, {"table": folder / "rates.csv"}, Progress("rule_rates"))
    return folder / "rates.csv"


@pytest.fixture(scope="module")
def rates(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    of = items()
    return pd.read_csv(run(tmp_path_factory.mktemp("rates") / "a", of, tables(of, 0.2)))


# --- what was observed, and what is made of it ---------------------------------------------------


def test_the_spread_of_replicates_is_estimated() -> None:
    # Differences of a pair have the variance of two items; the rest adds its share of the mean.
    of_items = 2 * 0.25 / 400 + 2 * 0.09 / 8 / 400
    found = observed(0.1, pairs=400, trainings=8)
    assert found.spread("change") == pytest.approx(0.1 / np.sqrt(of_items), rel=0.3)
    of_items += 2 / 400
    assert found.spread("after") == pytest.approx(0.1 / np.sqrt(of_items), rel=0.3)
    assert observed(0.0, pairs=400, trainings=8).spread("change") < 0.5
    assert found.gap == pytest.approx(2.0, abs=0.3)


def test_without_trainings_to_compare_only_items_spread(tmp_path: Path) -> None:
    found = observed(0.5, trainings=1)
    assert np.isnan(found.spread("change")) and not found.arms[0].rest.any()
    alone = observed(0.5, trainings=0)
    assert np.allclose(alone.arms[0].change, alone.base) and np.isnan(alone.spread("after"))
    of = items()
    few = pd.read_csv(run(tmp_path / "a", of, tables(of, 0.5, trainings=1), studies=2))
    assert set(few["seed_sd"]) == {0, 1, 2, 3.3} and not few["observed"].any()


@pytest.mark.parametrize("spread", [0.0, 1.0, 3.3, None])
@pytest.mark.parametrize("state", ["after", "change"])
def test_studies_have_the_spread_that_is_asked_for(state: str, spread: float | None) -> None:
    seen = observed(0.2)
    cell = step.Cell(step.NONE, state, 0.0, 5, spread)
    studies = step.Studies(seen, cell, 2000, 0)
    profile, arm = seen.profile(seen.arms[0], state), seen.arms[0]
    of_items = profile.var(axis=0) / PAIRS
    rest = (arm.rest**2).mean(axis=(0, 2)) / PAIRS
    means = studies.values.mean(axis=1)
    asked = (studies.spread**2 * PAIRS / (PAIRS - 1)) * of_items
    np.testing.assert_allclose(means.var(axis=2, ddof=1).mean(axis=0), asked + rest, rtol=0.1)
    whole = of_items + (asked + rest) / 5
    np.testing.assert_allclose(means.mean(axis=2).var(axis=0), whole, rtol=0.2)
    assert studies.spread == (seen.spread(state) if spread is None else spread)
    np.testing.assert_allclose(means.mean(axis=(0, 2)), 0, atol=0.05)


@pytest.mark.parametrize("state", ["after", "change"])
@pytest.mark.parametrize("world", [step.NONE, step.KEPT, step.CHANGED])
def test_the_truth_of_a_world(world: str, state: str) -> None:
    seen = observed(0.2)
    studies = step.Studies(seen, step.Cell(world, state, 2.0, 3, 0.0), 2, 0)
    blocks = np.arange(BLOCKS) == 3
    base, judged = studies.true(blocks, 0.1)
    over = 0.2 * seen.gap
    assert np.abs(base).max() == pytest.approx(0 if world == step.NONE else seen.gap)
    contrast = judged[blocks].mean() - judged[~blocks].mean()
    asked = world == step.CHANGED or (world == step.KEPT and state == "after")
    assert contrast == pytest.approx(over if asked else 0)


# --- the rates -----------------------------------------------------------------------------------


def test_every_cell_is_there_and_adds_up(rates: pd.DataFrame) -> None:
    cells = sum(len(effects) for *_, effects in step.CASES) * len(step.REPLICATES)
    assert len(rates) == cells * len(step.SPREADS) * len(step.RULES)
    shares = rates[list(step.SHARES.values())]
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert list(step.SHARES) == list(VERDICTS)
    assert (rates["low"] <= rates["wrong"]).all() and (rates["wrong"] <= rates["high"]).all()
    assert set(rates["replicates"]) == {3, 5, 8}
    assert {0, 1, 2, 3.3} <= set(rates.loc[~rates["observed"], "seed_sd"])


def test_a_false_claim_is_rarely_called_true_and_a_true_one_found(rates: pd.DataFrame) -> None:
    nothing = rates[rates["effect"] == 0]
    assert nothing.groupby(["world", "rule"])["wrong"].mean().max() <= 0.04
    assert nothing.groupby("replicates")["wrong"].mean().max() <= 0.04
    largest = rates[(rates["effect"] == 5) & (rates["seed_sd"] == 0)]
    assert (largest["reproduced"] > 0.9).all() and (largest["wrong"] == 0).all()
    # Trainings that differ make a verdict rarer, not wronger.
    found = rates[(rates["effect"] == 2) & ~rates["observed"] & (rates["replicates"] == 3)]
    by = found.groupby("seed_sd")[["reproduced", "wrong"]].mean()
    assert by["reproduced"].is_monotonic_decreasing and by["wrong"].max() < 0.05


def test_wrong_is_what_denies_the_truth(rates: pd.DataFrame) -> None:
    by = dict(iter(rates.groupby("claim")))
    assert set(by) == {"false", "negligible", "true"}
    false, small, true = by["false"], by["negligible"], by["true"]
    np.testing.assert_allclose(false["wrong"], false["reproduced"] + false["negligible"])
    np.testing.assert_allclose(small["wrong"], small["reproduced"])
    np.testing.assert_allclose(true["wrong"], true["negligible"] + true["not_reproduced"])


def test_a_bad_rule_is_seen_to_be_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def signs(estimate: Any, *_: Any, **__: Any) -> dict[str, Any]:
        return {"verdict": REPRODUCED if estimate.value > 0 else NOT, "p": estimate.p}

    monkeypatch.setattr(signatures, "judged", signs)
    of = items()
    found = pd.read_csv(run(tmp_path / "a", of, tables(of, 0.2), studies=20))
    own = found[(found["effect"] == 0) & (found["rule"] == "window")]
    assert own["wrong"].mean() == pytest.approx(0.5, abs=0.1)


def test_equal_inputs_give_equal_bytes(tmp_path: Path) -> None:
    of = items(12)
    first, again = (run(tmp_path / name, of, tables(of, 0.2), studies=3) for name in "ab")
    assert first.read_bytes() == again.read_bytes()
    other = run(tmp_path / "c", of, tables(of, 0.2), studies=4)
    assert first.read_bytes() != other.read_bytes()


def test_what_cannot_be_simulated(tmp_path: Path) -> None:
    of = items(12)
    with pytest.raises(DataError, match="pair by pair"):
        run(tmp_path / "a", of.assign(pair=None), tables(of, 0.2))
    with pytest.raises(DataError, match="untrained base 'dirty'"):
        run(tmp_path / "b", of, [table.assign(base="other") for table in tables(of, 0.2)])
    # Without a margin there are no effects in margins, and nothing is true.
    found = pd.read_csv(run(tmp_path / "c", of, tables(of, 0.2), margin_share=0.0, studies=2))
    assert set(found["effect"]) == {0.0}
