"""The reference: recording, comparing, replaying; what differs first."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from conftest import SMOKE

from paradox.errors import ParadoxError
from paradox.files import read_json, write_json
from paradox.provenance.chain import Chain
from paradox.provenance.compare import differences
from paradox.reference import compare, record, tolerances
from paradox.stats.gaps import table_gaps

RESULTS, REFERENCE = "results/smoke", "reference/smoke"
FORMAT = "runs/contaminated/grpo/format/s0"


def paradox(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(root / "src")}
    command = [sys.executable, "-m", "paradox", *arguments]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)


@pytest.fixture()
def study(recorded: Path, tmp_path: Path) -> Path:
    """A copy of the recorded study, to change."""
    return shutil.copytree(recorded, tmp_path / "study")


@pytest.fixture()
def elsewhere(recorded: Path, tmp_path: Path) -> Chain:
    """The same run as if another kind of processor had made it, with its rounding."""
    folder = shutil.copytree(recorded / RESULTS, tmp_path / RESULTS)
    table = folder / "tables/did.csv"
    rows = pd.read_csv(table)
    rows["did"] += 0.01
    rows.to_csv(table, index=False)
    chain = Chain.load(folder)
    for entry in chain.records.values():
        entry["device"] = "cpu other"
    return chain


# --- recording -----------------------------------------------------------------------------


def test_the_reference_holds_records_tables_and_figures(recorded: Path) -> None:
    folder = recorded / REFERENCE
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {f"{FORMAT}/train.record.json", "tables/summary.json", "figures/accuracy.svg"} <= names
    assert not [name for name in names if name.endswith((".safetensors", ".parquet"))]
    assert len(Chain.load(folder).records) == len(Chain.load(recorded / RESULTS).records)
    assert set(read_json(folder / "tolerances.json")["steps"].values()) == {"bitwise"}
    # Else Snakemake would take what the paper quotes of them for changed.
    path = "tables/did.csv"
    assert (folder / path).stat().st_mtime_ns == (recorded / RESULTS / path).stat().st_mtime_ns


def test_it_is_recorded_from_a_clean_tree_only(study: Path) -> None:
    (study / "src/paradox/new.py").write_text("")
    with pytest.raises(ParadoxError, match=r"clean tree[\s\S]*src/paradox/new.py"):
        record("smoke", study, [])


def test_a_broken_run_is_not_recorded(study: Path) -> None:
    with (study / RESULTS / "tables/did.csv").open("a") as file:
        file.write("\n")
    with pytest.raises(ParadoxError, match=r"tables/did.csv: changed since"):
        record("smoke", study, [])


def test_an_unfinished_run_is_not_recorded(study: Path) -> None:
    shutil.rmtree(study / RESULTS / "reports")
    with pytest.raises(ParadoxError, match="no finished run"):
        record("smoke", study, [])


# --- comparing -----------------------------------------------------------------------------


def test_equal_runs_agree_byte_by_byte(recorded: Path) -> None:
    wrong, said = compare(Chain.load(recorded / REFERENCE), Chain.load(recorded / RESULTS))
    assert wrong == []
    assert "byte by byte" in said[0]


def test_tolerances_are_what_repeated_runs_showed(recorded: Path, elsewhere: Chain) -> None:
    mine = Chain.load(recorded / RESULTS)
    found = tolerances(mine, [mine, elsewhere])
    assert [entry["equal"] == entry["records"] for entry in found["repeats"]] == [True, True]
    did = found["columns"]["tables/did.csv"]
    assert did["did"]["largest"] == pytest.approx(0.01)
    assert did["did"]["allowed"] == pytest.approx(0.03)
    assert did["did_low"]["allowed"] == 0


@pytest.mark.parametrize(("allowed", "agrees"), [(0.03, True), (0.005, False)])
def test_other_devices_are_compared_by_tolerance(
    study: Path, elsewhere: Chain, allowed: float, agrees: bool
) -> None:
    reference = Chain.load(study / REFERENCE)
    found = tolerances(Chain.load(study / RESULTS), [elsewhere])
    found["columns"]["tables/did.csv"]["did"]["allowed"] = allowed
    write_json(study / REFERENCE / "tolerances.json", found)
    wrong, said = compare(reference, elsewhere)
    assert (wrong == []) is agrees
    assert "another device class" in said[0]
    assert agrees or "tables/did.csv: did differs by 0.01, allowed 0.005" in wrong


def test_without_a_measured_tolerance_another_device_cannot_agree(
    recorded: Path, elsewhere: Chain
) -> None:
    wrong, _ = compare(Chain.load(recorded / REFERENCE), elsewhere)
    assert wrong == ["no tolerance was measured for another device class"]


def test_gaps(tmp_path: Path) -> None:
    columns = {"name": ["x", "y"], "value": [1.0, 2.0], "part": [1.0, None], "text": ["p", "q"]}
    pd.DataFrame(columns).to_csv(tmp_path / "a.csv", index=False)
    changed = columns | {"value": [1.0, 2.5], "part": [None, None], "text": ["p", "r"]}
    pd.DataFrame(changed).to_csv(tmp_path / "b.csv", index=False)
    found = table_gaps(tmp_path / "a.csv", tmp_path / "b.csv")
    assert found == {"name": 0, "value": 0.5, "part": float("inf"), "text": float("inf")}
    assert set(table_gaps(tmp_path / "a.csv", tmp_path / "a.csv").values()) == {0}
    pd.DataFrame(columns).head(1).to_csv(tmp_path / "c.csv", index=False)
    assert table_gaps(tmp_path / "a.csv", tmp_path / "c.csv")["value"] == float("inf")
    # As readings and the paper's texts: lists, and what is nested deeper.
    nested = {"text": ["a"], "sentences": {"b": ["x"]}, "tables": {"c": {"rows": [["2"]]}}}
    write_json(tmp_path / "a.json", nested)
    write_json(tmp_path / "b.json", nested | {"sentences": {"b": ["y"]}})
    assert set(table_gaps(tmp_path / "a.json", tmp_path / "a.json").values()) == {0}
    assert float("inf") in table_gaps(tmp_path / "a.json", tmp_path / "b.json").values()


# --- what differs first --------------------------------------------------------------------


def edit(step: str, change: Callable[[dict], object]) -> Callable[[Chain], object]:
    def changed(chain: Chain) -> None:
        for entry in chain.records.values():
            if entry["step"] == step:
                change(entry)

    return changed


def other_weights(entry: dict) -> None:
    entry["outputs"]["manifest"][0]["sha256"] = "0" * 64


SOURCE = {"path": "b.csv", "sha256": "0", "record": None}
CHANGES = {
    "data": (
        edit(
            "base", lambda r: r["inputs"].update(more=[dict(path="b.csv", sha256="0", record=None)])
        ),
        "data: b.csv only in the second",
    ),
    "code": (
        edit("grpo", lambda r: r["code"].update({"src/paradox/train/grpo/trainer.py": "0"})),
        "code: src/paradox/train/grpo/trainer.py changed",
    ),
    "reward": (
        edit("grpo", lambda r: r["inputs"]["reward"][0].update(sha256="0")),
        "code: src/paradox/rewards/",
    ),
    "parameters": (
        edit("grpo", lambda r: r["parameters"]["grpo"].update(learning_rate=0.5)),
        "parameters: grpo.learning_rate: 0.0001 -> 0.5",
    ),
    "environment": (
        edit("base", lambda r: r["environment"].update({"envs/cpu.lock": "0" * 64})),
        "environment: envs/cpu.lock: ",
    ),
    "device": (edit("base", lambda r: r.update(device="cpu other")), "environment: device: "),
    "numbers": (edit("base", other_weights), "numbers: other outputs from the same"),
}


@pytest.mark.parametrize("cause", CHANGES)
def test_the_first_cause_is_named(recorded: Path, cause: str) -> None:
    a, b = (Chain.load(recorded / folder) for folder in (RESULTS, REFERENCE))
    assert differences(a, b) == []
    change, said = CHANGES[cause]
    change(b)
    # What comes after it changes too, as it does in a real run.
    for entry in b.records.values():
        if entry["step"] == "evaluate" and entry["parameters"]["arm"]["method"] == "grpo":
            entry["outputs"]["items"][0]["sha256"] = "0"
    edit("tables", lambda r: r["parameters"].update(resamples=1))(b)
    found = differences(a, b)
    assert str(found[0]).startswith(said)
    assert {difference.cause for difference in found[1:]} <= {"parameters", "code"}


def test_arms_that_one_run_lacks_are_one_line(recorded: Path) -> None:
    a, b = (Chain.load(recorded / folder) for folder in (RESULTS, REFERENCE))
    edit("tables", lambda r: r["inputs"].update(nlls=r["inputs"]["nlls"][:3]))(b)
    (found,) = differences(a, b)
    held = len(a.records[f"{RESULTS}/tables/tables.record.json"]["inputs"]["nlls"])
    assert found.what.startswith(f"{held - 3} results used in the first only, as {RESULTS}/runs/")


def test_two_results_of_one_run(recorded: Path) -> None:
    other = FORMAT.replace("/s0", "/s1")
    run = paradox(recorded, "diff", f"{RESULTS}/{FORMAT}/items.csv", f"{RESULTS}/{other}/items.csv")
    assert run.returncode == 1
    assert run.stdout.startswith("first difference: parameters: arm.seed: 0 -> 1")
    same = paradox(recorded, "diff", RESULTS, REFERENCE)
    assert same.returncode == 0, same.stdout
    assert same.stdout.startswith("no difference")


# --- replaying -----------------------------------------------------------------------------


def test_a_replay_agrees_and_a_changed_value_is_named(
    study: Path, finished: Path, tmp_path: Path
) -> None:
    """The rebuild goes on from a finished one, so that only what changed is made again."""
    scratch = shutil.copytree(finished, tmp_path / "scratch")
    command = ["replay", "smoke", "--folder", str(scratch), *SMOKE[:1], SMOKE[2]]
    run = paradox(study, *command)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "replay of smoke: agrees with reference/smoke" in run.stdout

    config = study / "config/config.yaml"
    text = config.read_text()
    config.write_text(text.replace("equivalence_margin: 0.1", "equivalence_margin: 0.2"))
    assert config.read_text() != text
    run = paradox(study, *command)
    assert run.returncode == 1
    assert f"{RESULTS}/tables/did.csv" in run.stdout
    # An arm's page sums up by the same parameter as the tables.
    assert re.search(
        r"^first difference: parameters: (parameters\.summed\.)?equivalence_margin: 0\.1 -> 0\.2",
        run.stdout,
        re.MULTILINE,
    )


def test_nothing_to_compare_with(study: Path) -> None:
    run = paradox(study, "replay", "elsewhere")
    assert run.returncode == 1
    assert "no recorded run" in run.stderr
