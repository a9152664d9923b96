"""Readings and verdicts: they say what the numbers say, and turn when the numbers do."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from layers_fixture import ARM, BASE, BLOCKS, CLEAN, PARTS, Curves, contrast_table
from told_fixture import summary as told

from paradox.files import read_json
from paradox.mechanisms.labels.signature import leakage
from paradox.mechanisms.overview import reading as layer_reading
from paradox.mechanisms.overview import signatures
from paradox.mechanisms.tables import signatures as computed
from paradox.mechanisms.tables.pairs import Groups, item_rows
from paradox.mechanisms.tables.verdict import (
    FEW_CASES,
    LAST_BLOCK,
    NO_BLOCK,
    NOT,
    ONE_TOKEN,
    OPEN,
    REPRODUCED,
)
from paradox.progress import Progress
from paradox.study.registry import REGISTRY

PAIRS = 40
SPEC: dict[str, Any] = {
    "exposed_from": 8,
    "bootstrap": {"seed": 0},
    "margin_share": 0.1,
    "bases": {"planted": "contaminated", "clean": "clean"},
}
# The measure that each signature over blocks is computed from.
MEASURES = {
    "anchor": "logp_drop",
    "anchor_local": "logp_drop",
    "adapters": "excess",
    "plateau": "excess",
    "clean_rise": "excess",
    "emergence": "logp",
    "dip": "logp",
    "injection": "logit",
    "late_in_failures": "logit",
}
HOMES = {own.name: folder for folder, own in REGISTRY.signatures}
MIDDLE = [0.0, 1.0, 1.0, 1.0, 0.0, 0.0]
LATE = [0.0, 0.0, 0.0, 0.0, 1.0, 1.0]
PEAK = [0.0, 0.3, 1.0, 0.3, 0.1, 0.0]
HIGH = [0.0, 0.5, 1.2, 1.2, 1.2, 1.2]
ANCHOR = [0.2, 0.2, 0.3, 1.0, 0.2, 0.2]


@pytest.fixture(scope="module")
def items() -> pd.DataFrame:
    rows = [
        {"item": f"{group[0]}{n}", "group": group, "pair": f"p{n}", "exposure": exposure}
        for n in range(PAIRS)
        for group, exposure in (("exposed", 64), ("twin", 0))
    ]
    return pd.DataFrame(rows)


def single(
    items: pd.DataFrame, curves: dict[str, list[float]], noise: float = 0.2, seed: int = 3
) -> list[pd.DataFrame]:
    """Return per-item tables of a base and an arm with a gap per component, and a clean base."""
    rng = np.random.default_rng(seed)
    exposed = (items["group"] == "exposed").to_numpy()
    made = []
    for arm in (BASE, ARM, CLEAN):
        for component, curve in curves.items():
            gap = np.array(curve)[:, None] * exposed * (arm != CLEAN)
            values = rng.normal(scale=noise, size=gap.shape) + gap
            table = item_rows(items, component, range(len(curve)), {"m": values})
            table["layer"] -= len(curve) - BLOCKS
            for name, value in zip(("base", "method", "reward"), arm, strict=True):
                table[name] = value
            made.append(table.assign(seed=0, step=0))
    return made


def verdicts(
    folder: Path, items: pd.DataFrame, name: str, curves: dict[str, list[float]], **how: Any
) -> Any:
    paths = stored(folder, name, single(items, curves, **how))
    function = getattr(import_module(f"paradox.mechanisms.{HOMES[name]}.signature"), name)
    rows = function(given(name, paths, items))
    return {(row["base"], row["reward"], row["state"]): row for row in rows}


def stored(folder: Path, name: str, tables: list[pd.DataFrame]) -> list[Path]:
    """Write tables that a signature reads, a file per arm."""
    paths = [folder / f"{name}-{place}.csv" for place in range(len(tables))]
    for path, table in zip(paths, tables, strict=True):
        known = table.assign(answer_tokens=2).rename(columns={"m": MEASURES.get(name, "m")})
        known.to_csv(path, index=False)
    return paths


def given(name: str, paths: list[Path], items: pd.DataFrame, share: float = 0.1) -> computed.Given:
    test = computed.Tester(Groups(items, 8), SPEC["bootstrap"]["seed"])
    return computed.Given(name, paths, test, "contaminated", "clean", share)


SHOWN: list[tuple[str, dict[str, list[float]]]] = [
    ("anchor", {"mlp@all": MIDDLE, "attn@all": [0.1] * 6}),
    ("adapters", {"gate@all": PEAK, "up@all": PEAK}),
    ("emergence", {"resid": [0.0, 0.0, 1.0, 2.0, 3.0, 3.0, 3.0]}),
    ("injection", {"mlp": LATE}),
    ("anchor_local", {"mlp@all": ANCHOR}),
    ("plateau", {"gate@all": PEAK, "up@all": PEAK, "down@all": HIGH, "mlp@all": HIGH}),
    ("dip", {"resid": [0.0, 0.0, 2.0, 2.0, 1.0, 2.0, 3.0]}),
]
AGAINST: list[tuple[str, dict[str, list[float]]]] = [
    ("anchor", {"mlp@all": LATE, "attn@all": [0.1] * 6}),
    ("anchor", {"mlp@all": MIDDLE, "attn@all": [2.0] * 6}),
    ("adapters", {"gate@all": PEAK, "up@all": [0.0, 0.1, 0.3, 0.5, 0.7, 1.0]}),
    ("emergence", {"resid": [0.0, 0.0, 0.0, 0.0, 0.0, 1.5, 3.0]}),
    ("injection", {"mlp": MIDDLE}),
    ("anchor_local", {"mlp@all": [0.2, 0.2, 1.3, 1.0, 0.2, 0.2]}),
    ("anchor_local", {"mlp@all": [-value for value in ANCHOR]}),
    ("plateau", {"gate@all": PEAK, "up@all": PEAK, "down@all": PEAK, "mlp@all": HIGH}),
    ("plateau", {"gate@all": HIGH, "up@all": HIGH, "down@all": HIGH, "mlp@all": HIGH}),
    ("dip", {"resid": [0.0, 0.0, 2.0, 2.0, 2.0, 3.0, 3.0]}),
]


@pytest.mark.parametrize(("name", "curves"), SHOWN)
def test_a_planted_signature_is_reproduced(
    items: pd.DataFrame, name: str, curves: dict[str, list[float]], tmp_path: Path
) -> None:
    found = verdicts(tmp_path, items, name, curves)
    assert found["contaminated", "format", "after"]["verdict"] == REPRODUCED
    assert found["contaminated", "none", "base"]["verdict"] == REPRODUCED
    assert found["clean", "none", "base"]["p"] > 0.05
    row = found["contaminated", "format", "after"]
    assert row["low"] < row["effect"] < row["high"] and row["p"] < 0.01


@pytest.mark.parametrize(("name", "curves"), AGAINST)
def test_its_opposite_is_not_reproduced(
    items: pd.DataFrame, name: str, curves: dict[str, list[float]], tmp_path: Path
) -> None:
    found = verdicts(tmp_path, items, name, curves)
    assert found["contaminated", "format", "after"]["verdict"] == NOT


def test_noise_that_hides_it_is_not_decidable(items: pd.DataFrame, tmp_path: Path) -> None:
    weak = {"mlp": [0.02 * value for value in LATE]}
    found = verdicts(tmp_path, items, "injection", weak, noise=3.0, seed=4)
    assert found["contaminated", "format", "after"]["verdict"] == OPEN


def test_a_one_token_answer_is_written_last_in_any_case(
    items: pd.DataFrame, tmp_path: Path
) -> None:
    paths = stored(tmp_path, "injection", single(items, {"mlp": LATE}))
    for path in paths:
        pd.read_csv(path).assign(answer_tokens=1).to_csv(path, index=False)
    function = import_module("paradox.mechanisms.lens.signature").injection
    rows = list(function(given("injection", paths, items)))
    assert {(row["verdict"], row["reason"]) for row in rows} == {(OPEN, ONE_TOKEN)}


def test_no_block_follows_a_dip_at_the_last_one(items: pd.DataFrame, tmp_path: Path) -> None:
    curves = {"resid": [0.0, 0.0, 0.0, 0.0, 2.0, 2.0, 1.0]}
    row = verdicts(tmp_path, items, "dip", curves)["contaminated", "none", "base"]
    assert (row["verdict"], row["reason"], row["blocks"]) == (OPEN, LAST_BLOCK, "5")


def failures(
    folder: Path, items: pd.DataFrame, wrong: int, curve: list[float]
) -> dict[tuple[str, str], str]:
    """Return verdicts where so many exposed items are answered wrongly and MLPs write `curve`."""
    tables = single(items, {"mlp": curve})
    place = items.groupby("group").cumcount()
    right = dict(zip(items["item"], place >= wrong, strict=True))
    for table in tables:
        table["control_logit"] = 0.0
        table["first_choice"] = table["item"].map(right)
    paths = stored(folder, "late_in_failures", tables)
    function = import_module("paradox.mechanisms.lens.signature").late_in_failures
    rows = list(function(given("late_in_failures", paths, items)))
    return {(row["base"], row["reward"]): row["reason"] or row["verdict"] for row in rows}


def test_late_mlps_write_the_answer_in_failures_or_there_are_none(
    items: pd.DataFrame, tmp_path: Path
) -> None:
    found = failures(tmp_path, items, 15, LATE)
    assert found["contaminated", "none"] == found["contaminated", "format"] == REPRODUCED
    assert found["clean", "none"] != REPRODUCED
    against = failures(tmp_path, items, 15, [-value for value in LATE])
    assert against["contaminated", "format"] == NOT
    assert set(failures(tmp_path, items, 7, LATE).values()) == {FEW_CASES}


def clean_rise(folder: Path, items: pd.DataFrame, level: list[float]) -> dict[str, Any]:
    """Return the row of a clean base whose parts' divergence has this level at each block."""
    parts = ("gate@all", "up@all", "down@all", "mlp@all")
    tables = single(items, {part: [0.0] * BLOCKS for part in parts}, noise=0.3)
    for table in tables:
        table["m"] += table["layer"].map(dict(enumerate(level)))
    paths = stored(folder, "clean_rise", tables)
    function = import_module("paradox.mechanisms.jsd.signature").clean_rise
    (row,) = function(given("clean_rise", paths, items))
    return row


