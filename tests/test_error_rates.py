"""The table of rates, from per-item tables whose content is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from told_fixture import summary

from paradox.errors import DataError
from paradox.mechanisms.overview import error_rates as step
from paradox.mechanisms.tables.pairs import item_rows
from paradox.progress import Progress

PAIRS, LAYERS = 40, 3
ARM = ["base", "method", "reward", "seed"]


@pytest.fixture(scope="module")
def items() -> pd.DataFrame:
    rows = [
        {"item": f"{group[0]}{n}", "group": group, "pair": f"p{n}", "exposure": exposure}
        for n in range(PAIRS)
        for group, exposure in (("exposed", 8 if n < 20 else 64), ("twin", 0))
    ]
    text = dict.fromkeys(("question", "answer", "worked", "source"), "x")
    return pd.DataFrame(rows).assign(worked_documents=0, **text)


def layers(items: pd.DataFrame, arm: tuple[Any, ...], effect: float) -> pd.DataFrame:
    values = np.random.default_rng(sum(map(ord, arm[0] + arm[2])) + arm[3]).normal(
        size=(LAYERS, len(items))
    )
    values[1] += effect * (items["exposure"] == 64).to_numpy()
    table = item_rows(items, "mlp", range(LAYERS), {"drop": values})
    return table.assign(**dict(zip(ARM, arm, strict=True)), step=0)


def labels(items: pd.DataFrame, arm: tuple[Any, ...], share: float) -> pd.DataFrame:
    chosen = np.random.default_rng(arm[3]).random(len(items)) < share
    called = np.where(chosen & (items["group"] == "exposed"), "leakage", "stable")
    table = items[["item"]].assign(posterior=called, posterior_change=0.0)
    return table.assign(**dict(zip(ARM, arm, strict=True)))


def partial(items: pd.DataFrame, arm: tuple[Any, ...]) -> pd.DataFrame:
    values = np.random.default_rng(7).normal(size=len(items))
    values += 4 * (items["exposure"] == 64)
    table = items[["item"]].assign(ratio=0.5, nll=values, same=1.0)
    # A question too short to be cut has no row.
    return table.assign(**dict(zip(ARM, arm, strict=True)))[1:]


def probes(arm: tuple[Any, ...]) -> pd.DataFrame:
    row = {"component": "answer", "measure": "ridge_auc", "state": "base"}
    row |= {"runs": 100, **dict(zip(ARM, arm, strict=True))}
    of = [("false_positive", None, 20, 20), ("power", 64, 16, 70)]
    named = ("kind", "exposure", "pairs", "rejected")
    return pd.DataFrame([row | dict(zip(named, one, strict=True)) for one in of])


def as_told(name: str) -> dict[str, Any]:
    """Return how a test's rates are counted, as the step is told."""
    (told,) = [each for each in summary("error_rates")["tested"] if each["name"] == name]
    return told


BASES = [("dirty", "base", "none", 0), ("clean", "base", "none", 0)]
ARMS = [("dirty", "grpo", "format", seed) for seed in (0, 1)]


@pytest.fixture(scope="module")
def made(
    items: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any], dict[str, Any]]:
    folder = tmp_path_factory.mktemp("rates")
    tables = {
        "ablation": [layers(items, a, 3.0 * (a[0] == "dirty")) for a in (*BASES, *ARMS)],
        "labels": [labels(items, arm, 0.8) for arm in ARMS],
        "partial_prompts": [partial(items, arm) for arm in BASES[:1]],
        "probes": [probes(arm) for arm in BASES],
    }
    inputs: dict[str, Any] = {"items": folder / "items.csv"}
    items.to_csv(inputs["items"], index=False)
    for name, of in tables.items():
        inputs[name] = [folder / f"{name}-{n}.csv" for n in range(len(of))]
        for path, table in zip(inputs[name], of, strict=True):
            table.to_csv(path, index=False)
    own = {"relabellings": 200, "permutations": 59, "exposures": [8, 64], "sizes": [6]}
    spec = {
        "tested": [
            {"name": "ablation", "how": "layers", "measures": ["drop"], "module": None},
            as_told("partial_prompts") | {"measures": ["nll", "same"]},
            as_told("labels"),
            as_told("probes"),
        ],
        "exposed_from": 64,
        "bootstrap": {"seed": 0, "resamples": 200},
        "bases": {"planted": "dirty", "clean": "clean"},
        "error_rates": {**own, "margin_share": 0.5},
    }
    outputs = {name: folder / f"{name}.csv" for name in ("rates", "equivalence")}
    step.main(spec, inputs, outputs, Progress("error_rates"))
    return *(pd.read_csv(outputs[name]) for name in outputs), spec, inputs


