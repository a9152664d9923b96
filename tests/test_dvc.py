"""DVC and Snakemake together: weights travel through a remote, and changes are seen.

Snakemake is a stand-in script that writes what a run would, so only DVC's side is tested here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
STAGE = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]["study"]
TINY = "study@tiny"

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
echo '<svg/>' > "$results/figures/f.svg"
"""


class Repository:
    """A git repository with this one's DVC files and small stand-ins for the dependencies."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "study"
        self.calls = folder / "calls.txt"
        self.root.mkdir()
        for name in (".dvcignore", ".gitignore", "dvc.yaml", ".dvc/config", ".dvc/.gitignore"):
            (self.root / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, self.root / name)
        for name in STAGE["deps"]:
            path = self.root / name
            if (ROOT / name).is_dir():
                path.mkdir()
                path /= "file.txt"
            path.write_text("as committed\n", encoding="utf-8")
        programs = folder / "bin"
        programs.mkdir()
        (programs / "snakemake").write_text(SNAKEMAKE, encoding="utf-8")
        (programs / "snakemake").chmod(0o755)
        # Nothing of the user's own settings, and no state outside the temporary folder.
        self.environment = os.environ | {
            "PATH": os.pathsep.join([str(programs), os.environ["PATH"]]),
            "CALLS": str(self.calls),
            "HOME": str(folder),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "DVC_GLOBAL_CONFIG_DIR": str(folder / "global"),
            "DVC_SYSTEM_CONFIG_DIR": str(folder / "system"),
            "DVC_SITE_CACHE_DIR": str(folder / "site"),
        }
        self.run("git", "init", "--quiet")
        self.run("git", "add", "--all")

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=self.root, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def dvc(self, *arguments: str) -> str:
        return self.run(sys.executable, "-m", "dvc", *arguments)

    def snakemake(self, scale: str) -> None:
        self.run("snakemake", "--cores", "all", "--config", f"scale={scale}")

    def changes(self) -> list[dict[str, dict[str, str]]]:
        return json.loads(self.dvc("status", "--json", TINY)).get(TINY, [])

    def heavy(self) -> dict[str, bytes]:
        """Return the tiny outputs that DVC is to carry, without what .dvcignore excludes."""
        folders = [out.replace("${item.scale}", "tiny") for entry in STAGE["outs"] for out in entry]
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for folder in folders
            for path in sorted((self.root / folder).rglob("*"))
            if path.is_file() and path.name != ".snakemake_timestamp" and ".work" not in path.parts
        }


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def test_the_stage_names_scales_and_dependencies_that_exist() -> None:
    scales = {path.stem for path in (ROOT / "config/scales").glob("*.yaml")}
    assert set(STAGE["matrix"]["scale"]) <= scales
    assert [name for name in STAGE["deps"] if not (ROOT / name).exists()] == []


def test_outputs_travel_through_a_remote(repository: Repository, tmp_path: Path) -> None:
    repository.snakemake("tiny")
    weights = repository.root / "results/tiny/checkpoints/b/base/none/s0/model.safetensors"
    written = weights.stat().st_mtime_ns
    # The other scale has never run: a stage must be committed alone.
    repository.dvc("commit", "--force", TINY)
    assert repository.changes() == []
    assert weights.stat().st_mtime_ns == written, "Snakemake would see a newer input"
    assert repository.run("git", "status", "--porcelain", "results") == ""

    repository.dvc("remote", "add", "--local", "--default", "store", str(tmp_path / "store"))
    repository.dvc("push", TINY)
    before = repository.heavy()
    assert len(before) == 4
    shutil.rmtree(repository.root / "results")
    shutil.rmtree(repository.root / ".dvc/cache")
    assert repository.changes() != []

    repository.dvc("pull", TINY)
    assert repository.heavy() == before
    assert repository.changes() == []
    left = [p.name for p in (repository.root / "results").rglob("*") if p.is_file()]
    assert len(left) == len(before), f"more came back than belongs to an output: {left}"


def test_repro_calls_snakemake_when_something_changed(repository: Repository) -> None:
    repository.dvc("repro", TINY)
    assert repository.calls.read_text().splitlines() == ["--cores all --config scale=tiny"]
    before = repository.heavy()
    repository.dvc("repro", TINY)
    assert len(repository.calls.read_text().splitlines()) == 1

    (repository.root / "config/file.txt").write_text("edited\n", encoding="utf-8")
    assert repository.changes() == [{"changed deps": {"config": "modified"}}]
    repository.dvc("repro", TINY)
    assert len(repository.calls.read_text().splitlines()) == 2
    assert repository.heavy() == before, "DVC deleted outputs that Snakemake goes on from"


def test_a_tampered_output_is_seen_and_restored(repository: Repository) -> None:
    repository.snakemake("tiny")
    repository.dvc("commit", "--force", TINY)
    before = repository.heavy()
    weights = repository.root / "results/tiny/checkpoints/b/base/none/s0/model.safetensors"
    # In place: a cache that shared its bytes with the workspace would change with it.
    with weights.open("r+b") as file:
        file.write(b"other")
    assert repository.changes() == [{"changed outs": {"results/tiny/checkpoints": "modified"}}]
    repository.dvc("checkout", "--force", TINY)
    assert repository.heavy() == before