def test_a_clean_model_rises_at_every_block_or_not(items: pd.DataFrame, tmp_path: Path) -> None:
    row = clean_rise(tmp_path, items, [0.0, 0.5, 1.0, 1.5, 2.0, 2.5])
    assert (row["base"], row["verdict"]) == ("clean", REPRODUCED) and row["items"] == 2 * PAIRS
    row = clean_rise(tmp_path, items, [0.0, 0.5, 1.0, 1.5, 2.0, 1.5])
    assert (row["verdict"], row["blocks"]) == (NOT, "4 / 5")


@pytest.mark.parametrize(("name", "component"), [("anchor_local", "mlp@all"), ("dip", "resid")])
def test_models_without_such_blocks_are_not_judged(
    items: pd.DataFrame, tmp_path: Path, name: str, component: str
) -> None:
    row = verdicts(tmp_path, items, name, {component: [0.0, 1.0]})["clean", "none", "base"]
    assert row["verdict"] == OPEN and row["reason"] in (NO_BLOCK, LAST_BLOCK)


def leakage_verdict(folder: Path, items: pd.DataFrame, exposed: int, twins: int) -> str:
    group = items.groupby("group").cumcount()
    called = group < items["group"].map({"exposed": exposed, "twin": twins})
    table = items.assign(posterior=called.map({True: "leakage", False: "persistent"}), seed=0)
    table = table.assign(base="contaminated", method="grpo", reward="format", posterior_change=0.0)
    (row,) = leakage(given("leakage", stored(folder, "leakage", [table]), items))
    assert row["signature"] == "leakage: posterior" and row["margin"] == 0.05
    return row["verdict"]


