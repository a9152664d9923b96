"""What suppressing the chosen neurons takes from recall, as a contrast by layer."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from paradox.files import read_table


def suppressed_contrast(paths: list[Path]) -> pd.DataFrame:
    """Return what recall loses when the chosen neurons are set to zero."""
    table = read_table(paths[0])
    rows = table[(table["dose"] == 0) & (table["exposure"] == "counted")]
    ends = {"low": "high", "high": "low", "null_low": "null_high", "null_high": "null_low"}
    return rows.assign(value=-rows["value"], **{end: -rows[other] for end, other in ends.items()})