def test_no_good_test_is_liberal(made: Any) -> None:
    false = made[0][made[0]["kind"] == "false_positive"].set_index("analysis")
    # Made up: 20 of 100 are too many, and the table says so.
    assert (false.loc["probes", "verdict"] == "liberal").all()
    sound = false.drop("probes")
    assert (sound["low"] < 0.06).all() and (sound["verdict"] != "liberal").mean() > 0.8
    whole = sound[sound["component"] == "all"]
    assert (whole["verdict"] != "liberal").all() and whole.loc["ablation", "runs"] == 800
    # A measure that is equal everywhere cannot be tested.
    assert set(false.loc["partial_prompts", "measure"]) == {"nll", "all"}


def test_power_is_that_of_the_planted_base(made: Any) -> None:
    found = made[0][made[0]["kind"] == "power"]
    assert set(found["base"]) == {"dirty"} and found["verdict"].isna().all()
    cells = found.set_index(["analysis", "state", "exposure", "pairs"])["rate"]
    for analysis, state in (("ablation", "base"), ("ablation", "after"), ("labels", "change")):
        assert cells[analysis, state, 64, 20] > 0.9
    assert cells["ablation", "base", 64, 20] >= cells["ablation", "base", 64, 6]
    assert cells["partial_prompts", "base", 64, 20] > 0.9
    # Nothing was planted in the pairs of 8 exposures, and in the change since the base.
    assert cells["ablation", "change", 64, 6] < 0.5
    assert cells["probes", "base", 64, 16] == 0.7
    seeds = found[found["analysis"] == "labels"]
    assert (seeds["runs"] == 400).all()  # two seeds of one arm


def test_equivalence_is_about_the_clean_base(made: Any) -> None:
    (row,) = made[1].to_dict("records")
    assert (row["base"], row["state"], row["pairs"]) == ("clean", "base", 20)
    assert row["margin"] == pytest.approx(row["effect"] / 2) and 2 < row["effect"] < 4
    assert row["equivalent"] == (row["smallest"] < row["margin"]) and row["equivalent"]
    assert -row["smallest"] <= row["low"] <= row["high"] <= row["smallest"]


def test_a_narrow_margin_is_not_met(made: Any, tmp_path: Path) -> None:
    _, _, spec, inputs = made
    narrow = {**spec, "error_rates": {**spec["error_rates"], "margin_share": 0.02}}
    outputs = {name: tmp_path / f"{name}.csv" for name in ("rates", "equivalence")}
    narrow |= {"tested": spec["tested"][:1]}
    only = {name: inputs[name] for name in ("items", "ablation")}
    step.main(narrow, only, outputs, Progress("error_rates"))
    found = pd.read_csv(outputs["equivalence"])
    assert not found["equivalent"].any() and (found["p"] > 0.05).all()


def test_items_without_pairs_are_refused(made: Any, items: pd.DataFrame, tmp_path: Path) -> None:
    _, _, spec, inputs = made
    outputs = {name: tmp_path / f"{name}.csv" for name in ("rates", "equivalence")}
    alone = tmp_path / "items.csv"
    items.assign(pair=None).to_csv(alone, index=False)
    with pytest.raises(DataError, match="no pairs"):
        step.main(spec, {**inputs, "items": alone}, outputs, Progress("error_rates"))
    wrong = {**spec, "error_rates": {**spec["error_rates"], "exposures": [9]}}
    with pytest.raises(DataError, match=r"no exposed item has \[9\]"):
        step.main(wrong, inputs, outputs, Progress("error_rates"))
