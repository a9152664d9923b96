"""Step ``figure``: draw one figure from the tables, with the numbers it shows beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paradox.errors import ConfigError, hint
from paradox.figures.behaviour import accuracy, change, perplexity, recall
from paradox.figures.step import write
from paradox.progress import Progress

FIGURES = {"accuracy": accuracy, "change": change, "perplexity": perplexity, "recall": recall}


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Draw the figure `spec["figure"]` from the tables named in its module's ``TABLES``.

    Outputs are ``svg``, ``png`` and ``csv`` (the plotted numbers). Equal tables give equal bytes. A
    name that is not in `FIGURES` is a `ConfigError`.
    """
    name = spec["figure"]
    if name not in FIGURES:
        raise ConfigError(f"figure = {name!r} is not a figure; {hint(name, FIGURES)}")
    write(FIGURES[name].draw, FIGURES[name].data(inputs), outputs, progress, name)
