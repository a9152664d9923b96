"""Jobs in forks of a warm process: the same bytes, codes and messages, and no fork is left over."""

from __future__ import annotations

import json
import os
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, SNAKEMAKE

from paradox import warm
from paradox.files import write_table
from paradox.tasks import load_task

# As that of the study, with one job.
WORKFLOW = """
from paradox import warm
from paradox.study.plan import environment_of_jobs

environment_of_jobs()

onstart:
    warm.start()

onerror:
    warm.stop()

rule all:
    shell: {command!r}
"""
BRACES = str.maketrans({"{": "{{", "}": "}}"})  # Snakemake would fill in what they name
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    """A warm process that this one started."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warm, "_started", [])
        patch.delenv(warm.VARIABLE, raising=False)
        warm.start()
        yield warm._started[0].pid
        warm.stop()


@pytest.fixture()
def job(
    tmp_path: Path, server: int, task_spec: dict[str, Any], tiny_checkpoint: Path
) -> Iterator[Start]:
    """Start a small evaluation that writes to a folder; it may read its items from a pipe."""
    write_table(tmp_path / "items.csv", load_task(task_spec).items(0))
    os.mkfifo(tmp_path / "pipe")
    sizes = {"samples": 2, "samples_between": 2, "temperature": 1.0, "max_tokens": 8}
    sizes |= {"batch_size": 64, "dtype": "float32"}
    arm = {"base": "contaminated", "method": "base", "reward": "none", "seed": 0}
    spec = json.dumps({"arm": arm, "task": task_spec, "evaluation": sizes})
    started = []

    def start(
        out: str,
        items: str = "items.csv",
        threads: int = 1,
        before: list[str] | None = None,
        **environment: str,
    ) -> Any:
        folder = tmp_path / out
        folder.mkdir(exist_ok=True)
        command = ["python", "-m", "paradox", "run", "evaluate", "--spec", spec, "--in"]
        command += [f"manifest={tiny_checkpoint}/manifest.json", f"items={tmp_path / items}"]
        command += ["--out", f"items={folder}/items.csv", f"samples={folder}/samples.parquet"]
        command += ["--record", f"{folder}/evaluate.record.json", "--log", f"{folder}/log"]
        command += ["--lock", f"{ROOT}/envs/cpu.lock", "--threads", str(threads)]
        if before:
            (tmp_path / "Snakefile").write_text(
                WORKFLOW.format(command=shlex.join(command).translate(BRACES))
            )
            command = before
        # Pytest's variable differs between tests.
        environment = {k: v for k, v in os.environ.items() if k[:7] != "PYTEST_"} | environment
        environment["PATH"] = f"{SNAKEMAKE.parent}:{environment['PATH']}"
        given = {"env": environment, "cwd": ROOT, "text": True, "start_new_session": True}
        # A shell lets what it starts in the background ignore Ctrl-C, these tests among it.
        given["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE, **given))
        return started[-1]

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()


def children(process: int) -> list[int]:
    """Return the children of a process that have not ended."""
    found = []
    for child in Path(f"/proc/{process}/task/{process}/children").read_text().split():
        if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            found.append(int(child))
    return found


def command_of(process: int) -> str:
    """Return a process's command line."""
    return Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")


def reading(pipe: Path) -> int:
    """Wait until a job reads from the pipe; return the end that would be written to."""
    end = time.monotonic() + 20
    while True:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads
            assert time.monotonic() < end
            time.sleep(0.02)


