"""The workflow's command for a tiny arm, killed from outside at a moment that a name chooses.

Python tells an audit hook of every file that is about to be written, renamed, linked or deleted;
these *events* are the grid on which moments are chosen. One that is followed by computing is
killed after a random part of it; at all others the process waits for the kill, so that no
moment depends on the machine's speed.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from conftest import ROOT
from train_fixture import PRELOAD, arm_spec

from paradox.files import canonical_json
from paradox.rewards import FOLDER
from paradox.seeds import keyed_rng
from paradox.steps import code
from paradox.study.kinds import TRAINERS
from paradox.tasks import module_of

ARM, RUN = "results/t/checkpoints/arm", "results/t/runs/arm"
# Where an event takes place, by its path below the repository.
PLACES = {
    r"/\.work/\w+/step-(\d+)": "weights",
    r"/\.work/\w+/checkpoint-(\d+)": "checkpoint",
    r"checkpoints/arm/step-(\d+)": "publish",
    r"runs/arm/\.?(?:train|arguments)\.[\d.]*(?:tmp\.)?(?:csv|json)$": "curves",
    r"checkpoints/arm/\.?manifest": "manifest",
    r"runs/arm/\.?train\.(?:host|record)": "record",
}
# Of an event's arguments, the path that is written to.
EVENTS = {"open": 0, "os.mkdir": 0, "os.rename": 1, "os.link": 1, "os.remove": 0, "os.rmdir": 0}
EVENTS["shutil.rmtree"] = 0
PHASES = ("before", "weights", "checkpoint", "between", "publish", "after")
# An event of an uninterrupted run: place, its number there, seconds on a clock.
Told = tuple[str, int, float]


@dataclass(frozen=True)
class Moment:
    """When to kill: at an event of a place, or after it (`wait` seconds); with a `torn` file.

    Attributes
    ----------
    place, index
        The event: its number among the place's.
    wait
        Seconds from it to the kill; the process stops at the next event at the latest.
    torn
        The part that is left of the newest file, as if the kill came in the middle of writing it.
    """

    place: str
    index: int
    wait: float = 0.0
    torn: float | None = None


def repository(root: Path, base: Path, data: Path) -> Path:
    """Make a folder in which the command finds the arm's inputs; every path is relative."""
    shutil.copytree(base, root / "given/base")
    for name in ("prompts.csv", "samples.parquet"):
        shutil.copy(data / name, root / "given")
    shutil.copy(ROOT / "envs/cpu.lock", root / "given")
    return root


def command(trainer: str, task: dict[str, Any], **changes: Any) -> list[str]:
    """Return the command line after ``python -m paradox``, as the rule of the trainer writes it."""
    samples = ["samples=given/samples.parquet"] if TRAINERS[trainer].from_samples else []
    outputs = [f"manifest={ARM}/manifest.json", f"curves={RUN}/train.csv"]
    files = code(trainer, module_of(task["kind"]))
    return [
        *("run", trainer, "--spec", canonical_json(arm_spec(task, trainer, **changes))),
        *("--in", "base=given/base/manifest.json", "prompts=given/prompts.csv"),
        *(f"reward+={FOLDER / 'random.py'}", *samples),
        *("--out", *outputs, f"arguments={RUN}/arguments.json"),
        *("--code", *(str(Path(file).resolve()) for file in files), "--lock", "given/cpu.lock"),
        *("--record", f"{RUN}/train.record.json", "--threads", "1", "--log", "logs/train.log"),
    ]


# --- in the process that is killed -----------------------------------------------------------


def _process(root: Path, line: list[str], moment: Moment | None, teller: Connection) -> None:
    from paradox.__main__ import main

    os.chdir(root)
    sys.addaudithook(_Watch(root, moment, teller))
    sys.exit(main(line))


