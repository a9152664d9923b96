"""Broken inputs stop a step with one message, and nothing half-written is left or read."""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from paradox.errors import CheckpointError, DataError, ResourceError
from paradox.files import atomic_path, read_json, read_table, sha256, write_table
from paradox.models import load_model
from paradox.provenance.manifest import read_manifest
from paradox.provenance.records import read_record
from paradox.runner import Job, run
from paradox.tasks.api import ITEM_COLUMNS


@pytest.fixture()
def arm(tmp_path: Path, tiny_checkpoint: Path) -> Path:
    """A private copy of a checkpoint, to break."""
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "arm"))


def test_missing_manifest(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"manifest.json: .*no such file"):
        read_manifest(tmp_path / "manifest.json")


def test_missing_weights(arm: Path) -> None:
    (arm / "step-0/model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model.safetensors: missing, but .*manifest.json"):
        read_manifest(arm / "manifest.json")


def test_truncated_weights(arm: Path) -> None:
    file = arm / "step-0/model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"model.safetensors: corrupt: found \d+ bytes"):
        read_manifest(arm / "manifest.json")


def test_one_changed_byte(arm: Path) -> None:
    file = arm / "step-0/model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match=r"corrupt: found sha256 .*Delete .*manifest.json"):
        read_manifest(arm / "manifest.json")


def test_malformed_manifest(arm: Path) -> None:
    (arm / "manifest.json").write_text('{"checkpoints": [')
    with pytest.raises(CheckpointError, match=r"manifest.json: not a readable.*not valid JSON"):
        read_manifest(arm / "manifest.json")


def test_pickled_weights_are_refused(arm: Path) -> None:
    manifest = read_json(arm / "manifest.json")
    (arm / "step-0/pytorch_model.bin").write_bytes(b"x")
    manifest["checkpoints"][0]["files"].append(
        {"path": "pytorch_model.bin", "bytes": 1, "sha256": "0"}
    )
    (arm / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="pickled files are never loaded"):
        read_manifest(arm / "manifest.json")


def test_a_folder_with_only_pickled_weights_cannot_be_loaded(arm: Path) -> None:
    (arm / "step-0/model.safetensors").rename(arm / "step-0/pytorch_model.bin")
    with pytest.raises(CheckpointError, match="step-0: the checkpoint cannot be loaded"):
        load_model(arm / "step-0")


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint there"):
        load_model(tmp_path / "nothing")


def test_missing_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"items.csv: no such file"):
        read_table(tmp_path / "items.csv")


def test_table_without_columns(tmp_path: Path) -> None:
    table = pd.DataFrame({name: ["1"] for name in ITEM_COLUMNS})
    table = table.rename(columns={"exposure": "exposre", "answer": "anwser"})
    write_table(tmp_path / "items.csv", table)
    with pytest.raises(DataError) as caught:
        read_table(tmp_path / "items.csv", ITEM_COLUMNS)
    for part in ("items.csv", "'exposure' is missing", "'exposre'", "'answer'", "'anwser'"):
        assert part in str(caught.value)


