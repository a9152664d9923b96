"""What every step that draws a figure does at its end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from paradox.figures import style
from paradox.progress import Progress


def write(
    draw: Callable[[pd.DataFrame], Figure],
    table: pd.DataFrame,
    outputs: dict[str, Path],
    progress: Progress,
    name: str,
) -> None:
    """Draw a table in the style of all figures, and write ``svg``, ``png`` and ``csv`` (the table).

    Equal tables give equal bytes.
    """
    with style.style():
        style.save(draw(table), table, outputs)
    progress.say(f"drew {name} from {len(table)} rows")
