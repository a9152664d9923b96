"""What a run would do and cost: the jobs of a dry run, matching of times, the schedule."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import SMOKE, snakemake

from paradox.__main__ import main
from paradox.cost import GAP, Times, Timing, gap, plan, timings
from paradox.errors import ConfigError, DataError
from paradox.files import write_json
from paradox.host import device_class
from paradox.jobs import Job, Work, jobs_of, planned, wall
from paradox.provenance.records import derivation_of, host_file
from paradox.steps import STEPS, numeric

CONFIG = SMOKE[1:]
DRY_RUN = """Job stats:
job         count
--------  -------
base            1
evaluate        1
all             1
total           3

[Sat Nov 21 10:16:57 2026]
rule base:
    input: results/s/data/corpus/b.parquet
    output: results/s/runs/b/base/none/s0/train.record.json
    jobid: 2
    reason: Missing output files
    priority: 10
    threads: 2
    resources: tmpdir=/tmp, runtime=30, gpu=1, mem_mb=2000, mem=2 GB
Shell command: python -m paradox run base --label 'base b' --spec '{"base":"b","x":"it is \\"y\\""}' --out manifest=m --producers  --record results/s/base.record.json --threads 2 --disk-mb 3 --log l
[Sat Nov 21 10:16:57 2026]
rule evaluate:
    jobid: 3
    resources: tmpdir=/tmp, gpu=0
Shell command: python -m paradox run evaluate --label 'e' --spec '{"base":"b"}' --in a=b c=d --producers results/s/base.record.json results/s/data.record.json --record results/s/e.record.json --threads 1 --disk-mb 3 --log l
rule all:
    input: results/s/e.record.json
    jobid: 0
