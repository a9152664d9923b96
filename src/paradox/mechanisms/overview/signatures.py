"""Step ``signatures``: which published signatures of memory (2601.11061) this study shows.

Each is a number that the account says is above 0 (modules ``signature`` of the analyses). Block l
of L has depth (l + 1) / L; *middle* is (1/4, 3/4], *late* is above. p is one-sided, by swapping
within pairs, not corrected for the number of signatures and arms.
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

    ``spec``: ``signatures`` (a list of ``name`` and ``module``), ``exposed_from``, ``bootstrap``,
    ``permutations``, ``margin_share`` and ``planted`` (whose largest gap gives the margin).
    ``inputs``: ``items``, and by the name of each signature a list of the files that it reads.
    ``outputs``: ``table``, a row per signature, arm and state.
    """
    groups = Groups(read_table(inputs["items"], ITEM_COLUMNS), spec["exposed_from"])
    test = Tester(groups, spec)
    rows: list[dict[str, Any]] = []
    for done, each in enumerate(spec["signatures"], start=1):
        name = each["name"]
        paths = [Path(path) for path in inputs[name]]
        signature = getattr(importlib.import_module(each["module"]), name)
        rows += signature(Given(name, paths, test, spec["planted"], spec["margin_share"]))
        progress("signatures", done, len(spec["signatures"]), name)
    write_table(outputs["table"], pd.DataFrame(rows))
