"""The records of one arm's results, as its page lists them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from paradox.files import read_json
from paradox.pages.page import chain, link


def derivations(paths: Sequence[str], up: str) -> pd.DataFrame:
    """Return step, derivation id, device and first file of each record, with links to the chains.

    `up` leads from the page to the folder of the lineage page.
    """
    rows = []
    for path in paths:
        # Not checked here: the runner has read it as what it stands for.
        record = read_json(Path(path))
        rows.append(
            {
                "step": record["step"],
                "derivation": record["derivation"][:16],
                "device": record["device"],
                "determinism": record["determinism"],
                "file": record["outputs"][min(record["outputs"])][0]["path"],
                "chain": link(chain(record["path"], up), "chain"),
            }
        )
    return pd.DataFrame(rows)
