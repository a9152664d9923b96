"""Results of a real run in another clone: pulled over SSH, checked, and taken as finished."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ARMS, ROOT, SMOKE, snakemake
from dvc_fixture import Repository, Server, ssh_server

from paradox.provenance.chain import Chain
from paradox.restore import _other_settings, configured
from paradox.study.grids import grid_of

STAGE = "study@smoke"
RESULTS = "results/smoke"
WEIGHTS = "checkpoints/contaminated/grpo/format/s0/step-48/model.safetensors"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Server]:
    with ssh_server(home / "ssh") as server:
        yield server


@pytest.fixture(scope="module")
def published(finished: Path, home: Path, server: Server) -> Repository:
    """A repository whose results are on the server."""
    study = Repository(home / "study", home)
    ignored = shutil.ignore_patterns(".snakemake", "screen.txt", "__pycache__")
    shutil.copytree(finished, study.root, ignore=ignored)
    study.take_dvc_files()
    study.run("git", "init", "--quiet")
    study.dvc("commit", "--force", STAGE)
    study.commit()
    server.use(study)
    study.dvc("push", STAGE)
    return study


@pytest.fixture(scope="module")
def pulled(published: Repository, home: Path) -> Repository:
    """A clone that has pulled the results; tests copy it."""
    clone = published.clone(home / "pulled", home)
    clone.dvc("pull", STAGE)
    assert clone.results("smoke") == published.results("smoke")
    return clone


@pytest.fixture
def clone(pulled: Repository, tmp_path: Path) -> Repository:
    # With its files' times, in the order in which DVC happened to write them.
    shutil.copytree(pulled.root, tmp_path / "clone")
    return Repository(tmp_path / "clone", tmp_path)


def restore(clone: Repository, *config: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "paradox", "restore", "smoke"]
    return clone.try_(*command, "--config", *(config or SMOKE[2:]))


def refused(clone: Repository, *config: str) -> str:
    """Return the message of a restore that must fail and mark nothing."""
    run = restore(clone, *config)
    assert run.returncode == 1, run.stdout
    assert "nothing was marked" in run.stderr
    assert not (clone.root / ".snakemake").exists()
    return run.stderr


def test_a_restored_clone_has_nothing_to_do(clone: Repository) -> None:
    before = clone.results("smoke")
    done = restore(clone)
    assert done.returncode == 0, done.stderr
    assert "Snakemake has nothing to do" in done.stdout
    run = snakemake(clone.root, "--dry-run", *SMOKE)
    assert "Nothing to be done" in run.stdout + run.stderr
    assert clone.results("smoke") == before
    assert "up to date" in clone.dvc("status", STAGE)

    # Every job has its metadata, the first one too, whose files' times alone look finished.
    run = snakemake(clone.root, "--dry-run", *SMOKE, "task={modulus: 17}")
    assert "params have changed since last execution:\n        data" in run.stdout + run.stderr


def test_without_restore_jobs_would_run_again(clone: Repository) -> None:
    run = snakemake(clone.root, "--dry-run", *SMOKE)
    assert "Nothing to be done" not in run.stdout + run.stderr


def test_other_parameters_are_named(clone: Repository) -> None:
    scale = clone.root / "config/scales/smoke.yaml"
    text = scale.read_text()
    assert text.count("  learning_rate: 1.0e-4") == 1, "the line to change"
    scale.write_text(text.replace("  learning_rate: 1.0e-4", "  learning_rate: 6.0e-5"))
    message = refused(clone)
    assert "grpo.learning_rate: recorded 0.0001, configured 6e-05" in message
    assert "s0/train.record.json and 7 more" in message
    # The paper quotes it, too.
    assert "settings.grpo.learning_rate: recorded 0.0001, configured 6e-05" in message
    assert len(message.splitlines()) == 3


def test_parameters_on_the_command_line_count(clone: Repository) -> None:
    message = refused(clone, *SMOKE[2:], "statistics={equivalence_margin: 0.9}")
    assert "equivalence_margin: recorded 0.1, configured 0.9" in message
    assert "tables.record.json" in message


def test_another_list_of_arms_is_named(clone: Repository) -> None:
    message = refused(clone, 'arms={"rewards": ["ground_truth", "random"], "seeds": [0, 1]}')
    asked, held = (f"{RESULTS}/runs/contaminated/grpo/{name}/s0" for name in ("random", "format"))
    for what, arm in (("asked for, not recorded", asked), ("recorded, not asked for", held)):
        line = next(line for line in message.splitlines() if what in line)
        assert arm in line and "tables.record.json" in line
    assert ARMS["rewards"][0] not in message


def test_a_wrong_configuration_is_refused(clone: Repository) -> None:
    run = restore(clone, "grpoo={updates: 1}")
    assert run.returncode == 1
    assert "unknown key 'grpoo'" in run.stderr and "Did you mean 'grpo'?" in run.stderr


def test_a_tampered_file_is_named(clone: Repository) -> None:
    table = clone.root / RESULTS / "tables/did.csv"
    table.write_text(table.read_text().replace("0.", "1.", 1))
    assert f"{RESULTS}/tables/did.csv: changed since it was made" in refused(clone)


def test_other_code_is_named(clone: Repository) -> None:
    with (clone.root / "src/paradox/rewards/format.py").open("a") as file:
        file.write("# edited\n")
    assert "src/paradox/rewards/format.py: changed since it was used" in refused(clone)


def test_what_is_not_there_remains_to_be_done(clone: Repository) -> None:
    # Nothing else is made from this page.
    for file in (clone.root / RESULTS / "reports").glob("index.*"):
        file.unlink()
    run = restore(clone)
    assert run.returncode == 1
    assert run.stderr.splitlines()[1:] == ["  - index_page: 1"]


def test_before_a_pull_it_says_how_to_pull(clone: Repository) -> None:
    shutil.rmtree(clone.root / "results")
    run = restore(clone)
    assert run.returncode == 1
    assert "`dvc pull study@smoke` brings it" in run.stderr


@pytest.mark.parametrize("kind", ["object", "listing"])
def test_what_dvc_lets_through_is_named(
    published: Repository, server: Server, tmp_path: Path, kind: str
) -> None:
    """A damaged object without the option verify; with it, a listing that swaps two files."""
    weights = published.root / RESULTS / WEIGHTS
    listing = next(path for path in server.objects() if path.suffix == ".dir")
    content = listing.read_bytes()
    if kind == "object":
        damaged = next(p for p in server.objects() if p.read_bytes() == weights.read_bytes())
        content = damaged.read_bytes()
        bad = content[:-1] + bytes([content[-1] ^ 1])
    else:
        damaged = listing
        bad = content.replace(b"did.csv", b"~").replace(b"base.csv", b"did.csv")
        bad = bad.replace(b"~", b"base.csv")
    clone = published.clone(tmp_path / "clone", tmp_path)
    clone.dvc("remote", "modify", "--local", "store", "verify", str(kind == "listing").lower())
    damaged.chmod(0o644)
    damaged.write_bytes(bad)
    try:
        clone.dvc("pull", STAGE)
    finally:
        damaged.write_bytes(content)
    name = WEIGHTS if kind == "object" else "tables/did.csv"
    assert f"{RESULTS}/{name}" in refused(clone)


def test_every_step_of_every_grid_is_compared_with_its_own_settings() -> None:
    """The recorded reference, mechanisms among it, is what the configuration asks for."""
    chain = Chain.load(ROOT / "reference/tiny")
    grids = dict.fromkeys(filter(None, map(grid_of, chain.records)))
    assert "default" in grids
    asked = {grid: configured(ROOT, ["scale=tiny", f"grid={grid}"]) for grid in grids}
    assert _other_settings(asked, chain) == []
    other = ["mechanisms={jsd: {draws: 3}}", "statistics={resamples: 50}"]
    asked = {grid: configured(ROOT, ["scale=tiny", f"grid={grid}", *other]) for grid in grids}
    said = "\n".join(_other_settings(asked, chain))
    assert "jsd.draws: recorded 1, configured 3 (results/tiny/runs/" in said
    assert "bootstrap.resamples: recorded 2000, configured 50" in said
    asked = {grid: configured(ROOT, ["scale=tiny", "grid=methods"]) for grid in grids}
    assert "recorded, not asked for: results/tiny/runs/clean" in "\n".join(
        _other_settings(asked, chain)
    )
