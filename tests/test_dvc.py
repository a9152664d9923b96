"""DVC and Snakemake together: results travel through a remote, and changes are seen.

Snakemake is a stand-in script that writes what a run would, so only DVC's side is tested here;
test_restore.py takes a real run along.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from dvc_fixture import Repository, new_key, ssh_server

STAGE = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]["study"]
TINY = "study@tiny"
WEIGHTS = "checkpoints/b/base/none/s0/model.safetensors"

# Writes a checkpoint only when it is absent, as Snakemake does; notes every call.
SNAKEMAKE = """#!/bin/sh
set -e
echo "$*" >> "$CALLS"
results="results/${4#scale=}"
weights="$results/checkpoints/b/base/none/s0/model.safetensors"
mkdir -p "$(dirname "$weights")/.work" "$results/data" "$results/runs" "$results/figures"
[ -f "$weights" ] || head -c 200000 /dev/urandom > "$weights"
echo '{}' > "$results/checkpoints/b/base/none/s0/manifest.json"
touch "$results/checkpoints/.snakemake_timestamp" "$(dirname "$weights")/.work/half-written"
echo 'item,group' > "$results/data/items.csv"
echo "step,loss" > "$results/runs/train.csv"
echo '{"step": "grpo"}' > "$results/runs/train.record.json"
echo '<svg/>' > "$results/figures/f.svg"
"""


class Study(Repository):
    """A repository with this one's DVC files and small stand-ins for the dependencies."""

    def __init__(self, folder: Path) -> None:
        programs, self.calls = folder / "bin", folder / "calls.txt"
        path = os.pathsep.join([str(programs), os.environ["PATH"]])
        super().__init__(folder / "study", folder, PATH=path, CALLS=str(self.calls))
        self.root.mkdir()
        self.take_dvc_files()
        for name in STAGE["deps"]:
            path = self.root / name
            if (ROOT / name).is_dir():
                path.mkdir()
                path /= "file.txt"
            path.write_text("as committed\n", encoding="utf-8")
        programs.mkdir()
        (programs / "snakemake").write_text(SNAKEMAKE, encoding="utf-8")
        (programs / "snakemake").chmod(0o755)
        self.run("git", "init", "--quiet")
        self.run("git", "add", "--all")

    def snakemake(self, scale: str) -> None:
        self.run("snakemake", "--cores", "all", "--config", f"scale={scale}")

    def changes(self) -> list[dict[str, dict[str, str]]]:
        return json.loads(self.dvc("status", "--json", TINY)).get(TINY, [])


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


@dataclass(frozen=True)
class Published:
    """A repository whose results are in a remote, and the folder of the remote's objects."""

    study: Study
    objects: Path

    def object_of(self, path: str) -> Path:
        """Return the object that holds a result's bytes."""
        wanted = (self.study.root / "results/tiny" / path).read_bytes()
        found = [p for p in self.objects.rglob("*") if p.is_file() and p.read_bytes() == wanted]
        assert len(found) == 1
        return found[0]


@pytest.fixture(scope="module", params=["folder", "ssh"])
def published(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Published]:
    home = tmp_path_factory.mktemp(request.param)
    study = Study(home)
    study.snakemake("tiny")
    study.dvc("commit", "--force", TINY)
    study.commit()
    with ssh_server(home / "ssh") as server:
        if request.param == "ssh":
            server.use(study)
        study.dvc("push", TINY)
        # A folder beside the repository is the remote that .dvc/config names.
        yield Published(study, server.folder if request.param == "ssh" else home / "paradox-store")


@pytest.fixture
def clone(published: Published, tmp_path: Path) -> Repository:
    """An empty clone that knows the remote."""
    return published.study.clone(published.study.root.with_name(tmp_path.name), tmp_path)


@contextmanager
def instead(file: Path, content: bytes | None) -> Iterator[None]:
    """Give a file other content, or delete it, while the block runs."""
    whole = file.read_bytes()
    file.unlink()
    try:
        if content is not None:
            file.write_bytes(content)
        yield
    finally:
        file.unlink(missing_ok=True)
        file.write_bytes(whole)


def test_the_stage_names_scales_and_dependencies_that_exist() -> None:
    scales = {path.stem for path in (ROOT / "config/scales").glob("*.yaml")}
    assert set(STAGE["matrix"]["scale"]) <= scales
    assert [name for name in STAGE["deps"] if not (ROOT / name).exists()] == []


def test_results_come_back(study: Study) -> None:
    study.snakemake("tiny")
    weights = study.root / "results/tiny" / WEIGHTS
    written = weights.stat().st_mtime_ns
    # The other scales have never run: a stage must be committed alone.
    study.dvc("commit", "--force", TINY)
    assert study.changes() == []
    assert weights.stat().st_mtime_ns == written, "Snakemake would see a newer input"
    assert study.run("git", "status", "--porcelain", "results") == ""

    study.dvc("push", TINY)
    before = study.results("tiny")
    assert len(before) == 6
    shutil.rmtree(study.root / "results")
    shutil.rmtree(study.root / ".dvc/cache")
    assert study.changes() != []

    study.dvc("pull", TINY)
    assert study.results("tiny") == before
    assert study.changes() == []
    left = [p.name for p in (study.root / "results").rglob("*") if p.is_file()]
    assert len(left) == len(before), f"more came back than belongs to an output: {left}"


