"""Step ``reset_keep_reading``: what the claims of `reset_keep_tests` say, however they fall."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from paradox.figures.names import arm_words
from paradox.files import read_table, write_json
from paradox.mechanisms.tables.sentences import by_verdict
from paradox.mechanisms.tables.verdict import ALPHA, OPEN
from paradox.progress import Progress

MEASURES = {"gold_logp": "the gold answer's log-probability", "mode_logp": "answering at once"}


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write the paragraph; ``claims``: signature -> words."""
    tables = {name: read_table(Path(inputs[name])) for name in ("windows", "verdicts")}
    text = paragraph(tables["verdicts"], tables["windows"], spec["claims"])
    write_json(outputs["reading"], {"paragraphs": {"reset_keep": text}})
    progress.say(f"read {len(tables['verdicts'])} verdicts")


def paragraph(verdicts: pd.DataFrame, windows: pd.DataFrame, claims: dict[str, str]) -> str:
    """Return the paragraph on MLPs, from both tables of the step."""
    sentences: list[str] = []
    for measure, words in MEASURES.items():
        rows = verdicts[(verdicts["part"] == "mlp") & (verdicts["measure"] == measure)]
        if rows.empty:
            continue
        gaps = rows.drop_duplicates("reward")
        known = gaps[gaps["margin"].notna()]["reward"].tolist()
        sentences.append(
            f"For {words}, base and trained model differ clearly on exposed items in "
            f"{len(known)} of {len(gaps)} arms ({', '.join(known) or 'none'})."
        )
        for name, claim in claims.items():
            sentences += _claim(rows[rows["claim"] == name], claim)
        sentences += _norms(windows, measure)
    return " ".join(sentences)


def _claim(rows: pd.DataFrame, claim: str) -> Iterator[str]:
    parts = by_verdict(rows, _arm)
    if parts:
        least = rows["smallest"].max()
        bound = f" (no p below {least:.2g} is possible)" if least > ALPHA else ""
        yield f"That {claim}{bound}: {'; '.join(parts)}."


def _arm(row: pd.Series) -> str:
    why = [row["reason"]] if row["verdict"] == OPEN else []
    who = f"{arm_words(row)}, {row['direction']} {row['blocks']}"
    if pd.isna(row["effect"]):
        return f"{arm_words(row)} ({'; '.join(why)})"
    effect = f"{row['effect']:+.2g} nats [{row['low']:+.2g}, {row['high']:+.2g}]"
    p = [] if pd.isna(row["p"]) else [f"p = {row['p']:.2g}"]
    return f"{who} ({'; '.join([', '.join([effect, *p]), *why])})"


def _norms(windows: pd.DataFrame, measure: str) -> Iterator[str]:
    """Say how far the size of the change explains what a set of blocks does."""
    rows = windows[(windows["measure"] == measure) & (windows["part"] == "mlp")]
    rows = rows[(rows["contrast"] == "exposed") & rows["norm_r"].notna() & rows["defined"]]
    rows = rows[rows["direction"].isin(["reset", "keep"]) & (rows["set"] == rows["set"].max())]
    if rows.empty:
        return
    low, high = rows["norm_r"].min(), rows["norm_r"].max()
    out = int((rows["p_norm"] <= ALPHA).sum())
    yield (
        f"Over sets of {int(rows['set'].max())} blocks, progress and size of the change correlate "
        f"with r = {low:.2f} to {high:.2f}; with size taken away, {out} of {len(rows)} windows "
        "(arms and directions together) are beyond 95 % of the sets, not corrected for their "
        "number."
    )
