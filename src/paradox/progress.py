"""Progress of a running step: a line now and then, on the screen and in the log."""

from __future__ import annotations

import sys
import time
from typing import TextIO


class Progress:
    """Print ``[label] what n/total (seconds) note`` now and then, and at the end.

    Parameters
    ----------
    label
        Says which job speaks, for example ``"train contaminated/grpo/format/s0"``.
    every
        Seconds between two lines.
    streams
        Where the lines go; standard error by default.
    """

    def __init__(
        self, label: str, every: float = 10.0, streams: tuple[TextIO, ...] | None = None
    ) -> None:
        self.label = label
        self.every = every
        self.streams = streams or (sys.stderr,)
        self.start = self.last = time.monotonic()

    def __call__(self, what: str, done: int, total: int, note: str = "") -> None:
        """Report that `done` of `total` are done; most calls print nothing."""
        now = time.monotonic()
        if done < total and now - self.last < self.every:
            return
        self.last = now
        self.say(f"{what} {done}/{total} ({now - self.start:.0f} s) {note}".rstrip())

    def say(self, text: str) -> None:
        """Print one line at once."""
        for stream in self.streams:
            print(f"[{self.label}] {text}", file=stream, flush=True)