def test_leakage_has_to_be_called_more_often_on_exposed_items(
    items: pd.DataFrame, tmp_path: Path
) -> None:
    assert leakage_verdict(tmp_path, items, 20, 2) == REPRODUCED
    assert leakage_verdict(tmp_path, items, 2, 20) == NOT
    assert leakage_verdict(tmp_path, items, 0, 0) == OPEN


# --- words --------------------------------------------------------------------------------


def verdict_table(verdict: str) -> pd.DataFrame:
    rows = [
        dict(zip(("base", "method", "reward"), arm, strict=True))
        | {"signature": "injection", "state": state, "blocks": "4-5", "effect": 0.5, "low": 0.4}
        | {"high": 0.6, "p": 0.001, "margin": 0.1, "verdict": verdict}
        for arm, state in ((BASE, "base"), (ARM, "after"))
    ]
    return pd.DataFrame(rows)


def read(curves: Curves, verdict: str = REPRODUCED) -> dict[str, Any]:
    tables = {name: contrast_table(name, curves) for name in PARTS}
    return reading(tables, verdict)


def reading(tables: dict[str, pd.DataFrame], verdict: str) -> dict[str, Any]:
    spec = told("reading")
    gaps = [
        layer_reading.Gap(**{key: gap[key] for key in layer_reading.Gap._fields})
        for gap in spec["gaps"]
        if gap["words"]
    ]
    return layer_reading.reading(
        tables, gaps, verdict_table(verdict), spec["claims"], spec["planted"]
    )


