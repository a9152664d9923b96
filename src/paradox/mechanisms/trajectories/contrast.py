"""Forces between exposed items and twins as a contrast by layer."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from paradox.files import read_table


def force_contrast(paths: list[Path]) -> pd.DataFrame:
    """Return forces between exposed items and twins in the form of a contrast table."""
    table = read_table(paths[0])
    rows = table[table["set"] == "counted"]
    return rows.assign(measure="force", contrast="difference")
