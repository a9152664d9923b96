"""Step ``steering_reading``: what the tables of steering and decontamination say, in plain words.

Every statement is made from the numbers beside it, whichever way it falls, as in
`paradox.mechanisms.overview.reading`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from paradox.files import read_table, write_json
from paradox.mechanisms.decontamination.summary import exact
from paradox.mechanisms.steering.summary import COUNTED
from paradox.mechanisms.tables.pairs import ARM
from paradox.mechanisms.tables.verdict import NOT, OPEN, REPRODUCED
from paradox.mechanisms.tables.words import NEURONS, RANDOM
from paradox.progress import Progress

ENDS = ["value", "low", "high"]


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write both paragraphs.

    Parameters
    ----------
    spec
        ``planted`` (name of the contaminated base; all other bases are controls) and ``claims``:
        signature -> words.
    inputs
        ``doses``, ``tests`` and ``side`` of step ``dose_response``; ``points`` and ``half`` of
        step ``tradeoff``.
    outputs
        ``reading``: JSON of ``paragraphs`` and ``verdicts``.
    """
    tables = {name: read_table(Path(path)) for name, path in inputs.items()}
    paragraphs = {
        "steering": steering(
            tables["doses"], tables["tests"], tables["side"], spec["claims"], spec["planted"]
        ),
        "decontamination": decontamination(tables["points"], tables["half"]),
    }
    verdicts = {
        name: table.astype(object).where(table.notna(), None).to_dict("records")
        for name, table in (("steering", tables["tests"]), ("decontamination", tables["half"]))
    }
    write_json(outputs["reading"], {"paragraphs": paragraphs, "verdicts": verdicts})
    progress.say(f"read {len(tables)} tables")


def steering(
    doses: pd.DataFrame,
    tests: pd.DataFrame,
    side: pd.DataFrame,
    claims: dict[str, str],
    planted: str,
) -> str:
    """Return the paragraph on steering."""
    tests = tests[tests["signature"] == "steering: all"]
    own, others = tests[tests["base"] == planted], tests[tests["base"] != planted]
    sentences = [
        f"The published signature, that {claims['steering']}: {'; '.join(_verdicts(own))}."
    ]
    if len(others):
        sentences.append(f"Where nothing was planted: {'; '.join(_verdicts(others))}.")
    sentences += [_sides(row) for _, row in own.iterrows()]
    sentences += list(_modes(doses, own))
    sentences += list(_collateral(side, own))
    return " ".join(sentences)


def _arm(row: pd.Series) -> str:
    name = "untrained" if row["method"] == "base" else f"{row['reward']} ({row['method']})"
    return f"{row['base']}, {name}"


def _ends(values: pd.Series | list[float]) -> str:
    value, low, high = values
    return f"{value:+.3g} [{low:+.3g}, {high:+.3g}]"


def _verdicts(tests: pd.DataFrame) -> Iterator[str]:
    for verdict in (REPRODUCED, NOT, OPEN):
        rows = tests[tests["verdict"] == verdict]
        arms = [
            f"{_arm(row)} (block {row['blocks']}, p = {row['p']:.2g})" for _, row in rows.iterrows()
        ]
        if arms:
            yield f"{verdict} for {'; '.join(arms)}"


def _sides(row: pd.Series) -> str:
    parts = []
    for side, sign in (("up", 1), ("down", -1)):
        ends = sorted(sign * row[f"{side}_{end}"] for end in ("low", "high"))
        text = _ends([sign * row[side], *ends])
        parts.append(f"{text} (p = {row[f'{side}_p_labels']:.2g}; {row[f'{side}_p_sets']:.2g})")
    return (
        f"In {_arm(row)} at block {row['blocks']}, the log odds of exposed items move beyond those "
        f"of twins by {parts[0]} when amplified and by {parts[1]} when suppressed (p first against "
        "twins, then against random sets)."
    )


def _here(table: pd.DataFrame, row: pd.Series) -> pd.DataFrame:
    own = table["layer"] == int(row["blocks"])
    for name in ARM:
        own &= table[name] == row[name]
    return table[own]


def _modes(doses: pd.DataFrame, tests: pd.DataFrame) -> Iterator[str]:
    """Yield how many exposed items follow the dose and how many are switched on."""
    counted = doses[(doses["exposure"] == COUNTED) & (doses["contrast"] == "exposed")]
    counted = counted[(counted["state"] != "change") & (counted["component"] == "all")]
    words = {"monotone": "rise with every dose", "switched": "are right at the largest dose only"}
    for _, row in tests.iterrows():
        here, parts = _here(counted, row), []
        for measure, what in words.items():
            (found,) = here[here["measure"] == measure].to_dict("records")
            ends = exact(found["value"], found["low"], found["high"], found["items"])
            parts.append(
                f"{found['value']:.0%} [{ends[0]:.0%}, {ends[1]:.0%}] {what} "
                f"(random sets {found['random']:.0%} [{found['random_low']:.0%}, "
                f"{found['random_high']:.0%}], p = {found['corrected_sets']:.2g})"
            )
        where = f"{_arm(row)} at block {row['blocks']}"
        yield f"Of exposed items, in {where}, {' and '.join(parts)}."


def _collateral(side: pd.DataFrame, tests: pd.DataFrame) -> Iterator[str]:
    """Yield what the same does to chains and documents."""
    names = {"chain": "worked chains of twins", "text": "documents"}
    for _, row in tests.iterrows():
        here, parts = _here(side, row), []
        for dose in sorted(here.loc[here["neurons"] == "random", "dose"].unique()):
            for what, name in names.items():
                chosen = here[(here["dose"] == dose) & (here["what"] == what)].set_index("neurons")
                if chosen.empty:
                    continue
                own, random = (chosen.loc[key, ENDS] for key in ("chosen", "random"))
                part = f"at alpha {dose:g} {name} by {_ends(own)} (random sets {_ends(random)})"
                parts.append(part)
        yield (f"The side effects in {_arm(row)}, log-probability per token: {'; '.join(parts)}.")


# --- decontamination ----------------------------------------------------------------------


def decontamination(points: pd.DataFrame, half: pd.DataFrame) -> str:
    """Return the paragraph on decontamination."""
    sentences = []
    for arm, rows in half.groupby(ARM, sort=True):
        own = points
        for name, value in zip(ARM, arm, strict=True):
            own = own[own[name] == value]
        who = _arm(own.iloc[0])
        if own["removed"].isna().all():
            sentences.append(f"In {who}: no gap between exposed items and twins to remove.")
            continue
        parts = list(_ways(own, rows))
        sentences.append(f"In {who}, the least that half of memory costs: {'; '.join(parts)}.")
    return " ".join(sentences)


def _ways(points: pd.DataFrame, half: pd.DataFrame) -> Iterator[str]:
    for _, row in half.iterrows():
        way = row["way"].replace("_", " ")
        way += f" at alpha {row['alpha']:g}" if row["way"] in (NEURONS, RANDOM) else ""
        if pd.isna(row.get("chain")):
            of = points[(points["way"] == row["way"]) & (points["alpha"] == row["alpha"])]
            best = of.loc[of["removed"].idxmax(), ["removed", "removed_low", "removed_high"]]
            yield f"{way} removes {_ends(best)} at most ({row['verdict']})"
            continue
        lost = " and ".join(
            f"{_ends([row[name], row[f'{name}_low'], row[f'{name}_high']])} {unit}"
            for name, unit in (("chain", "of chains"), ("text", "nats per token of documents"))
            if name in row and pd.notna(row[name])
        )
        yield f"{way} {lost} ({row['verdict']})"
