"""Step ``signatures``: which published signatures of memory (2601.11061) this study shows.

Each signature is one number that the account says is above 0 (see the modules ``signature`` of the
analyses). Rule and depths: `paradox.mechanisms.tables.verdict`. Intervals and p-values are of
items crossed with replicates (`paradox.stats.crossed`).
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pandas as pd

from paradox.files import read_table, write_table
from paradox.mechanisms.tables.pairs import Groups
from paradox.mechanisms.tables.signatures import Given, Tester
from paradox.progress import Progress
from paradox.tasks.api import ITEM_COLUMNS


def main(
    spec: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Path], progress: Progress
) -> None:
    """Test every signature.

    Parameters
    ----------
    spec
        ``signatures`` (a list of ``name`` and ``module``), ``exposed_from``, ``bootstrap`` (its
        seed keys the choice of items), ``margin_share`` and ``bases`` (names of the
        ``planted`` one, whose largest gap gives the margin, and of the ``clean`` one or None).
    inputs
        ``items``, and by the name of each signature a list of the files that it reads.
    outputs
        ``table``: a row per signature, arm and state.
    """
    groups = Groups(read_table(inputs["items"], ITEM_COLUMNS), spec["exposed_from"])
    test = Tester(groups, spec["bootstrap"]["seed"])
    rows: list[dict[str, Any]] = []
    for done, each in enumerate(spec["signatures"], start=1):
        name = each["name"]
        paths = [Path(path) for path in inputs[name]]
        signature = getattr(importlib.import_module(each["module"]), name)
        rows += signature(
            Given(
                name,
                paths,
                test,
                spec["bases"]["planted"],
                spec["bases"]["clean"],
                spec["margin_share"],
            )
        )
        progress("signatures", done, len(spec["signatures"]), name)
    write_table(outputs["table"], pd.DataFrame(rows))
