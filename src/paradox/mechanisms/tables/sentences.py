"""Sentences that the readings of all analyses share: arms, blocks, p-values, verdicts in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import pandas as pd

from paradox.figures.names import arm_words
from paradox.mechanisms.tables.verdict import OPEN, REPRODUCED, VERDICTS


def verdict_words(rows: pd.DataFrame, claim: str, planted: str) -> Iterator[str]:
    """Yield the sentences on a published signature, arms grouped by verdict."""
    rows = rows[rows["state"] != "change"]
    at_planted, others = rows[rows["base"] == planted], rows[rows["base"] != planted]
    if rows.empty:
        return
    # Some claims are about models without memory only.
    parts = by_verdict(rows if at_planted.empty else at_planted, _verdict_arm)
    yield f"The published signature, that {claim}: {'; '.join(parts)}."
    if len(others) and len(at_planted):
        shown = int((others["verdict"] == REPRODUCED).sum())
        yield f"In other bases it is reproduced in {shown} of {len(others)}."


def by_verdict(
    rows: pd.DataFrame, words: Callable[[pd.Series], str], separator: str = ", "
) -> list[str]:
    """Return each verdict that some rows have, with these rows in words."""
    named = {v: [words(row) for _, row in of.iterrows()] for v, of in rows.groupby("verdict")}
    return [f"{v} for {separator.join(named[v])}" for v in VERDICTS if v in named]


def _verdict_arm(row: pd.Series) -> str:
    part = row["signature"].partition(": ")[2]
    who = arm_words(row) + (f" by {part}" if part else "")
    why = row["reason"] if row["verdict"] == OPEN else ""
    if pd.isna(row["effect"]):
        return f"{who} ({why})"
    ends = f"[{row['low']:+.3g}, {row['high']:+.3g}]"
    p = "" if pd.isna(row["p"]) else f", p = {p_value(row['p'])}"
    return f"{who} ({row['effect']:+.3g} {ends}{p}{why and '; ' + why})"


def effect_words(values: Iterable[float]) -> str:
    """Return an effect with its interval.

    >>> effect_words([0.123456, -1, 2])
    '+0.123 [-1, +2]'
    """
    value, low, high = values
    return f"{value:+.3g} [{low:+.3g}, {high:+.3g}]"


def blocks(layers: Iterable[int]) -> str:
    """Return layers in words.

    >>> blocks([-1, 0, 1, 2, 5]), blocks([3])
    ('the embedding and blocks 0-2 and 5', 'block 3')
    """
    numbers = sorted(int(layer) for layer in layers)
    runs: list[list[int]] = []
    for number in (n for n in numbers if n >= 0):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = [f"{run[0]}" if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    many = sum(map(len, runs)) > 1
    text = f"block{'s' if many else ''} {listing(parts)}" if parts else ""
    return listing([name for name in ("the embedding" if -1 in numbers else "", text) if name])


def listing(parts: Sequence[str]) -> str:
    """Join words: ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]


def p_value(value: float) -> str:
    """Return a p-value with two significant digits.

    >>> p_value(0.0004998), p_value(1.0)
    ('.0005', '1')
    """
    return f"{value:.2g}".removeprefix("0")
