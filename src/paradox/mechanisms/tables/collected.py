"""Step ``collected``: the tables that an analysis wrote for each arm, one below the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from paradox.files import read_table, write_table
from paradox.progress import Progress

ARM = ["base", "method", "reward", "seed"]


def main(
    spec: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write ``table``: ``tables``, one per arm, arms in the order of their names."""
    tables = [read_table(Path(path), ARM) for path in inputs["tables"]]
    whole = pd.concat(tables, ignore_index=True).sort_values(ARM, kind="stable")
    write_table(outputs["table"], whole)
    progress("arms", len(tables), len(tables))