def wait_for(condition: Callable[[], Any]) -> None:
    """Wait until something holds, for ten seconds."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_fork_writes_the_same_bytes(tmp_path: Path, job: Start, server: int) -> None:
    screens = {}
    for out, environment in {"warm": {}, "again": {}, "cold": {warm.VARIABLE: ""}}.items():
        process = job(out, **environment)
        screens[out] = re.sub(r"\d+ s\b", "", process.communicate()[1]).splitlines()
        assert process.returncode == 0, screens[out]
    assert screens["warm"] == screens["again"] == screens["cold"]
    assert screens["warm"][-1] == "[evaluate] done"
    for name in ("items.csv", "samples.parquet"):
        found = {(tmp_path / out / name).read_bytes() for out in screens}
        assert len(found) == 1, name
    facts = [json.loads((tmp_path / out / "evaluate.host.json").read_text()) for out in screens]
    # No code was given, so each names all files of the package that it loaded.
    loaded = [fact["modules_not_recorded"] for fact in facts]
    assert loaded[0] and loaded == [loaded[0]] * 3


def test_jobs_of_a_workflow_are_forks(tmp_path: Path, job: Start) -> None:
    run = [str(SNAKEMAKE), "--cores", "1", "--snakefile", str(tmp_path / "Snakefile")]
    process = job("out", items="pipe", before=[*run, "--directory", str(tmp_path)])
    pipe = reading(tmp_path / "pipe")
    (own,) = [child for child in children(process.pid) if "warm.py" in command_of(child)]
    (watching,) = children(own)
    os.kill(children(watching)[0], signal.SIGKILL)
    assert process.wait(20) == 1
    assert not Path(f"/proc/{own}").exists()
    os.close(pipe)


def test_errors_are_on_the_screen_and_in_the_log(tmp_path: Path, job: Start) -> None:
    (tmp_path / "wrong.csv").write_text("item\na\n")
    process = job("out", items="wrong.csv")
    screen = process.communicate()[1]
    assert process.returncode == 1
    assert "[evaluate] ERROR" in screen and "Traceback" not in screen
    log = (tmp_path / "out/log").read_text()
    assert "[evaluate] ERROR" in log and "Traceback" in log


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_command_takes_its_fork_along(
    tmp_path: Path, job: Start, server: int, number: signal.Signals
) -> None:
    process = job("out", items="pipe")
    pipe = reading(tmp_path / "pipe")
    assert children(server)
    process.send_signal(number)
    assert process.wait(10) == -number
    # Nobody reads any more.
    assert select.select([], [pipe], [], 10)[1]
    ended = select.poll()
    ended.register(pipe, 0)
    assert ended.poll(10_000) == [(pipe, select.POLLERR)]
    os.close(pipe)
    wait_for(lambda: not children(server))


def test_a_killed_fork_ends_its_command(tmp_path: Path, job: Start, server: int) -> None:
    process = job("out", items="pipe")
    pipe = reading(tmp_path / "pipe")
    (watching,) = children(server)
    os.kill(children(watching)[0], signal.SIGKILL)
    assert process.wait(10) == 128 + signal.SIGKILL
    os.close(pipe)


def test_a_lost_fork_is_run_again(tmp_path: Path, job: Start, server: int) -> None:
    process = job("out", items="pipe")
    pipe = reading(tmp_path / "pipe")
    (watching,) = children(server)
    (fork,) = children(watching)
    os.kill(watching, signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{fork}").exists())
    os.close(pipe)
    pipe = reading(tmp_path / "pipe")
    assert process.poll() is None and not children(server)
    os.close(pipe)


@pytest.mark.parametrize(
    "difference",
    [{"MKL_NUM_THREADS": "2"}, {"PYTHONHASHSEED": "1"}, {"threads": 2}, {warm.VARIABLE: "/none"}],
    ids=lambda difference: next(iter(difference)),
)
def test_other_jobs_are_run_as_processes_of_their_own(
    tmp_path: Path, job: Start, server: int, difference: dict[str, Any]
) -> None:
    process = job("out", items="pipe", **difference)
    pipe = reading(tmp_path / "pipe")
    assert process.poll() is None and not children(server)
    os.close(pipe)


def test_it_ends_with_what_started_it() -> None:
    code = "import time; from paradox import warm; warm.start();"
    code += (
        "print(warm._started[0].pid, warm.os.environ[warm.VARIABLE], flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout
        pid, socket = run.stdout.readline().split()
        assert Path(socket).parent.stat().st_mode & 0o777 == 0o700
        assert Path(f"/proc/{pid}").exists()
        run.kill()
    wait_for(lambda: not Path(socket).parent.exists())


def test_jobs_are_cold_after_it_has_stopped(
    tmp_path: Path, job: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm, "_started", [])
    monkeypatch.setenv(warm.VARIABLE, "")
    warm.start()
    socket = os.environ[warm.VARIABLE]
    warm.stop()
    assert warm.VARIABLE not in os.environ and not Path(socket).parent.exists()
    process = job("out", items="missing.csv", **{warm.VARIABLE: socket})
    assert "missing.csv: no such file" in process.communicate()[1]
    assert process.returncode == 1
