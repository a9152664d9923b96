"""Step ``reset_keep_reading``: what the claims of `reset_keep_tests` say, however they fall."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from paradox.figures.names import arm_words
from paradox.files import read_table, write_json
from paradox.mechanisms.reset_keep.summary import ANCHOR, ANCHOR_SETS, WINDOW
from paradox.mechanisms.tables.sentences import by_verdict
from paradox.progress import Progress

MEASURES = {"gold_logp": "the gold answer's log-probability", "mode_logp": "answering at once"}
# Signature -> what the table of verdicts calls it.
TESTED = {"reset": ANCHOR, ANCHOR_SETS: ANCHOR_SETS, WINDOW: WINDOW}


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
        for signature, claim in TESTED.items():
            sentences += _claim(rows[rows["claim"] == claim], claims[signature])
        sentences += _norms(windows, measure)
    return " ".join(sentences)


def _claim(rows: pd.DataFrame, claim: str) -> Iterator[str]:
    parts = by_verdict(rows, _arm)
    if parts:
        least = rows["smallest"].max()
        bound = f" (no p below {least:.2g} is possible)" if least > 0.05 else ""
        yield f"That {claim}{bound}: {'; '.join(parts)}."


def _arm(row: pd.Series) -> str:
    ends = f"[{row['low']:+.2g}, {row['high']:+.2g}]"
    who = f"{arm_words(row)}, {row['direction']} {row['blocks']}"
    return f"{who} ({row['effect']:+.2g} nats {ends}, p = {row['p']:.2g})"


def _norms(windows: pd.DataFrame, measure: str) -> Iterator[str]:
    """Say how far the size of the change explains what a set of blocks does."""
    rows = windows[(windows["measure"] == measure) & (windows["part"] == "mlp")]
    rows = rows[(rows["contrast"] == "exposed") & rows["norm_r"].notna() & rows["defined"]]
    rows = rows[rows["direction"].isin(["reset", "keep"]) & (rows["set"] == rows["set"].max())]
    if rows.empty:
        return
    low, high = rows["norm_r"].min(), rows["norm_r"].max()
    out = int((rows["p_norm"] <= 0.05).sum())
    yield (
        f"Over sets of {int(rows['set'].max())} blocks, progress and size of the change correlate "
        f"with r = {low:.2f} to {high:.2f}; with size taken away, {out} of {len(rows)} windows "
        "(arms and directions together) are beyond 95 % of the sets, not corrected for their "
        "number."
    )