class _Watch:
    """Tell of events; at the moment, tear a file and wait for the kill."""

    def __init__(self, root: Path, moment: Moment | None, teller: Connection) -> None:
        self.root, self.moment, self.teller = root, moment, teller
        self.place, self.index, self.reached, self.busy = "before", -1, False, False
        self._happens("before")

    def __call__(self, event: str, given: tuple[Any, ...]) -> None:
        if event not in EVENTS or self.busy:
            return
        if event == "open" and not (given[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        path = given[EVENTS[event]]
        place = None if isinstance(path, int) else self._place(event, os.fsdecode(path))
        if place:
            # Nothing that the hook itself does is an event.
            self.busy = True
            self._happens(place)
            self.busy = False

    def _place(self, event: str, path: str) -> str | None:
        if event in ("os.remove", "os.rmdir") and "/" not in path:
            return self.place  # a tree is deleted by names inside its folders
        if event == "shutil.rmtree":
            if path.endswith(".work"):
                return "tidy"
            # An old checkpoint goes before the next is made.
            return "drop" if ".work/" in path else "publish"
        for pattern, place in PLACES.items():
            if found := re.search(pattern, path):
                return "-".join([place, *found.groups()]) if place != "publish" else place
        return None

    def _happens(self, place: str) -> None:
        self.index = self.index + 1 if place == self.place else 0
        self.place = place
        wanted = self.moment
        if wanted is None:
            self.teller.send((place, self.index, time.monotonic()))
        elif self.reached:
            time.sleep(600)
        elif (place, self.index) == (wanted.place, wanted.index):
            self.reached = True
            if wanted.torn is not None:
                self._tear(wanted.torn)
            self.teller.send((place, self.index, time.monotonic()))
            if not wanted.wait:
                time.sleep(600)

    def _tear(self, part: float) -> None:
        folders = self.root.glob(f"{ARM}/.work/*/{self.place.replace('weights', 'step')}")
        files = [file for folder in folders for file in folder.iterdir() if file.is_file()]
        if files:
            newest = max(files, key=lambda file: file.stat().st_mtime_ns)
            os.truncate(newest, int(part * newest.stat().st_size))


# --- in the test ------------------------------------------------------------------------------


def run(root: Path, line: list[str], moment: Moment | None = None) -> tuple[int | None, list[Told]]:
    """Run a command in `root`, killed at the moment; return its exit code and what it told."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    listener, teller = context.Pipe(duplex=False)
    process = context.Process(target=_process, args=(root, line, moment, teller))
    process.start()
    teller.close()
    told = []
    try:
        while True:
            told.append(listener.recv())
            if moment:
                time.sleep(moment.wait)
                assert process.pid
                os.kill(process.pid, signal.SIGKILL)
    except EOFError:
        process.join(300)
    return process.exitcode, told


def draw(told: list[Told], phase: str, *name: str | int) -> Moment:
    """Draw a moment of a phase from what an uninterrupted run told; `name` keys the draw."""
    rng = keyed_rng("kill", phase, *name)
    events = [n for n in range(len(told)) if _phase(told, n) == phase]
    n = events[rng.integers(len(events))]
    place, index, start = told[n]
    if phase in ("before", "between"):
        return Moment(place, index, wait=rng.uniform() * (told[n + 1][2] - start))
    torn = rng.uniform() if place.startswith(("weights", "checkpoint")) else None
    return Moment(place, index, torn=torn)


def draw_again(told: list[Told], first: Moment, *name: str | int) -> Moment:
    """Draw a second moment, of those that also a training reaches that goes on after `first`."""
    last = max(place for place, _, _ in told if place.startswith("weights"))
    places = ["curves", "publish", "manifest", "tidy", "record"]
    if not first.place.endswith(("drop", last.split("-")[1], *places)):
        places += [last, last.replace("weights", "checkpoint")]
    return Moment(places[keyed_rng("kill again", *name).integers(len(places))], 0)


def _phase(told: list[Told], n: int) -> str:
    place = told[n][0].split("-")[0]
    following = told[n + 1][0] if n + 1 < len(told) else ""
    if place == "before":
        return "before"
    # Updates lie between the last event of a checkpoint and the first of the next one's weights.
    if following.startswith("weights") and following != told[n][0]:
        return "between"
    if place in ("curves", "publish", "manifest"):
        return "publish"
    if place in ("tidy", "record"):
        return "after"
    return "weights" if place == "weights" else "checkpoint"


def results(root: Path) -> dict[str, bytes]:
    """Return what a command made, less what tells of the machine and the time.

    A kill in the middle of an atomic write also leaves its temporary file, which nothing reads.
    """
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted((root / "results").rglob("*"))
        if path.is_file()
        and "tensorboard" not in path.parts
        and not path.name.endswith(".host.json")
        and not re.fullmatch(r"\..+\.\d+\.tmp\.\w+", path.name)
    }
