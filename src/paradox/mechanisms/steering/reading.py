"""Step ``steering_reading``: what the tables of steering say, in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from paradox.figures.names import arm_words
from paradox.files import read_table, write_json
from paradox.mechanisms.tables.pairs import ARM
from paradox.mechanisms.tables.sentences import by_verdict, effect_words
from paradox.mechanisms.tables.verdict import OPEN
from paradox.mechanisms.tables.words import COUNTED
from paradox.progress import Progress
from paradox.stats.bootstrap import share_interval

ENDS = ["value", "low", "high"]


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write the paragraph and the verdicts.

    ``spec``: ``planted`` (the contaminated base; all others are controls) and ``claims``: signature
    -> words. ``inputs``: ``doses``, ``tests`` and ``side`` of step ``dose_response``. ``outputs``:
    ``reading``, JSON of ``paragraphs`` and ``verdicts``.
    """
    tables = {name: read_table(Path(path)) for name, path in inputs.items()}
    doses, tests, side = (tables[name] for name in ("doses", "tests", "side"))
    text = steering(doses, tests, side, spec["claims"], spec["planted"])
    verdicts = tests.astype(object).where(tests.notna(), None).to_dict("records")
    reading = {"paragraphs": {"steering": text}, "verdicts": {"steering": verdicts}}
    write_json(outputs["reading"], reading)
    progress.say(f"read {len(tables)} tables")


def steering(
    doses: pd.DataFrame,
    tests: pd.DataFrame,
    side: pd.DataFrame,
    claims: dict[str, str],
    planted: str,
) -> str:
    """Return the paragraph on steering."""
    tests = tests[tests["component"] == "all"]
    sentences: list[str] = []
    for name, claim in claims.items():
        of_claim = tests[tests["signature"] == f"{name}: all"]
        at_planted = of_claim["base"] == planted
        first, others = (by_verdict(of_claim[s], _arm, "; ") for s in (at_planted, ~at_planted))
        if first:
            sentences.append(f"The published signature, that {claim}: {'; '.join(first)}.")
        if others:
            sentences.append(f"Where nothing was planted: {'; '.join(others)}.")
    rows = tests[(tests["signature"] == "steering: all") & (tests["base"] == planted)]
    sentences += [_sides(row) for _, row in rows.iterrows()]
    sentences += list(_modes(doses, rows))
    sentences += list(_collateral(side, rows))
    return " ".join(sentences)


def _arm(row: pd.Series) -> str:
    ends = effect_words(row[["effect", "low", "high"]])
    p = [] if pd.isna(row["p"]) else [f"p = {row['p']:.2g}"]
    why = [row["reason"]] if row["verdict"] == OPEN else []
    words = ", ".join([f"block {row['blocks']}", ends, *p, *why])
    return f"{arm_words(row, base=True)} ({words})"


def _sides(row: pd.Series) -> str:
    parts = []
    for side, sign in (("up", 1), ("down", -1)):
        ends = sorted(sign * row[f"{side}_{end}"] for end in ("low", "high"))
        text = effect_words([sign * row[side], *ends])
        parts.append(f"{text} (p = {row[f'{side}_p']:.2g}; {row[f'{side}_p_sets']:.2g})")
    return (
        f"In {arm_words(row, base=True)} at block {row['blocks']}, the log odds of exposed items "
        f"move beyond those of twins by {parts[0]} when amplified and by {parts[1]} when "
        "suppressed (p at this block against twins, then against random sets)."
    )


def _here(table: pd.DataFrame, row: pd.Series) -> pd.DataFrame:
    here = table["layer"] == int(row["blocks"])
    for name in ARM:
        here &= table[name] == row[name]
    return table[here]


def _modes(doses: pd.DataFrame, tests: pd.DataFrame) -> Iterator[str]:
    """Yield how many exposed items follow the dose and how many are switched on."""
    counted = doses[(doses["exposure"] == COUNTED) & (doses["contrast"] == "exposed")]
    counted = counted[(counted["state"] != "change") & (counted["component"] == "all")]
    words = {"monotone": "rise with every dose", "switched": "are right at the largest dose only"}
    for _, row in tests.iterrows():
        here, parts = _here(counted, row), []
        for measure, what in words.items():
            (shares,) = here[here["measure"] == measure].to_dict("records")
            ends = share_interval(shares["value"], shares["low"], shares["high"], shares["items"])
            parts.append(
                f"{shares['value']:.0%} [{ends[0]:.0%}, {ends[1]:.0%}] {what} "
                f"(random sets {shares['random']:.0%} [{shares['random_low']:.0%}, "
                f"{shares['random_high']:.0%}], p = {shares['corrected_sets']:.2g})"
            )
        where = f"{arm_words(row, base=True)} at block {row['blocks']}"
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
                ends = [effect_words(chosen.loc[key, ENDS]) for key in ("chosen", "random")]
                parts.append(f"at alpha {dose:g} {name} by {ends[0]} (random sets {ends[1]})")
        where = arm_words(row, base=True)
        yield f"The side effects in {where}, log-probability per token: {'; '.join(parts)}."
