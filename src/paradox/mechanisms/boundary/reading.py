"""Step ``boundary_reading``: what the tables of ``boundary_summary`` say, in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from paradox.errors import DataError, hint
from paradox.figures.names import arm_words
from paradox.files import read_table, write_json
from paradox.mechanisms.tables.pairs import ARM
from paradox.mechanisms.tables.sentences import p_value
from paradox.mechanisms.tables.verdict import NEGLIGIBLE, NOT, OPEN, REPRODUCED
from paradox.progress import Progress

KEY = [*ARM, "group", "measure"]
GROUPS = {"exposed": "exposed items", "twin": "twins"}
MEASURES = {"right": "right answers", "worked": "answers worked out word for word"}


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write ``paragraphs`` and ``verdicts`` (signature -> list of arms) as JSON."""
    crossings = read_table(Path(inputs["crossings"]), [*KEY, "source", "kind", "k", "gap"])
    verdicts = read_table(
        Path(inputs["verdicts"]), [*KEY, "signature", "effect", "verdict", "reason"]
    )
    write_json(outputs["reading"], reading(crossings, verdicts, spec["claims"], spec["planted"]))
    progress.say(f"read {len(verdicts)} verdicts")


def reading(
    crossings: pd.DataFrame, verdicts: pd.DataFrame, claims: dict[str, str], planted: str
) -> dict[str, Any]:
    """Return paragraph and verdicts; a `DataError` when a table has not the planted base."""
    if planted not in set(verdicts["base"]):
        bases = set(verdicts["base"])
        raise DataError(f"key planted: no base {planted!r}; {hint(planted, bases)}")
    trained = verdicts[(verdicts["base"] == planted) & (verdicts["method"] != "base")]
    text = list(_crossings(crossings[crossings["base"] == planted]))
    for signature, claim in claims.items():
        rows = trained[trained["signature"] == signature.partition(": ")[2]]
        if len(rows):
            text.append(f"The published signature, that {claim}: {_verdicts(rows)}.")
    idle = verdicts[verdicts["method"] == "base"]
    if len(idle):
        text.append(
            "Untrained bases, compared with other samples of themselves (which they cover), show "
            f"{_counted(idle, REPRODUCED, 'signature')} such signatures; not decidable are "
            f"{_counted(idle, OPEN, 'reason')}."
        )
    by_name: dict[str, list[dict[str, Any]]] = {}
    for row in verdicts.astype(object).where(verdicts.notna(), None).to_dict("records"):
        by_name.setdefault(row.pop("signature"), []).append(row)
    return {"paragraphs": {"boundary": " ".join(text)}, "verdicts": by_name}


def _crossings(table: pd.DataFrame) -> Iterator[str]:
    """Yield a sentence per group and measure on where the arms' curves are."""
    rows = table[(table["source"] == "after") & (table["method"] != "base")]
    for measure, what in MEASURES.items():
        for group, whom in GROUPS.items():
            chosen = rows[(rows["measure"] == measure) & (rows["group"] == group)]
            parts = [f"{arm_words(row)} {_place(row)}" for _, row in chosen.iterrows()]
            if parts:
                yield f"pass@k of {what} on {whom}: {'; '.join(parts)}."


def _place(row: pd.Series) -> str:
    if row["kind"] == "crosses":
        unsure = ", which is not shown," if row["k_high"] == float("inf") else ""
        ends = f"[{_end(row['k_low'])}, {_end(row['k_high'])}]"
        where = f"falls below its base at k = {row['k']:.1f} {ends}{unsure}"
    else:
        where = {
            "above": f"is nowhere below its base up to k = {row['largest_k']}",
            "below": "is below its base from the first try",
            "equal": "does not differ from its base at the first try",
        }[row["kind"]]
    full = "" if pd.isna(row["ceiling"]) else f", both at the ceiling from k = {row['ceiling']:.0f}"
    gap = f"{row['gap']:+.2f} [{row['gap_low']:+.2f}, {row['gap_high']:+.2f}]"
    return f"{where} (gap in sampling efficiency {gap}{full})"


def _end(value: float) -> str:
    """Return an end of an interval of k.

    >>> _end(2.345), _end(float("inf")), _end(0.0)
    ('2.3', 'none', 'below 1')
    """
    return "none" if value == float("inf") else "below 1" if value == 0 else f"{value:.1f}"


def _verdicts(rows: pd.DataFrame) -> str:
    """Name the cases that show a signature, and count the others."""
    parts = []
    for name in (REPRODUCED, NEGLIGIBLE):
        shown = rows[rows["verdict"] == name]
        by_arm = [
            f"{arm_words(cases.iloc[0])} on {', '.join(map(_effect, cases.to_dict('records')))}"
            for _, cases in shown.groupby(["method", "reward"], sort=True)
        ]
        p = f"(largest p = {p_value(shown['p'].max())})"
        if len(shown) == len(rows):
            return f"{name} in all {len(rows)} cases {p}"
        parts += [f"{name} for {'; '.join(by_arm)} {p}"] if by_arm else []
    for name, why in ((NOT, ""), (OPEN, "reason")):
        if (rows["verdict"] == name).any():
            parts.append(f"{name} in {_counted(rows, name, why)}")
    return "; ".join(parts)


def _counted(rows: pd.DataFrame, verdict: str, column: str = "") -> str:
    """Count the rows with a verdict, and those of them that are alike in a column."""
    chosen = rows[rows["verdict"] == verdict]
    alike = chosen[column].value_counts(sort=False) if column else {}
    words = ", ".join(f"{count} x {name}" for name, count in alike.items())
    return f"{len(chosen)} of {len(rows)}" + (f" ({words})" if words else "")


def _effect(row: Any) -> str:
    ends = f"{row['effect']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]"
    return f"{GROUPS[row['group']]} ({row['measure']}) {ends}"
