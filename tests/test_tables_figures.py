"""Tables and figures on a synthetic study with planted effects."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from study_fixture import SPEC, SUBSETS, table_paths, write_study

from paradox.errors import ConfigError, DataError
from paradox.evaluate import tables
from paradox.figures import style
from paradox.figures.behaviour import change, draw
from paradox.files import read_json
from paradox.progress import Progress
from paradox.report import numbers as words

ROOT = Path(__file__).parents[1]
QUIET = Progress("test", streams=(open("/dev/null", "w"),))
INJECTION = "<script>alert('x')</script>"


def make_tables(folder: Path, **study: Any) -> dict[str, Path]:
    outputs = table_paths(folder / "tables")
    tables.main(SPEC, write_study(folder / "in", **study), outputs, QUIET)
    return outputs


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_tables(tmp_path_factory.mktemp("whole"))


def draw_all(made: dict[str, Path], folder: Path) -> list[Path]:
    for name in draw.FIGURES:
        outputs = {end: folder / f"{name}.{end}" for end in ("svg", "png", "csv")}
        draw.main({"figure": name}, made, outputs, QUIET)
    return [folder / f"{name}.svg" for name in draw.FIGURES]


# --- tables -------------------------------------------------------------------------------


def did_row(made: dict[str, Path], base: str, reward: str) -> pd.Series:
    did = pd.read_csv(made["did"])
    rows = did[(did["base"] == base) & (did["reward"] == reward) & (did["seed"] == "all")]
    assert len(rows) == 1
    return rows.iloc[0]


def test_planted_did_is_recovered(whole: dict[str, Path]) -> None:
    row = did_row(whole, "contaminated", "format")
    assert row["did_low"] < 0.45 < row["did_high"]
    assert row["exposed_gain_low"] < 0.25 < row["exposed_gain_high"]
    assert row["twin_gain_low"] < -0.20 < row["twin_gain_high"]
    assert row["clear_of_zero"] and row["minus_ground_truth_clear"] and row["minus_clean_clear"]
    assert not row["equivalent"]
    assert row["minus_clean_low"] < 0.45 < row["minus_clean_high"]


def test_null_holds_zero_and_unchanged_arms_are_equivalent(whole: dict[str, Path]) -> None:
    truth, clean = (did_row(whole, *arm) for arm in (ARM_TRUTH, ("clean", "format")))
    for row in (truth, clean):
        assert row["did_low"] < 0 < row["did_high"]
        assert not row["clear_of_zero"]
    constant = did_row(whole, "contaminated", "constant")
    assert constant[["did", "did_low", "did_high"]].eq(0).all()
    assert constant["equivalent"]


ARM_TRUTH = ("contaminated", "ground_truth")


def test_weakly_exposed_items_do_not_count_as_exposed(whole: dict[str, Path]) -> None:
    accuracy = pd.read_csv(whole["accuracy"])
    rows = accuracy[(accuracy["base"] == "contaminated") & (accuracy["method"] == "base")]
    rows = rows[rows["seed"] == "all"].set_index("level")["accuracy"]
    assert rows["exposed"] == pytest.approx((rows["128"] + rows["512"]) / 2)
    assert rows["8"] < 0.5 < rows["128"]


def test_perplexity_change_and_its_did(whole: dict[str, Path]) -> None:
    table = pd.read_csv(whole["perplexity"])
    chosen = table[
        (table["base"] == "contaminated")
        & (table["reward"] == "format")
        & (table["seed"] == "all")
        & (table["step"] == 45)
        & (table["group"] == "difference")
    ].set_index(["quantity", "measure"])
    for quantity in ("recall", "gap"):
        for measure in ("change", "minus_ground_truth"):
            row = chosen.loc[quantity, measure]
            assert row["low"] < -0.5 < row["high"], (quantity, measure)
    assert chosen.loc["prompt", "change"]["high"] < 0.05


def test_base_table_bounds_chance(whole: dict[str, Path]) -> None:
    base = pd.read_csv(whole["base"]).set_index(["base", "level"])
    assert base.loc[("contaminated", "exposed"), "recall_answer"] == 1
    assert base.loc[("contaminated", "exposed"), "recall_answer_high"] == 1
    twin = base.loc[("contaminated", "twin")]
    assert twin["chance_low"] < SPEC["chance"] < twin["chance_high"]


def test_trainings_that_differ_widen_the_interval(tmp_path: Path) -> None:
    """Of one training the interval is about other items only; three that differ say little more."""
    inputs = write_study(tmp_path / "in", bases=("contaminated",), rewards=("format",))
    for path in inputs["evaluations"][1:]:
        table = pd.read_csv(path)
        shift = {0: 0, 1: 2, 2: 4}[table["seed"].iloc[0]]
        exposed = table["item"].str.startswith("e")
        table.loc[exposed, "correct"] = (table["correct"] - shift).clip(lower=0)
        table.to_csv(path, index=False)
    outputs = table_paths(tmp_path)
    tables.main(SPEC, inputs, outputs, QUIET)
    did = pd.read_csv(outputs["did"]).set_index("seed")
    width = did["did_high"] - did["did_low"]
    assert width["all"] > 2 * width["0"]
    assert did["replicates"].to_dict() == {"0": 1, "1": 1, "2": 1, "all": 3}
    for row in did.to_dict("records"):
        assert row["clear_of_zero"] == (row["did_low"] > 0 or row["did_high"] < 0)
        assert row["equivalent"] == (row["equivalence_p"] <= 0.05)
        assert row["did_low"] < row["equivalence_low"] < row["equivalence_high"] < row["did_high"]


def test_greedy_accuracy_stands_beside_the_sampled_one(whole: dict[str, Path]) -> None:
    summary, accuracy = read_json(whole["summary"]), pd.read_csv(whole["accuracy"])
    accuracy = accuracy[(accuracy["base"] == "contaminated") & (accuracy["seed"] == "all")]
    accuracy = accuracy[accuracy["step"].isin([0, 45])].set_index(["reward", "level"])["greedy"]
    row, name = did_row(whole, "contaminated", "format"), "contaminated/format"
    for group in ("exposed", "twin"):
        gain = accuracy["format", group] - accuracy["none", group]
        assert row[f"greedy_{group}_gain"] == pytest.approx(gain)
        assert summary[f"greedy_gain_{group}/{name}"]["value"] == pytest.approx(gain)
    room = 1 - accuracy["none", "exposed"]
    assert row["greedy_room"] == summary[f"greedy_room/{name}"]["value"] == pytest.approx(room)
    assert row["greedy_exposed_gain"] <= room
    assert row["greedy_did_low"] <= row["greedy_did"] <= row["greedy_did_high"]


def test_summary_agrees_with_the_tables(whole: dict[str, Path]) -> None:
    summary = read_json(whole["summary"])
    row = did_row(whole, "contaminated", "format")
    entry = summary["did/contaminated/format"]
    assert (entry["value"], entry["low"]) == (row["did"], row["did_low"])
    assert entry["n"] == row["items_exposed"] + row["items_twin"]
    assert "minus_ground_truth/contaminated/ground_truth" not in summary
    assert all(set(entry) == {"value", "low", "high", "n"} for entry in summary.values())


def test_tables_are_reproducible(whole: dict[str, Path], tmp_path: Path) -> None:
    again = make_tables(tmp_path)
    for name, path in whole.items():
        assert path.read_bytes() == again[name].read_bytes(), name


@pytest.mark.parametrize("study", SUBSETS.values(), ids=SUBSETS)
def test_any_subset_gives_tables_and_figures(study: dict[str, Any], tmp_path: Path) -> None:
    made = make_tables(tmp_path, **study)
    draw_all(made, tmp_path)
    did = pd.read_csv(made["did"])
    assert did["did"].notna().all() == study.get("twins", True)
    assert did["exposed_gain"].notna().all()


def test_missing_worked_solutions_leave_the_other_quantities(tmp_path: Path) -> None:
    inputs = write_study(tmp_path / "in", rewards=("format",))
    for path in inputs["nlls"]:
        table = pd.read_csv(path)
        table.loc[table["item"].str.startswith("t"), ["reason_nll", "chain_nll"]] = None
        table.to_csv(path, index=False)
    outputs = table_paths(tmp_path)
    tables.main(SPEC, inputs, outputs, QUIET)
    found = pd.read_csv(outputs["perplexity"]).groupby("quantity")["group"].unique()
    assert set(found["prompt"]) == {"exposed", "twin", "difference"}
    assert set(found["chain"]) == {"exposed"}


def edit(path: Path, change: Any) -> None:
    change(pd.read_csv(path)).to_csv(path, index=False)


def test_results_that_do_not_fit_together_are_named(tmp_path: Path) -> None:
    inputs = write_study(tmp_path / "in", rewards=("format",))
    edit(inputs["evaluations"][1], lambda table: table.iloc[1:])
    with pytest.raises(DataError, match=r"contaminated/grpo/format/s0 step 15: found 143 rows"):
        tables.main(SPEC, inputs, table_paths(tmp_path), QUIET)
    inputs = write_study(tmp_path / "in", rewards=("format",))
    edit(inputs["nlls"][2], lambda table: table.assign(prompt_nll=float("inf")))
    with pytest.raises(DataError, match="'prompt_nll' has 288 fields that are not finite"):
        tables.main(SPEC, inputs, table_paths(tmp_path), QUIET)
    inputs = write_study(tmp_path / "in", rewards=("format",))
    inputs["evaluations"] = inputs["evaluations"][1:]
    with pytest.raises(DataError, match="contaminated/base/none/s0 with step 0 is missing"):
        tables.main(SPEC, inputs, table_paths(tmp_path), QUIET)


def test_a_threshold_above_every_exposure_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="exposed_from = 1000"):
        inputs = write_study(tmp_path / "in")
        tables.main(SPEC | {"exposed_from": 1000}, inputs, table_paths(tmp_path), QUIET)


# --- figures ------------------------------------------------------------------------------


def test_figures_are_byte_identical(whole: dict[str, Path], tmp_path: Path) -> None:
    draw_all(whole, tmp_path / "a")
    draw_all(whole, tmp_path / "b")
    files = sorted((tmp_path / "a").iterdir())
    assert len(files) == 3 * len(draw.FIGURES)
    for file in files:
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name
    text = (tmp_path / "a" / "accuracy.svg").read_text()
    ElementTree.fromstring(text)
    assert "<dc:date>" not in text


def test_a_figure_shows_the_numbers_beside_it(whole: dict[str, Path], tmp_path: Path) -> None:
    draw_all(whole, tmp_path)
    shown = pd.read_csv(tmp_path / "accuracy.csv")
    assert set(shown.loc[shown["method"] == "grpo", "step"]) == {45}
    assert set(shown["level"].astype(str)) == {"twin", "8", "128", "512"}
    row = shown[(shown["base"] == "clean") & (shown["reward"] == "format")].iloc[0]
    base = shown[(shown["base"] == "clean") & (shown["reward"] == "none")]
    assert row["before"] == base.set_index("level").loc[row["level"], "accuracy"]


def test_an_unknown_figure_is_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'accuracy'"):
        draw.main({"figure": "acuracy"}, {}, {}, QUIET)


# --- words --------------------------------------------------------------------------------


def numbers(did: tuple[float, float, float], test: tuple[float, float, float]) -> words.Numbers:
    def entry(three: tuple[float, float, float]) -> dict[str, Any]:
        return dict(zip(("value", "low", "high"), three, strict=True)) | {"n": 10}

    return words.Numbers(
        {
            "did/b/format": entry(did),
            "gain_exposed/b/format": entry(did),
            "equivalence/b/format": entry(test),
            "design/equivalence_margin": entry((0.1, 0.1, 0.1)),
        }
    )


@pytest.mark.parametrize(
    ("did", "test", "expected"),
    [
        ((0.2, 0.1, 0.3), (1, 0.12, 0.28), "exposed items gain more than twins under format"),
        ((-0.2, -0.3, -0.1), (1, -0.28, -0.12), "gain less than twins under format"),
        ((0.02, -0.05, 0.09), (0.01, -0.04, 0.08), "equivalence test puts format within ±10.0"),
        ((0.02, -0.2, 0.25), (0.3, -0.18, 0.2), "too wide to call the difference smaller"),
        ((0, 0, 0), (0.001, 0, 0), "nothing moves under format"),
    ],
)
def test_words_follow_the_numbers(did: Any, test: Any, expected: str) -> None:
    text = " ".join(words.did_sentences(numbers(did, test), "b"))
    assert expected in text
    assert ("no difference" in text) == (did[1] < 0 < did[2])


# --- figures again ------------------------------------------------------------------------

DRAWN_BY = """
import sys
from pathlib import Path
from paradox.figures.behaviour import draw
from paradox.progress import Progress
tables, folder = Path(sys.argv[1]), Path(sys.argv[2])
made = {path.stem: path for path in tables.iterdir()}
for name in draw.FIGURES:
    outputs = {end: folder / f"{name}.{end}" for end in ("svg", "png", "csv")}
    draw.main({"figure": name}, made, outputs, Progress("test"))
