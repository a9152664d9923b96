"""What a run would do and cost: ``paradox plan``.

How long a job takes is what the ``NAME.host.json`` of finished ones say: first those of
``results/<scale>`` that this kind of device made, then all others and ``reference/<scale>``,
scaled by how long this machine took for what both have run.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

from paradox.errors import DataError
from paradox.files import read_json
from paradox.host import device_class
from paradox.jobs import Job, Kind, Work, planned, wall
from paradox.provenance.chain import Chain
from paradox.provenance.records import SUFFIX, hashes_of, host_file
from paradox.steps import TRAINERS

# Between two jobs (a process ends, Snakemake chooses, the next starts), if no run tells: the
# medians of `gap` over finished runs on two cores were 0.6 to 2.8 s.
GAP = 2.0
# Fewer starts than these say little about the time between jobs.
STARTS = 10
# Characters of a setting and its earlier value that are said; lists can be pages.
LONGEST = 100


@dataclass(frozen=True)
class Timing:
    """What one finished job took; `here`: on this kind of device, in ``results``."""

    work: Work
    started: float
    seconds: float
    here: bool
    checkpoint_bytes: int | None


@dataclass(frozen=True)
class Estimate:
    """What a job will take (None: unknown), where that comes from, and what to say about it."""

    seconds: float | None
    here: bool
    checkpoint_bytes: int | None
    note: str


def timings(root: Path, scale: str) -> list[Timing]:
    """Return what the finished jobs of a scale took, here and in the reference."""
    rows, device = [], cache(device_class)
    for kind in ("results", "reference"):
        folder = root / kind / scale
        if next(folder.rglob(f"*{SUFFIX}"), None) is None:
            continue
        chain = Chain.load(folder)
        for path, record in chain.records.items():
            try:
                facts = read_json(host_file(chain.where(path)))
                started = datetime.fromisoformat(facts["started"]).timestamp()
                seconds = float(facts["seconds"])
                size = _checkpoint_bytes(chain, record)
            except (DataError, KeyError, TypeError, ValueError):
                # Estimates can do without a file that is lost or damaged; `verify` names it.
                continue
            here = kind == "results" and record["device"] == device(record["step"])
            work = Work(record["step"], record["parameters"])
            rows.append(Timing(work, started, seconds, here, size))
    return rows


def _checkpoint_bytes(chain: Chain, record: dict[str, Any]) -> int | None:
    """Return the size of the weights that a job wrote, where its manifest is at hand."""
    paths = hashes_of(record["outputs"])
    manifests = [chain.where(path) for path in paths if path.endswith("/manifest.json")]
    if not manifests or not manifests[0].exists():
        return None
    listed = read_json(manifests[0])["checkpoints"]
    return sum(file["bytes"] for entry in listed for file in entry["files"])


def gap(timed: Iterable[Timing]) -> float:
    """Return the seconds between the end of a job and the start of the next, the median.

    What `timed` of this machine says, or all of it when that is little.
    """
    for chosen in ([timing for timing in timed if timing.here], list(timed)):
        ends = sorted(timing.started + timing.seconds for timing in chosen)
        gaps = []
        for timing in chosen:
            # A start is cut to the second.
            before = [end for end in ends if end < timing.started + 1]
            gaps += [max(0.0, timing.started - before[-1])] if before else []
        if len(gaps) >= STARTS:
            return median(gaps)
    return GAP


class Times:
    """Finished jobs by kind, to look up what a job will take."""

    def __init__(self, timed: Iterable[Timing]) -> None:
        self._of: dict[Kind, list[Timing]] = defaultdict(list)
        timed = list(timed)
        for one in timed:
            wider = [kind for kind in one.work.far if kind[0] in (one.work.step, "training")]
            for kind in [*one.work.near, *wider]:
                self._of[kind].append(one)
        self.ratio = _ratio(timed)

    def of(self, work: Work) -> Estimate:
        """Return what a piece of work will take: the median of the closest that was timed.

        Closest is the same kind with the same settings, then with others, then what stands in
        for it; among equals, what this device did.
        """
        places = [(kind, alike) for alike in (True, False) for kind in work.near]
        places += [(kind, alike) for kind in work.far for alike in (True, False)]
        for kind, alike in places:
            for here in (True, False):
                closest = [
                    one
                    for one in self._of.get(kind, [])
                    if one.here == here and alike == (not work.unlike(one.work))
                ]
                if closest:
                    return self._estimate(work, kind, closest)
        return Estimate(None, False, None, f"no time known for {work.name}: not counted")

    def _estimate(self, work: Work, kind: Kind, timed: list[Timing]) -> Estimate:
        seconds = median(one.seconds * _longer(work, one.work) for one in timed)
        sizes = [one.checkpoint_bytes for one in timed if one.checkpoint_bytes is not None]
        size = int(median(sizes)) if sizes else None
        note, other = "", work.unlike(timed[0].work)
        if kind not in work.near:
            names = {("training",): "all trainings", ("evaluate", "base"): "the bases' evaluation"}
            whose = names.get(kind, f"other {kind[0]} jobs")
            note = f"no time known for {work.name}: taken as that of {whose}"
        elif other:
            then, now = timed[0].work.settings, work.settings
            names = [_change(key, then[key], now[key]) for key in other[:3]]
            note = f"{work.name} timed with other settings: {'; '.join(names)}"
            note += f"; and {len(other) - 3} more" if len(other) > 3 else ""
        here = timed[0].here
        return Estimate(seconds * (1.0 if here else self.ratio), here, size, note)


def _change(key: str, then: Any, now: Any) -> str:
    """Return what another value of a setting is, or only that it is when that is long."""
    text = f"{key} {then}, now {now}"
    return text if len(text) <= LONGEST else f"{key} is another"


def _ratio(timed: Iterable[Timing]) -> float:
    """Return how much longer jobs take here than elsewhere, from the kinds timed on both.

    Sums of medians, so that long jobs, which decide what a run costs, weigh most.
    """
    kinds: dict[Kind, tuple[list[Timing], list[Timing]]] = defaultdict(lambda: ([], []))
    for timing in timed:
        kinds[timing.work.near[0]][timing.here].append(timing)
    mine = its = 0.0
    for elsewhere, here in kinds.values():
        same = [timing for timing in elsewhere if here and not timing.work.unlike(here[0].work)]
        if same:
            mine += median(timing.seconds for timing in here)
            its += median(timing.seconds for timing in same)
    return mine / its if mine and its else 1.0


def _longer(work: Work, timed: Work) -> float:
    """Return how many times the updates of a timed training another of its trainer makes."""
    key = f"{work.step}.updates"
    now, then = work.settings.get(key), timed.settings.get(key)
    return float(now) / float(then) if now and then else 1.0


def plan(
    root: Path, targets: Sequence[str], overrides: Sequence[str], cores: str, gpus: int
) -> str:
    """Return what Snakemake would run and what it will cost, as text."""
    jobs, start = planned(root, targets, overrides, cores)
    if not jobs:
        return "Nothing to do: everything is there and up to date."
    scale = Path(jobs[0].record).parts[1]
    timed = timings(root, scale)
    times, between = Times(timed), gap(timed)
    estimates = [times.of(job.work) for job in jobs]
    count = (os.cpu_count() or 1) if cores == "all" else int(cores)
    lines = [*_table(jobs, estimates), ""]
    known = [each for each in estimates if each.seconds is not None]
    if not known:
        return "\n".join([*lines, f"{len(jobs)} jobs; no job of scale {scale} was ever timed."])
    seconds = [each.seconds or 0.0 for each in estimates]
    work = sum(one * job.threads for one, job in zip(seconds, jobs, strict=True))
    last = start + wall(jobs, [one + between for one in seconds], count, gpus)
    lines += [
        f"{len(jobs)} jobs, {length(work)} of one-core work; "
        f"about {length(last)} on {count} core{'s' * (count > 1)}"
    ]
    sizes = [each.checkpoint_bytes for each in estimates if each.checkpoint_bytes is not None]
    writing = [job for job in jobs if job.work.step in ("base", *TRAINERS)]
    if writing and len(sizes) == len(writing):
        lines += [f"their checkpoints take about {sum(sizes) / 1e6:.0f} MB"]
    lines += [_sources(scale, known, times.ratio, between)]
    return "\n".join([*lines, *dict.fromkeys(each.note for each in estimates if each.note)])


def _table(jobs: Sequence[Job], estimates: Sequence[Estimate]) -> list[str]:
    rows: dict[str, list[float | None]] = defaultdict(list)
    for job, each in zip(jobs, estimates, strict=True):
        rows[job.row].append(each.seconds)
    width = max(len("rule (method)"), *map(len, rows))
    lines = [f"{'rule (method)':{width}}  {'jobs':>5}  {'seconds each':>12}  {'total':>8}"]
    for row, seconds in rows.items():
        known = [each for each in seconds if each is not None]
        mean = f"{sum(known) / len(known):.1f}" if known else "?"
        total = length(sum(known)) if known else "?"
        lines.append(f"{row:{width}}  {len(seconds):5}  {mean:>12}  {total:>8}")
    return lines


def _sources(scale: str, known: Sequence[Estimate], ratio: float, between: float) -> str:
    here = sum(each.here for each in known)
    parts = [f"of {here} jobs from this machine's results/{scale}"] if here else []
    if elsewhere := len(known) - here:
        scaled = f" (x {ratio:.2f}, as jobs timed on both)" if ratio != 1.0 else ""
        parts += [f"of {elsewhere} from reference/{scale} or other devices' results{scaled}"]
    return f"times {', '.join(parts)}; {between:.1f} s between jobs"


def length(seconds: float) -> str:
    """Return a time as people say it.

    >>> [length(5.4), length(100), length(5400), length(9000)]
    ['5 s', '1.7 min', '90 min', '2.5 h']
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min" if seconds >= 600 else f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"
