"""The jobs that Snakemake would run, and when the last of them would end.

Snakemake's dry run lists them; each one's shell command holds its step, its parameters, its
threads and the records it waits for.
"""

from __future__ import annotations

import heapq
import json
import re
import shlex
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from paradox.errors import ConfigError, DataError
from paradox.provenance.compare import texts
from paradox.steps import TRAINERS

# Snakemake says these before what is wrong.
CHATTER = ("Using workflow", "Config file", "Assuming unrestricted", "Building DAG", '  File "')
# What says which job of a kind this is, not how the kind works; of a page, all that it is given.
IDENTITY = ("arm", "base", "figure", "logged", "reward", "seed", "kept", "parameters", "title")
# Steps that sample from the base as its evaluation does.
LIKE_EVALUATE = ("samples", "votes")
Kind = tuple[str, ...]


@dataclass(frozen=True)
class Work:
    """A step with its parameters: what decides how long it takes."""

    step: str
    spec: dict[str, Any]

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The parameters that say how, not which."""
        return texts({key: value for key, value in self.spec.items() if key not in IDENTITY})

    @property
    def near(self) -> list[Kind]:
        """The kinds of work that take as long as this, the closest first."""
        arm = self.spec.get("arm")
        if arm is None:
            return [(self.step, self.spec.get("base") or self.spec.get("figure") or "")]
        trained = "base" if arm["method"] == "base" else "arm"
        wider = arm["method"] if self.step in TRAINERS else trained
        return [(self.step, arm["method"], arm["reward"]), (self.step, wider)]

    @property
    def far(self) -> list[Kind]:
        """The kinds that stand in for work that was never timed."""
        if self.step in TRAINERS:
            return [(self.step,), ("training",)]
        return [(self.step,), *([("evaluate", "base")] if self.step in LIKE_EVALUATE else [])]

    @property
    def name(self) -> str:
        """How the output calls this kind: a method, or ``votes contaminated``."""
        if self.step in TRAINERS:
            return self.spec["arm"]["method"]
        return " ".join(filter(None, self.near[-1]))

    def unlike(self, other: Work) -> list[str]:
        """Return the settings that both have and that differ.

        A key that only one has is younger than the other's run, which did what its default does.
        """
        mine, its = self.settings, other.settings
        return sorted(key for key in mine.keys() & its.keys() if mine[key] != its[key])


@dataclass(frozen=True)
class Job:
    """One job that Snakemake would run, and why it says so; its record is its name."""

    record: str
    rule: str
    work: Work
    threads: int
    gpus: int
    priority: int
    needs: frozenset[str]
    reason: str = ""

    @property
    def row(self) -> str:
        """The row of the table that the job counts in."""
        trains = self.work.step in TRAINERS
        return f"{self.rule} ({self.work.name})" if trains else self.rule


def planned(
    root: Path, targets: Sequence[str], overrides: Sequence[str], cores: str
) -> tuple[list[Job], float]:
    """Ask Snakemake what it would run; return the jobs and the seconds that asking took.

    Its refusal is a `ConfigError` with its own message.
    """
    for pair in overrides:
        if "=" not in pair:
            raise ConfigError(f"--config: {pair!r} is not KEY=VALUE; targets come before --config.")
    # The profile leaves the rules out; a list of its own takes that back.
    command = [sys.executable, "-m", "snakemake", *targets, "--cores", cores, "--dry-run"]
    command += ["--printshellcmds", "--quiet", "host"]
    command += ["--config", *overrides] if overrides else []
    start = time.monotonic()
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise ConfigError("\n".join(line for line in lines if not line.startswith(CHATTER)))
    return jobs_of(done.stdout + done.stderr), time.monotonic() - start


def jobs_of(text: str) -> list[Job]:
    """Return the jobs of a dry run that prints rules and shell commands.

    A `DataError` tells when they are not those of Snakemake's own table of counts.
    """
    _, *parts = re.split(r"^(?:local)?rule (\w+):$", text, flags=re.MULTILINE)
    jobs = []
    for rule, body in zip(parts[::2], parts[1::2], strict=True):
        command = re.search(r"^Shell command: python -m paradox run (.*)$", body, re.MULTILINE)
        if command:
            jobs.append(_job(rule, body, command[1]))
    counts = dict(re.findall(r"^(\w+) +(\d+)$", text, flags=re.MULTILINE))
    table = {rule: int(n) for rule, n in counts.items() if rule not in ("all", "total")}
    read = dict(Counter(job.rule for job in jobs))
    if table != read:
        raise DataError(
            f"snakemake --dry-run: its table says {table}, its jobs were read as {read}"
        )
    return jobs


def _job(rule: str, body: str, command: str) -> Job:
    options: dict[str, list[str]] = defaultdict(list)
    name = "step"
    for word in shlex.split(command):
        if word.startswith("--"):
            name = word
        else:
            options[name].append(word)

    def number(pattern: str) -> int:
        match = re.search(pattern, body, re.MULTILINE)
        return int(match[1]) if match else 0

    reason = re.search(r"^    reason: (.*?) *$", body, re.MULTILINE)
    return Job(
        record=options["--record"][0],
        rule=rule,
        work=Work(options["step"][0], json.loads(options["--spec"][0])),
        threads=int(options["--threads"][0]),
        gpus=number(r"^    resources: .*\bgpu=(\d+)"),
        priority=number(r"^    priority: (\d+)$"),
        needs=frozenset(options["--producers"]),
        reason=reason[1] if reason else "",
    )


def wall(jobs: Sequence[Job], seconds: Sequence[float], cores: int, gpus: int) -> float:
    """Return when the last job ends if each starts as soon as it can.

    A job waits for those that make its inputs, for its threads and for its GPUs; of the jobs
    that can start, the one of the highest priority does. None needs more than there is: Snakemake
    cuts threads to the cores.
    """
    order = sorted(range(len(jobs)), key=lambda place: -jobs[place].priority)
    planned_here, done = {job.record for job in jobs}, set()
    free, free_gpus, now = cores, gpus, 0.0
    running: list[tuple[float, int]] = []
    while order or running:
        waiting = []
        for place in order:
            job = jobs[place]
            threads, needed = min(job.threads, cores), min(job.gpus, gpus)
            ready = job.needs & planned_here <= done
            if ready and threads <= free and needed <= free_gpus:
                free, free_gpus = free - threads, free_gpus - needed
                heapq.heappush(running, (now + seconds[place], place))
            else:
                waiting.append(place)
        order = waiting
        now, place = heapq.heappop(running)
        done.add(jobs[place].record)
        free += min(jobs[place].threads, cores)
        free_gpus += min(jobs[place].gpus, gpus)
    return now