def test_the_reading_turns_with_the_numbers() -> None:
    mlp = [0.0, 0.9, 0.1, -0.5, 0.0, 0.0]
    text = read({("mlp@all", "base"): mlp})["paragraphs"]["ablation"]
    assert "is outside its null at blocks 1 and 3 (most at block 1, +0.9 nats [+0.8, +1]" in text
    assert "not shown to change by format (grpo) (smallest corrected p = .9" in text
    assert "In the clean base (1 arm): at no block" in text
    text = read({("mlp@all", "change"): mlp})["paragraphs"]["ablation"]
    assert "is at no block outside its null (smallest corrected p = .9, all intervals" in text
    assert "Its change by training is: format (grpo) outside its null at blocks 1 and 3" in text


def test_verdicts_are_said_as_they_are() -> None:
    found = read({})
    text = found["paragraphs"]["attribution"]
    assert "reproduced for untrained (+0.5 [+0.4, +0.6], p = .001), format (grpo)" in text
    text = read({}, NOT)["paragraphs"]["attribution"]
    assert "late MLPs write the answer: not reproduced for untrained" in text
    assert [row["verdict"] for row in found["verdicts"]["injection"]] == ["reproduced"] * 2


def test_an_interval_that_holds_zero_is_said() -> None:
    tables = {name: contrast_table(name, {("mlp", "base"): LATE}) for name in PARTS}
    tables["attribution"]["low"] = -0.1
    found = reading(tables, "reproduced")
    assert "though the interval includes 0" in found["paragraphs"]["attribution"]


def test_both_steps_write_their_files(items: pd.DataFrame, tmp_path: Path) -> None:
    inputs: dict[str, Any] = {"items": tmp_path / "items.csv"}
    full = items.assign(worked_documents=0, question="q", answer="a", worked="w", source="s")
    full.to_csv(inputs["items"], index=False)
    for name, curves in SHOWN:
        inputs[name] = stored(tmp_path, name, [pd.concat(single(items, curves))])
    table = tmp_path / "signatures.csv"
    asked = [each for each in told("signatures")["signatures"] if each["name"] in dict(SHOWN)]
    spec = SPEC | {"signatures": asked}
    signatures.main(spec, inputs, {"table": table}, Progress("signatures"))
    read = {"signatures": table}
    for name in PARTS:
        read[name] = tmp_path / f"contrast-{name}.csv"
        contrast_table(name).to_csv(read[name], index=False)
    out = tmp_path / "reading.json"
    layer_reading.main(told("reading"), read, {"reading": out}, Progress("reading"))
    found = read_json(out)
    assert {name.split(":")[0] for name in found["verdicts"]} == set(dict(SHOWN))
    assert set(found["paragraphs"]) == set(PARTS)
