"""Shared pieces of the tests: a small organism, random models, temporary repositories."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from paradox.study.load import merge
from paradox.study.mechanisms import FIGURES

# Where `make test` puts the toolkit that some tests compare with (envs/comparison.lock).
sys.path.append(str(Path(sys.prefix) / "comparison"))
ROOT = Path(__file__).parents[1]
SNAKEMAKE = Path(sys.executable).parent / "snakemake"
ARMS = {"rewards": ["ground_truth", "format", "constant"], "seeds": [0, 1]}
SMOKE = ["--config", "scale=smoke", f"arms={json.dumps(ARMS)}"]


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run snakemake in `folder`, with that folder's package."""
    environment = os.environ | {"PYTHONPATH": str(folder / "src")}
    command = [str(SNAKEMAKE), "--cores", "2", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900
    )


@pytest.fixture(scope="session")
def task_spec() -> dict[str, Any]:
    """The organism's task, very small."""
    return {
        "kind": "organism",
        "modulus": 13,
        "operands": 4,
        "exposures": [4, 16],
        "items_per_exposure": 4,
        "worked_per_recall": 0.5,
        "prompts": 40,
        "documents": 400,
        "fresh_recall_share": 0.4,
        "step_noise": 0.15,
        "break_off_share": 0.25,
    }


@pytest.fixture(scope="session")
def smoke_config() -> dict[str, Any]:
    """The configuration of the scale smoke, as Snakemake hands it over."""
    main = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    return merge(main, {"scale": "smoke"})


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory, task_spec: dict[str, Any]) -> Path:
    """An arm folder whose only checkpoint is a two-layer organism with random weights."""
    from paradox.models import save_model
    from paradox.provenance.manifest import write_manifest
    from paradox.train.base import organism

    folder = tmp_path_factory.mktemp("base")
    source = {"kind": "organism", "layers": 2, "width": 32, "heads": 2, "ffn_width": 64}
    model, tokenizer = organism(source, task_spec, seed=0)
    save_model(model, tokenizer, folder / "step-0")
    write_manifest(folder / "manifest.json", {0: folder / "step-0"}, {})
    return folder


@pytest.fixture(scope="session")
def training_data(
    tmp_path_factory: pytest.TempPathFactory, task_spec: dict[str, Any], tiny_checkpoint: Path
) -> Path:
    """A folder with the training prompts of the very small task and samples of its base."""
    from paradox.files import write_table
    from paradox.progress import Progress
    from paradox.tasks import load_task
    from paradox.train import samples

    task = load_task(task_spec)
    folder = tmp_path_factory.mktemp("data")
    write_table(folder / "prompts.csv", task.prompts(0, task.items(0)))
    sampling = {"num_generations": 8, "temperature": 1.0, "max_completion_tokens": 16}
    sampling |= {"batch_size": 512, "dtype": "float32"}
    samples.main(
        {"base": "contaminated", "seed": 0, "task": task_spec, "sampling": sampling},
        {"base": tiny_checkpoint / "manifest.json", "prompts": folder / "prompts.csv"},
        {"samples": folder / "samples.parquet"},
        Progress("test"),
    )
    return folder


def copy_repository(folder: Path, mechanisms: bool = True) -> Path:
    """Copy everything the workflow reads to `folder`.

    Without `mechanisms` the grid `default` has no figures of them, so that whole runs are quick.
    """
    for name in ("Snakefile", "workflow", "config", "profiles", "src", "envs", "paper"):
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, folder / name)
    if not mechanisms:
        grid = folder / "config/grids/default.yaml"
        content = yaml.safe_load(grid.read_text())
        content["figures"] = [name for name in content["figures"] if name not in FIGURES]
        grid.write_text(yaml.safe_dump(content))
    return folder


@pytest.fixture()
def repository(tmp_path: Path) -> Path:
    """A copy of the repository without results, to change and run in."""
    return copy_repository(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository in which the scale smoke has run; who changes it puts it back."""
    folder = copy_repository(tmp_path_factory.mktemp("repository"), mechanisms=False)
    run = snakemake(folder, *SMOKE)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-6000:]
    (folder / "screen.txt").write_text(run.stdout + run.stderr)
    return folder


@pytest.fixture(scope="session")
def recorded(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A committed copy of the finished run, recorded as the reference; not to be changed."""
    from paradox.reference import record

    root = tmp_path_factory.mktemp("recorded") / "study"
    shutil.copytree(finished, root, ignore=shutil.ignore_patterns(".*", "screen.txt"))
    shutil.copy(ROOT / ".gitignore", root)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "run"]):
        subprocess.run([*git, *command], cwd=root, check=True)
    record("smoke", root, [])
    return root