@pytest.mark.parametrize("name", ["corpus.parquet", "items.csv"])
def test_unreadable_table(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\xff\xfe\x00PAR1 not a table")
    with pytest.raises(DataError, match=f"{name}: "):
        read_table(tmp_path / name, ["text"])


def test_empty_table(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item,answer\n")
    with pytest.raises(DataError, match="has no rows"):
        read_table(tmp_path / "items.csv")


def test_full_disk_while_writing(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(ResourceError, match=r"table.csv: no disk space left"):
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def job(folder: Path, step: str, inputs: dict, outputs: dict, **more: Any) -> Job:
    """Return a job in `folder`; whatever it is about is given in `more`."""
    lock = folder / "cpu.lock"
    lock.write_text("")
    given = {"spec": {}, "producers": [], "code": [], "locks": [lock]} | more
    record, log = folder / f"{step}.record.json", folder / "log.txt"
    return Job(
        step=step, label=step, inputs=inputs, outputs=outputs, record=record, log=log, **given
    )


def test_full_disk_before_a_step(tmp_path: Path, task_spec: dict[str, Any]) -> None:
    outputs = {"items": tmp_path / "items.csv", "prompts": tmp_path / "prompts.csv"}
    spec = {"task": task_spec, "seed": 0}
    assert run(job(tmp_path, "data", {}, outputs, spec=spec, disk_mb=1e12)) == 1
    text = (tmp_path / "log.txt").read_text()
    assert "no disk space left: found" in text
    assert "resources.<rule>.disk_mb" in text
    assert not outputs["items"].exists()


def test_a_step_with_missing_inputs_names_all_of_them(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    inputs = {"manifest": tmp_path / "manifest.json", "items": tmp_path / "items.csv"}
    outputs = {"table": tmp_path / "nll.csv"}
    assert run(job(tmp_path, "perplexity", inputs, outputs)) == 1
    shown = capfd.readouterr().err
    assert "manifest.json: no such file" in shown and "items.csv: no such file" in shown
    assert "Traceback" not in shown
    assert "Traceback" in (tmp_path / "log.txt").read_text()


def test_unknown_step_names_the_likely_typo(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(job(tmp_path, "evalute", {}, {})) == 1
    assert "Did you mean 'evaluate'?" in capfd.readouterr().err


# --- records -------------------------------------------------------------------------------


@pytest.fixture()
def made(tmp_path: Path, task_spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the step ``data`` has run, with its record."""
    monkeypatch.chdir(tmp_path)
    data = Path("results/smoke/data")
    outputs = {"items": data / "items.csv", "prompts": data / "prompts.csv"}
    record = data / "data.record.json"
    given = job(Path(), "data", {}, outputs, spec={"task": task_spec, "seed": 0})
    assert run(replace(given, record=record)) == 0
    return record


def corpus_of(record: Path, task_spec: dict[str, Any], **more: Any) -> Job:
    inputs = {"items": record.with_name("items.csv"), "prompts": record.with_name("prompts.csv")}
    spec = {"task": task_spec, "seed": 0, "planted": True}
    outputs = {"corpus": Path("results/smoke/data/corpus/a.parquet")}
    return job(Path(), "corpus", inputs, outputs, spec=spec, **({"producers": [record]} | more))


def test_a_step_records_what_it_was_made_from(made: Path, task_spec: dict[str, Any]) -> None:
    assert run(corpus_of(made, task_spec)) == 0
    record = read_record(Path("corpus.record.json"))
    items = record["inputs"]["items"][0]
    assert items["record"] == {"path": str(made), "sha256": sha256(made)}
    assert items["sha256"] == sha256(made.with_name("items.csv"))
    assert record["seeds"] == {"seed": 0}
    assert record["outputs"]["corpus"][0]["bytes"] > 0
    first = Path("corpus.record.json").read_bytes()
    assert run(corpus_of(made, task_spec)) == 0
    assert Path("corpus.record.json").read_bytes() == first, "equal runs write equal records"


def test_a_changed_input_is_refused(
    made: Path, task_spec: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    items = made.with_name("items.csv")
    items.write_text(items.read_text().replace("exposed", "twin", 1))
    assert run(corpus_of(made, task_spec)) == 1
    shown = capfd.readouterr().err
    assert f"{items}: changed since it was made" in shown
    assert "Delete it and repeat the command" in shown
    assert not Path("results/smoke/data/corpus").exists() or not any(
        Path("results/smoke/data/corpus").iterdir()
    )


def test_an_input_without_a_record_is_refused(
    made: Path, task_spec: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(corpus_of(made, task_spec, producers=[])) == 1
    shown = capfd.readouterr().err
    assert "items.csv: no record says what made it" in shown
    assert "prompts.csv: no record says what made it" in shown


def test_an_edited_record_is_refused(
    made: Path, task_spec: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    made.write_text(made.read_text().replace('"seed": 0', '"seed": 1', 1))
    assert run(corpus_of(made, task_spec)) == 1
    assert f"{made}: the record was edited" in capfd.readouterr().err


def test_a_failed_step_leaves_no_record(made: Path, task_spec: dict[str, Any]) -> None:
    broken = replace(corpus_of(made, task_spec), spec={"task": task_spec, "seed": 0})
    assert run(broken) == 1
    assert not Path("corpus.record.json").exists()