"""  # noqa: E501 (as Snakemake prints it)


def training(
    method: str = "grpo", reward: str = "format", trainer: str = "grpo", **how: Any
) -> Work:
    arm = {"base": "b", "method": method, "reward": reward, "seed": how.pop("seed", 0)}
    return Work(trainer, {"arm": arm, trainer: {"updates": 10, **how}, "task": {"items": 4}})


def measuring(step: str, method: str, reward: str) -> Work:
    arm = {"base": "b", "method": method, "reward": reward, "seed": 0}
    return Work(step, {"arm": arm, "task": {"items": 4}})


def took(work: Work, seconds: float, here: bool = True, started: float = 0.0) -> Timing:
    return Timing(work, started, seconds, here, None)


def job(name: str, *needs: str, threads: int = 1, gpus: int = 0, priority: int = 0) -> Job:
    return Job(name, "r", Work("data", {}), threads, gpus, priority, frozenset(needs))


# --- what would run --------------------------------------------------------------------------


def test_a_dry_run_is_read() -> None:
    base, evaluate = jobs_of(DRY_RUN)
    assert base.record == "results/s/base.record.json"
    assert base.work == Work("base", {"base": "b", "x": 'it is "y"'})
    assert (base.threads, base.gpus, base.priority, base.needs) == (2, 1, 10, frozenset())
    assert evaluate.rule == evaluate.work.step == "evaluate"
    assert (evaluate.threads, evaluate.gpus, evaluate.priority) == (1, 0, 0)
    assert evaluate.needs == {"results/s/base.record.json", "results/s/data.record.json"}


def test_a_dry_run_that_is_not_understood_is_refused() -> None:
    with pytest.raises(DataError, match=r"'evaluate': 2.* read as \{'base': 1, 'evaluate': 1\}"):
        jobs_of(re.sub(r"^evaluate        1", "evaluate        2", DRY_RUN, flags=re.MULTILINE))


def run_by(folder: Path, monkeypatch: pytest.MonkeyPatch, *targets: str) -> set[str]:
    monkeypatch.setenv("PYTHONPATH", str(folder / "src"))
    jobs, _ = planned(folder, targets, CONFIG, "2")
    return {one.record for one in jobs}


def test_the_jobs_are_those_that_run(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = finished / "results/smoke"
    everything = {str(p.relative_to(finished)) for p in results.rglob("*.record.json")}
    last = {f"results/smoke/figures/{n}" for n in ("accuracy", "perplexity", "recall")}
    last |= {f"results/smoke/{n}" for n in ("tables/tables", "paper/paper", "reports/report")}
    last |= {"results/smoke/reports/lineage", "results/smoke/reports/index"}
    last = {f"{path}.record.json" for path in last}

    def arm(key: str) -> set[str]:
        steps = ("train", "evaluate", "perplexity")
        page = f"results/smoke/reports/arms/{key}.record.json"
        return {page, *(f"results/smoke/runs/{key}/{step}.record.json" for step in steps)}

    assert run_by(finished, monkeypatch) == set()

    # A reward file is edited: its arms, and what is made of them, although it is still there.
    reward = finished / "src/paradox/rewards/constant.py"
    before = reward.read_text()
    try:
        reward.write_text(before + "# edited\n")
        constant = arm("contaminated/grpo/constant/s0") | arm("contaminated/grpo/constant/s1")
        assert run_by(finished, monkeypatch) == constant | last
    finally:
        reward.write_text(before)
    assert run_by(finished, monkeypatch) == set()

    # An arm is deleted: made again when something needs it, which nothing does while what was
    # made of it is there.
    deleted = ("runs/clean/grpo/format/s1", "tables", "figures")
    aside = [(results / name, finished / f"aside-{place}") for place, name in enumerate(deleted)]
    aside[0][0].rename(aside[0][1])
    try:
        assert run_by(finished, monkeypatch) == set()
        only = "results/smoke/runs/clean/grpo/format/s1/train.csv"
        training_only = {"results/smoke/runs/clean/grpo/format/s1/train.record.json"}
        assert run_by(finished, monkeypatch, only) == training_only
        for folder, away in aside[1:]:
            folder.rename(away)
        assert run_by(finished, monkeypatch) == arm("clean/grpo/format/s1") | last
    finally:
        for folder, away in aside:
            if away.exists():
                away.rename(folder)

    # Nothing is there.
    results.rename(finished / "aside")
    try:
        assert run_by(finished, monkeypatch) == everything
    finally:
        (finished / "aside").rename(results)


def test_a_finished_study_costs_nothing(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(finished)
    monkeypatch.setenv("PYTHONPATH", str(finished / "src"))
    assert main(["plan", "--config", *CONFIG]) == 0
    assert capsys.readouterr().out == "Nothing to do: everything is there and up to date.\n"
    # Another seed is timed by those that ran, on this machine.
    more = CONFIG[1].replace("[0, 1]", "[0, 1, 2]")
    assert main(["plan", "--cores", "2", "--config", CONFIG[0], more]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^train_grpo \(grpo\) +4 +[1-9][\d.]* ", said, re.MULTILINE)
    assert re.search(r"^24 jobs, .* about .* on 2 cores$", said, re.MULTILINE)
    assert "times of 24 jobs from this machine's results/smoke;" in said
    assert "no time known" not in said and "other settings" not in said


def test_a_wrong_configuration_is_snakemakes_message(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(repository)
    wrong = ["--config", "scale=smoke", "arms={rewards: [fromat]}"]
    assert main(["plan", *wrong]) == 1
    said = capsys.readouterr().err
    line = next(x for x in said.splitlines() if "arms.rewards[0]" in x)
    assert "'fromat' is not a reward" in line and "Did you mean 'format'?" in line
    asked = snakemake(repository, "-n", *wrong)
    assert line in (asked.stdout + asked.stderr).splitlines()
    assert "Config file" not in said and "Traceback" not in said
    with pytest.raises(ConfigError, match="'results/x' is not KEY=VALUE"):
        planned(repository, [], ["scale=smoke", "results/x"], "2")


# --- how long each takes ---------------------------------------------------------------------


def test_the_closest_times_count() -> None:
    times = Times(
        [
            took(training(), 10),
            took(training(seed=1), 30),
            took(training(seed=2), 12),
            took(training(reward="random"), 50),
            took(training(reward="random", updates=20), 1000),
            took(measuring("evaluate", "base", "none"), 3),
            took(measuring("evaluate", "grpo", "format"), 8),
            took(Work("base", {"base": "clean", "seed": 0}), 100),
            took(Work("base", {"base": "other", "seed": 0}), 200),
        ]
    )

    def of(work: Work) -> tuple[float | None, str]:
        return times.of(work).seconds, times.of(work).note

    assert of(training(seed=9)) == (12, "")  # the median of the same cell's seeds
    assert of(training(reward="random")) == (50, "")  # not what other settings took
    assert of(training(reward="constant")) == (21, "")  # the method's median: 10 12 30 50
    assert of(measuring("evaluate", "base", "none")) == (3, "")
    assert of(measuring("evaluate", "dpo", "random")) == (8, "")  # a trained arm, not a base
    assert of(Work("base", {"base": "clean", "seed": 0})) == (100, "")
    assert of(Work("base", {"base": "new", "seed": 0})) == (
        150,
        "no time known for base new: taken as that of other base jobs",
    )
    assert of(Work("votes", {"base": "clean", "seed": 0})) == (
        3,
        "no time known for votes clean: taken as that of the bases' evaluation",
    )
    assert of(Work("tables", {})) == (None, "no time known for tables: not counted")


def test_a_method_that_was_never_timed_is_taken_as_its_trainer_or_all() -> None:
    timed = [took(training(), 10), took(training("dr", "random", beta=1), 30)]
    times = Times([*timed, took(training("dpo", trainer="dpo"), 90)])
    new, other = times.of(training("new")), times.of(training("ppo", trainer="ppo"))
    assert (new.seconds, new.note) == (
        20,
        "no time known for new: taken as that of other grpo jobs",
    )
    assert (other.seconds, other.note) == (
        30,
        "no time known for ppo: taken as that of all trainings",
    )


def test_other_settings_are_said_and_updates_counted() -> None:
    times = Times([took(training(rate=1), 10), took(training(rate=1, seed=1), 14)])
    twice = times.of(training(updates=20, rate=2))
    assert twice.seconds == 24
    assert (
        twice.note == "grpo timed with other settings: grpo.rate 1, now 2; grpo.updates 10, now 20"
    )
    long = Times([took(training(rate=["a" * 60]), 10)]).of(training(rate=["b" * 60]))
    assert long.note == "grpo timed with other settings: grpo.rate is another"
    # The method's other rewards with these settings come before this reward with others.
    rewards = Times([took(training(updates=20), 10), took(training(reward="random"), 30)])
    assert rewards.of(training()).seconds == 30
    # A key that the earlier run did not know is no difference.
    assert times.of(training(rate=1, new=True)).note == ""


def test_this_machine_comes_first_and_scales_the_others() -> None:
    elsewhere = [took(training(), 10, here=False), took(training(reward="random"), 30, here=False)]
    first = Times(elsewhere)
    assert (first.ratio, first.of(training()).seconds, first.of(training()).here) == (1, 10, False)
    both = Times([*elsewhere, took(training(seed=3), 25)])
    assert (both.of(training()).seconds, both.of(training()).here) == (25, True)
    assert both.ratio == 2.5
    assert both.of(training(reward="random")).seconds == 75
    # What was timed with other settings says nothing about the machine.
    assert Times([*elsewhere, took(training(updates=40), 25)]).ratio == 1


def test_the_time_between_jobs_is_measured() -> None:
    work = Work("data", {})
    chain = [took(work, 10, started=12.0 * place) for place in range(11)]  # 2 s between
    assert gap(chain) == 2
    assert gap(chain[:5]) == GAP
    other = [took(work, 10, here=False, started=13.0 * place) for place in range(30)]
    assert gap(other) == 3
    assert gap([*chain, *other]) == 2


def test_times_are_read_from_results_and_reference(tmp_path: Path) -> None:
    def write(folder: str, name: str, device: str, seconds: Any) -> None:
        record = {key: {} for key in ("code", "environment", "inputs", "parameters", "seeds")}
        record |= {"format": 1, "path": f"results/s/{name}.record.json", "step": "tables"}
        record |= {"device": device, "determinism": "bitwise", "threads": 1}
        manifest = f"results/s/{name}/manifest.json"
        record |= {"outputs": {"manifest": [{"path": manifest, "sha256": "", "bytes": 1}]}}
        path = tmp_path / folder / f"s/{name}.record.json"
        write_json(path, record | {"derivation": derivation_of(record)})
        facts = {"started": "2026-01-01T00:00:00+00:00", "seconds": seconds}
        write_json(host_file(path), facts)

    write("results", "a", device_class("tables"), 1.0)
    files = [{"path": "w", "bytes": 5, "sha256": ""}, {"path": "c", "bytes": 2, "sha256": ""}]
    write_json(tmp_path / "results/s/a/manifest.json", {"checkpoints": [{"files": files}] * 2})
    write("results", "b", "cuda other", 2.0)
    write("results", "c", device_class("tables"), "damaged")
    write("reference", "a", device_class("tables"), 4.0)
    found = [(one.seconds, one.here, one.checkpoint_bytes) for one in timings(tmp_path, "s")]
    assert found == [(1.0, True, 14), (2.0, False, None), (4.0, False, None)]
    assert timings(tmp_path, "never-run") == []


# --- when they are done ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("jobs", "seconds", "cores", "length"),
    [
        # A chain takes its sum, however many cores there are.
        ([job("a"), job("b", "a"), job("c", "b")], [1, 2, 3], 2, 6),
        # An input that is there already is not waited for.
        ([job("b", "there"), job("c")], [2, 3], 2, 3),
        # Three jobs on two cores: 3 beside 2, then 2 from second 2 on.
        ([job("a"), job("b"), job("c")], [3, 2, 2], 2, 4),
        ([job("a"), job("b"), job("c")], [3, 2, 2], 1, 7),
        # Two threads: alone on two cores, beside others on four.
        ([job("a", threads=2), job("b"), job("c", threads=2)], [3, 1, 2], 2, 6),
        ([job("a", threads=2), job("b"), job("c", threads=2)], [3, 1, 2], 4, 3),
        # More threads than cores are cut.
        ([job("a", threads=8)], [3], 2, 3),
        # Of those that can start, the higher priority does: b beside x, y from 1, c from 4 on.
        ([job("x"), job("y"), job("b", priority=10), job("c", "b")], [4, 4, 1, 4], 2, 8),
        # One GPU: its jobs in turn, the others beside them.
        ([job("a", gpus=1), job("b", gpus=1), job("c")], [3, 3, 4], 4, 6),
    ],
)
def test_the_schedule(jobs: list[Job], seconds: list[float], cores: int, length: float) -> None:
    assert wall(jobs, seconds, cores, gpus=1) == length


def test_more_gpus_run_more_jobs() -> None:
    assert wall([job("a", gpus=1), job("b", gpus=1)], [3, 3], 4, gpus=2) == 3


# --- what is said ----------------------------------------------------------------------------


def test_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    works = [training(), training(reward="random"), measuring("evaluate", "grpo", "format")]
    rules = ("train_grpo", "train_grpo", "evaluate")
    jobs = [
        Job(f"results/s/{place}.record.json", rule, work, 1, 0, 0, frozenset(needs))
        for place, (rule, work, needs) in enumerate(
            zip(rules, works, ([], [], ["results/s/0.record.json"]), strict=True)
        )
    ]
    found = [Timing(works[0], 0, 100, True, 2_000_000), Timing(works[1], 0, 200, True, 2_000_000)]
    monkeypatch.setattr("paradox.cost.planned", lambda *_: (jobs, 8.0))
    monkeypatch.setattr("paradox.cost.timings", lambda *_: found)
    # 8 s of Snakemake; 100 + gap, then nothing known + gap, beside 200 + gap.
    assert plan(Path(), [], [], "2", 1).splitlines() == [
        "rule (method)       jobs  seconds each     total",
        "train_grpo (grpo)      2         150.0   5.0 min",
        "evaluate               1             ?         ?",
        "",
        "3 jobs, 5.0 min of one-core work; about 3.5 min on 2 cores",
        "their checkpoints take about 4 MB",
        "times of 2 jobs from this machine's results/s; 2.0 s between jobs",
        "no time known for evaluate arm: not counted",
    ]
    monkeypatch.setattr("paradox.cost.timings", lambda *_: [])
    assert plan(Path(), [], [], "2", 1).endswith("3 jobs; no job of scale s was ever timed.")


def test_only_numeric_steps_load_torch() -> None:
    """Of the others there are many, and loading torch takes longer than most of them do."""
    modules = sorted({module for step, module in STEPS.items() if not numeric(step)})
    said = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", said], check=False).returncode == 0
