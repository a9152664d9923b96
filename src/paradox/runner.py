"""Run one step: ``python -m paradox run STEP``; what every rule of the workflow calls.

A step is a module with ``main(spec, inputs, outputs, progress)``. What libraries print goes to the
log; progress and errors are shown on the screen, too.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from paradox.errors import DataError, ParadoxError, hint, problems
from paradox.files import raise_if_disk_full, require_disk_space
from paradox.progress import Progress
from paradox.provenance.identity import VARIABLE
from paradox.provenance.records import Paths, check_inputs, draft, each, write_record
from paradox.steps import STEPS, numeric

# Only these steps may ask a model hub for something (pinned models and benchmarks).
ONLINE = {"data", "base"}


@dataclass(frozen=True)
class Job:
    """One run of a step."""

    step: str  # a key of `paradox.steps.STEPS`
    label: str  # how the job calls itself in progress lines
    spec: dict[str, Any]  # the step's resolved parameters, plain data
    # By name; a list where a step takes many files under one name
    inputs: Paths
    outputs: Paths
    record: Path  # where the record of this job goes
    log: Path  # receives everything that is printed, tracebacks too
    producers: list[Path]  # records of the jobs that made the inputs
    code: list[Path]  # source files that the result depends on
    locks: list[Path]  # the lock files of the environment
    threads: int = 1  # number of CPU threads, part of the result's identity on most machines
    disk_mb: float = 0.0  # space that must be free before the step starts


def run(job: Job) -> int:
    """Run a job; return the process's exit code (0 or 1)."""
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with _printing_to(job.log) as streams:
        progress = Progress(job.label, streams=streams)
        try:
            _run(job, progress)
        except ParadoxError as error:
            traceback.print_exc()
            progress.say(f"ERROR: {error}")
            return 1
        except Exception as error:
            traceback.print_exc()
            progress.say(f"ERROR: {type(error).__name__}: {error} (traceback in {job.log})")
            return 1
        progress.say("done")
        return 0


def _run(job: Job, progress: Progress) -> None:
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    _check(job)
    inputs = check_inputs(job.inputs, job.producers)
    _environment(job.step, job.spec, job.threads)
    record = draft(job.step, job.spec, job.threads, job.record, inputs, job.code, job.locks)
    os.environ[VARIABLE] = record["derivation"]
    module = importlib.import_module(STEPS[job.step])
    try:
        module.main(job.spec, job.inputs, job.outputs, progress)
        write_record(record, job.outputs, job.locks, started, time.monotonic() - clock)
    except Exception as error:
        raise_if_disk_full(error, next(iter(job.outputs.values())))
        raise


def _check(job: Job) -> None:
    if job.step not in STEPS:
        raise DataError(f"{job.step!r} is not a step; {hint(job.step, STEPS)}")
    names = [*chain(*each(job.inputs).values()), *job.producers, *job.code, *job.locks]
    missing = [f"{path}: no such file" for path in names if not path.exists()]
    if missing:
        raise DataError(problems(f"step {job.step}: missing inputs", missing))
    for path in job.outputs.values():
        require_disk_space(path.parent, job.disk_mb)


def set_environment(step: str, threads: int) -> None:
    """Set the variables that libraries read when they are imported."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["OMP_NUM_THREADS"] = str(threads)
    # Idle OpenMP threads that spin slow down every other job on a small machine.
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    if step not in ONLINE:
        os.environ["HF_HUB_OFFLINE"] = "1"


def _environment(step: str, spec: dict[str, Any], threads: int) -> None:
    set_environment(step, threads)
    if numeric(step):
        from paradox.models import set_determinism
        from paradox.seeds import torch_seed

        seed = spec["arm"]["seed"] if "arm" in spec else spec["seed"]
        set_determinism(threads, torch_seed(seed, step))


@contextmanager
def _printing_to(log: Path) -> Iterator[tuple[TextIO, TextIO]]:
    """Send this process's output to `log`; yield the streams of the screen and of the log."""
    streams = sys.stdout, sys.stderr
    for stream in streams:
        stream.flush()
    saved = os.dup(1), os.dup(2)
    with (
        open(log, "w", encoding="utf-8", buffering=1) as file,
        os.fdopen(os.dup(2), "w") as screen,
    ):
        # Libraries print through Python's streams, compiled code through the descriptors.
        sys.stdout = sys.stderr = file
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield screen, file
        finally:
            sys.stdout, sys.stderr = streams
            for number, copy in zip((1, 2), saved, strict=True):
                os.dup2(copy, number)
                os.close(copy)


def parse_paths(pairs: list[str]) -> Paths:
    """Parse ``name=path`` (one file) and ``name+=path`` (one more of a list).

    >>> parse_paths(["a=x", "b+=y", "b+=z"])["b"][1].name
    'z'
    """
    paths: Paths = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        if name.endswith("+"):
            paths.setdefault(name[:-1], []).append(Path(value))
        else:
            paths[name] = Path(value)
    return paths


def parse_spec(text: str) -> dict[str, Any]:
    """Parse a step's parameters (JSON)."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"--spec: not valid JSON ({error}).") from None