def test_a_clone_gets_equal_bytes(published: Published, clone: Repository) -> None:
    clone.dvc("pull", TINY)
    assert clone.results("tiny") == published.study.results("tiny")


def test_a_stranger_cannot_push(study: Study, tmp_path: Path) -> None:
    study.snakemake("tiny")
    study.dvc("commit", "--force", TINY)
    with ssh_server(tmp_path / "ssh") as server:
        server.use(study, key=new_key(tmp_path / "other_key"))
        push = study.try_dvc("push", TINY)
        assert push.returncode != 0
        assert "Permission denied" in push.stderr
        assert server.objects() == []


# --- damage in the remote ------------------------------------------------------------------


def flipped(content: bytes) -> bytes:
    return content[:1000] + bytes([content[1000] ^ 1]) + content[1001:]


def truncated(content: bytes) -> bytes:
    return content[:1000]


@pytest.mark.parametrize("damage", [flipped, truncated])
def test_a_damaged_object_is_named_and_not_used(
    published: Published, clone: Repository, damage: Callable[[bytes], bytes]
) -> None:
    damaged = published.object_of(WEIGHTS)
    with instead(damaged, damage(damaged.read_bytes())):
        pull = clone.try_dvc("pull", TINY)
        assert pull.returncode != 0
        assert "failed to pull data" in pull.stderr and "results/tiny" in pull.stderr
        assert clone.results("tiny") == {}
        # The message names the folder; this names the file.
        here = json.loads(clone.dvc("data", "status", "--granular", "--json"))
        assert here["not_in_cache"] == [f"results/tiny/{WEIGHTS}"]
    clone.dvc("pull", TINY)
    assert clone.results("tiny") == published.study.results("tiny")


def test_a_missing_object_is_named_and_can_be_pushed_again(
    published: Published, clone: Repository
) -> None:
    missing = published.object_of(WEIGHTS)
    with instead(missing, None):
        pull = clone.try_dvc("pull", TINY)
        assert pull.returncode != 0
        assert missing.parent.name + missing.name in pull.stderr
        assert clone.results("tiny") == {}
        # DVC takes all of a listing's objects to be there as long as the listing is.
        published.study.dvc("push", TINY)
        assert not missing.exists()
        next(published.objects.rglob("*.dir")).unlink()
        published.study.dvc("push", TINY)
        clone.dvc("pull", TINY)
    assert clone.results("tiny") == published.study.results("tiny")


def test_dvc_needs_the_option_verify(published: Published, clone: Repository) -> None:
    """The reason for the option: without it, DVC uses damaged bytes and calls them right."""
    damaged = published.object_of(WEIGHTS)
    bad = flipped(damaged.read_bytes())
    clone.dvc("remote", "modify", "--local", "store", "verify", "false")
    with instead(damaged, bad):
        clone.dvc("pull", TINY)
    assert clone.results("tiny")[WEIGHTS] == bad
    assert json.loads(clone.dvc("status", "--json", TINY)) == {}


# --- changes in the repository -------------------------------------------------------------


def test_repro_calls_snakemake_when_something_changed(study: Study) -> None:
    study.dvc("repro", TINY)
    assert study.calls.read_text().splitlines() == ["--cores all --config scale=tiny"]
    before = study.results("tiny")
    study.dvc("repro", TINY)
    assert len(study.calls.read_text().splitlines()) == 1

    (study.root / "config/file.txt").write_text("edited\n", encoding="utf-8")
    assert study.changes() == [{"changed deps": {"config": "modified"}}]
    study.dvc("repro", TINY)
    assert len(study.calls.read_text().splitlines()) == 2
    assert study.results("tiny") == before, "DVC deleted outputs that Snakemake goes on from"


def test_a_tampered_output_is_seen_and_restored(study: Study) -> None:
    study.snakemake("tiny")
    study.dvc("commit", "--force", TINY)
    before = study.results("tiny")
    weights = study.root / "results/tiny" / WEIGHTS
    # In place: a cache that shared its bytes with the workspace would change with it.
    with weights.open("r+b") as file:
        file.write(b"other")
    assert study.changes() == [{"changed outs": {"results/tiny": "modified"}}]
    study.dvc("checkout", "--force", TINY)
    assert study.results("tiny") == before


def test_metrics_of_two_commits_are_compared(study: Study) -> None:
    summary = study.root / "reference/tiny/tables/summary.json"
    summary.parent.mkdir(parents=True)
    shutil.copy(ROOT / "reference/tiny/tables/summary.json", summary)
    study.commit()
    numbers = json.loads(summary.read_text())
    numbers["did/contaminated/format"]["value"] += 0.5
    summary.write_text(json.dumps(numbers))
    found = json.loads(study.dvc("metrics", "diff", "--json"))
    changed = found["reference/tiny/tables/summary.json"]
    assert list(changed) == ["did/contaminated/format.value"]
    assert changed["did/contaminated/format.value"]["diff"] == pytest.approx(0.5)
