"""Step ``decontamination_reading``: what the tables of decontamination say, in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from paradox.figures.names import arm_words
from paradox.files import read_table, write_json
from paradox.mechanisms.tables.pairs import ARM
from paradox.mechanisms.tables.sentences import effect_words
from paradox.mechanisms.tables.verdict import OPEN
from paradox.mechanisms.tables.words import NEURONS, RANDOM
from paradox.progress import Progress


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write ``reading``, JSON of ``paragraphs`` and ``verdicts``, from ``points`` and ``half``."""
    points, half = (read_table(Path(inputs[name])) for name in ("points", "half"))
    verdicts = half.astype(object).where(half.notna(), None).to_dict("records")
    parts = {"paragraphs": decontamination(points, half), "verdicts": verdicts}
    reading = {name: {"decontamination": part} for name, part in parts.items()}
    write_json(outputs["reading"], reading)
    progress.say(f"read {len(half)} costs")


def decontamination(points: pd.DataFrame, half: pd.DataFrame) -> str:
    """Return the paragraph on decontamination."""
    sentences = []
    for arm, rows in half.groupby(ARM, sort=True):
        tried = points
        for name, value in zip(ARM, arm, strict=True):
            tried = tried[tried[name] == value]
        who = arm_words(tried.iloc[0], base=True)
        if tried["removed"].isna().all():
            sentences.append(f"In {who}: no gap between exposed items and twins to remove.")
            continue
        parts = list(_methods(tried, rows))
        sentences.append(f"In {who}, the least that half of memory costs: {'; '.join(parts)}.")
    return " ".join(sentences)


def _methods(points: pd.DataFrame, half: pd.DataFrame) -> Iterator[str]:
    for _, row in half.iterrows():
        method = row["way"].replace("_", " ")
        method += f" at alpha {row['alpha']:g}" if row["way"] in (NEURONS, RANDOM) else ""
        said = row["verdict"] + (f": {row['reason']}" if row["verdict"] == OPEN else "")
        if pd.isna(row.get("chain")):
            doses = points[(points["way"] == row["way"]) & (points["alpha"] == row["alpha"])]
            best = doses.loc[doses["removed"].idxmax(), ["removed", "removed_low", "removed_high"]]
            yield f"{method} removes {effect_words(best)} at most ({said})"
            continue
        lost = " and ".join(
            f"{effect_words([row[name], row[f'{name}_low'], row[f'{name}_high']])} {unit}"
            for name, unit in (("chain", "of chains"), ("text", "nats per token of documents"))
            if name in row and pd.notna(row[name])
        )
        yield f"{method} {lost} ({said})"
