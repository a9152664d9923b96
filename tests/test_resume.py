"""A killed training goes on and ends in the same bits; nothing half-written is ever used."""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kill_fixture import (
    ARM,
    PHASES,
    RUN,
    Told,
    command,
    draw,
    draw_again,
    repository,
    results,
    run,
)
from train_fixture import half, in_a_process, train, weights

from paradox.files import write_json
from paradox.provenance.manifest import read_manifest
from paradox.train.common import (
    COMPLETE,
    STATE,
    drop_later,
    last_checkpoint,
    publish,
    working_folder,
)

# Each is a moment drawn at random by its name (tests/kill_fixture.py); some trainings are killed
# once more when they go on. PPO, which starts anew by design, is killed once, beside these.
KILLS = [(trainer, phase) for trainer in ("grpo", "dpo", "sft") for phase in PHASES]
KILLS += [("rloo", "checkpoint"), ("rloo", "between")]
TWICE = [*KILLS[::5], *KILLS[2::5]]


@pytest.fixture(scope="module")
def given(tiny_checkpoint: Path, training_data: Path, task_spec: dict[str, Any]) -> tuple[Any, ...]:
    """What every arm is trained from."""
    return tiny_checkpoint, training_data, task_spec


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, given: tuple[Any, ...]
) -> Callable[[str], tuple[list[Told], dict[str, bytes]]]:
    """What the command of a trainer tells and makes when nothing interrupts it."""

    @functools.cache
    def run_of(trainer: str) -> tuple[list[Told], dict[str, bytes]]:
        root = repository(tmp_path_factory.mktemp(trainer), *given[:2])
        ended, told = run(root, command(trainer, given[2], updates=6))
        assert ended == 0, (root / "logs/train.log").read_text()
        return told, results(root)

    return run_of


@pytest.mark.parametrize(("trainer", "phase"), [*KILLS, ("ppo", "between")])
def test_a_command_killed_at_a_random_moment_ends_in_the_same_bits_when_repeated(
    trainer: str, phase: str, tmp_path: Path, given: tuple[Any, ...], whole: Any
) -> None:
    told, wanted = whole(trainer)
    root, line = repository(tmp_path, *given[:2]), command(trainer, given[2], updates=6)
    moments = [draw(told, phase, trainer)]
    if (trainer, phase) in TWICE:
        moments.append(draw_again(told, moments[0], trainer, phase))
    for moment in moments:
        ended, _ = run(root, line, moment)
        assert ended == -signal.SIGKILL, moment
        assert not (root / RUN / "train.record.json").exists(), moment
        if (manifest := root / ARM / "manifest.json").exists():
            read_manifest(manifest)  # every file that it names is whole
    ended, _ = run(root, line)
    assert ended == 0, (root / "logs/train.log").read_text()
    found = results(root)
    # Weights, manifest, curves, arguments and record, and nothing else: no unfinished work.
    assert sorted(found) == sorted(wanted)
    assert [name for name in wanted if found[name] != wanted[name]] == [], moments
    assert not (root / ARM / ".work").exists()


def test_the_kills_cover_every_phase_and_fall_on_different_moments(whole: Any) -> None:
    assert len(KILLS) == 20 and len(TWICE) == 8 == len(set(TWICE))
    assert {phase for _, phase in KILLS} == set(PHASES)
    for trainer in ("grpo", "dpo", "sft"):
        drawn = {draw(whole(trainer)[0], phase, trainer) for phase in PHASES}
        assert len(drawn) == len(PHASES)
        assert drawn == {draw(whole(trainer)[0], phase, trainer) for phase in PHASES}
        moments = [draw(whole(trainer)[0], phase, trainer) for phase in PHASES]
        assert [bool(moment.wait) for moment in moments] == [True, False, False, True, False, False]


CONDITIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("grpo", {"lora_rank": 2}),
    "kl": ("grpo", {"beta": 0.04, "use_bias_correction_kl": True}),
    "rloo-lora": ("rloo", {"lora_rank": 2}),
    "dpo-lora": ("dpo", {"lora_rank": 2}),
    "sft-lora": ("sft", {"lora_rank": 2}),
    "distill": ("sft", {"target": "oracle"}),
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_so_do_adapters_and_other_settings(
    tmp_path: Path, given: tuple[Any, ...], name: str
) -> None:
    trainer, changes = CONDITIONS[name]
    arm, other = tmp_path / "arm", tmp_path / "other"
    for moment in ("update@1", "state@4", "update@5"):
        assert in_a_process(moment, arm, *given, trainer, **changes) == -signal.SIGKILL, moment
    for folder in (arm, other):
        assert in_a_process(None, folder, *given, trainer, **changes) == 0
    for file in ("manifest.json", "train.csv", "arguments.json"):
        assert (arm / file).read_bytes() == (other / file).read_bytes(), file
    assert weights(arm) == weights(other) != weights(given[0])


def test_it_goes_on_instead_of_starting_again(
    tmp_path: Path, given: tuple[Any, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    arm = tmp_path / "arm"
    assert in_a_process("update@5", arm, *given, "grpo") == -signal.SIGKILL
    train(arm, *given, "grpo")
    assert "going on from step 4" in capfd.readouterr().err


def test_another_configuration_does_not_go_on(
    tmp_path: Path, given: tuple[Any, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    arm = tmp_path / "arm"
    assert in_a_process("update@5", arm, *given, "grpo", epsilon=0.3) == -signal.SIGKILL
    left = list((arm / ".work").iterdir())
    assert in_a_process("update@1", arm, *given, "grpo") == -signal.SIGKILL
    assert not left[0].exists()
    assert "going on" not in capfd.readouterr().err


def test_the_working_folder_follows_from_spec_and_inputs(tmp_path: Path) -> None:
    prompts, reward = tmp_path / "prompts.csv", tmp_path / "format.py"
    prompts.write_text("a")
    reward.write_text("a")
    inputs = {"prompts": prompts, "reward": [reward]}
    folders = [working_folder(tmp_path, {"seed": seed}, inputs) for seed in (0, 1)]
    for file in (prompts, reward):
        file.write_text("b")
        folders.append(working_folder(tmp_path, {"seed": 0}, inputs))
    assert len(set(folders)) == 4


@pytest.fixture()
def work(tmp_path: Path) -> Path:
    """A working folder with three whole checkpoints of the trainer and their weights."""
    for step in (8, 16, 104):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "model.safetensors").write_text("weights")
        (folder / STATE).write_text('{"global_step": 1}')
        sizes = {file.name: file.stat().st_size for file in folder.iterdir()}
        write_json(folder / COMPLETE, sizes)
        (tmp_path / f"step-{step}").mkdir()
        (tmp_path / f"step-{step}/model.safetensors").write_text(str(step))
    return tmp_path


def test_the_highest_whole_checkpoint_is_taken(work: Path) -> None:
    assert last_checkpoint(work) == work / "checkpoint-104"


@pytest.mark.parametrize("name", [STATE, COMPLETE, "model.safetensors"])
@pytest.mark.parametrize("damage", [half, Path.unlink])
def test_a_half_written_checkpoint_is_deleted(work: Path, name: str, damage: Any) -> None:
    damage(work / "checkpoint-104" / name)
    (work / "checkpoint-112").mkdir()
    assert last_checkpoint(work) == work / "checkpoint-16"
    assert sorted(path.name for path in work.glob("checkpoint-*")) == [
        "checkpoint-16",
        "checkpoint-8",
    ]
    drop_later(work, 16)
    assert {path.name for path in work.glob("step-*")} == {"step-8", "step-16"}


def test_no_checkpoint_is_whole(work: Path) -> None:
    for folder in work.glob("checkpoint-*"):
        half(folder / STATE)
    assert last_checkpoint(work) is None
    assert not list(work.glob("checkpoint-*"))


def test_publishing_can_be_repeated_and_removes_older_weights(work: Path, tmp_path: Path) -> None:
    arm = tmp_path / "arm"
    (arm / "step-3").mkdir(parents=True)
    for _ in range(2):
        steps = publish(work, arm)
    assert list(steps) == [8, 16, 104]
    assert sorted(path.name for path in arm.iterdir()) == ["step-104", "step-16", "step-8"]
    assert (arm / "step-104/model.safetensors").read_text() == "104"