"""


def test_the_change_of_every_arm_is_drawn_as_the_table_says(whole: dict[str, Path]) -> None:
    shown = change.data(whole)
    did = pd.read_csv(whole["did"])
    did = did[did["seed"] == "all"]
    assert len(shown) == len(did) > 0
    both = shown.merge(did, on=["base", "method", "reward"], suffixes=("", "_table"))
    for name in change.PANELS:
        assert (both[name] == both[f"{name}_table"]).all()


def test_several_methods_stand_in_the_order_of_the_literature() -> None:
    rows = [("format", "ppo"), ("format", "grpo"), ("format", "mine"), ("ground_truth", "rloo")]
    table = pd.DataFrame(rows, columns=["reward", "method"])
    assert style.name_order(table) == [
        "Ground truth (rloo)",
        "Format (grpo)",
        "Format (ppo)",
        "Format (mine)",
    ]


def test_figures_do_not_depend_on_the_order_of_sets(whole: dict[str, Path], tmp_path: Path) -> None:
    """Two processes hash texts differently; several rewards are missing on the clean base."""
    tables_folder = next(iter(whole.values())).parent
    for hashing in ("1", "2", "3"):
        subprocess.run(
            [sys.executable, "-c", DRAWN_BY, str(tables_folder), str(tmp_path / hashing)],
            env=os.environ | {"PYTHONHASHSEED": hashing},
            check=True,
            capture_output=True,
        )
    first = {path.name: path.read_bytes() for path in (tmp_path / "1").iterdir()}
    assert len(first) == 3 * len(draw.FIGURES)
    for hashing in ("2", "3"):
        assert {p.name: p.read_bytes() for p in (tmp_path / hashing).iterdir()} == first
