"""The signatures of the lens: where the answer appears and dips, and which MLPs write it."""

from __future__ import annotations

import numpy as np

from paradox.mechanisms.tables.by_layer import curves
from paradox.mechanisms.tables.pairs import Array
from paradox.mechanisms.tables.signatures import (
    MISSING,
    Given,
    Part,
    Rows,
    Tester,
    by_curves,
    row,
    span,
)
from paradox.mechanisms.tables.verdict import FEW_CASES, LAST_BLOCK, LATE, MIDDLE, ONE_TOKEN, inside
from paradox.mechanisms.tables.words import CHANGE
from paradox.stats.crossed import UNKNOWN, mean

LEAST = 8  # wrongly answered items: fewer say nothing of others


def emergence(given: Given) -> Rows:
    """Yield the rows of ``emergence`` (2601.11061).

    A middle block adds more to the gap (exposed minus twins) of the gold log-probability than
    other blocks (nats).
    """
    # The lens of layer -1 is the embedding's: differences are what each block adds.
    return by_curves(
        given,
        ("resid",),
        "logp",
        lambda test, values: [test.window(np.diff(values[0], axis=1), MIDDLE)],
    )


def dip(given: Given) -> Rows:
    """Yield the rows of ``dip`` (2601.11061): the answer fades two blocks after it emerges.

    One half of the pairs says which block adds most to the gap (exposed minus twins) of the gold
    log-probability; in the other half the gap two blocks later is below that at this block *and*
    below that at the block after the dip (nats).
    """
    return by_curves(given, ("resid",), "logp", lambda test, values: _dip(test, values[0]))


def _dip(test: Tester, values: Array) -> list[Part]:
    levels = values[:, 1:]  # without the embedding
    emerged = int(test.selection(np.diff(values, axis=1)).argmax())
    low = emerged + 2
    if low + 1 >= levels.shape[1]:
        return [Part(UNKNOWN, f"{low}", LAST_BLOCK)]
    rest = ~test.chosen
    return [
        test.test(levels[:, place] - levels[:, low], f"{emerged} / {low}", rest)
        for place in (emerged, low + 1)
    ]


def injection(given: Given) -> Rows:
    """Yield the rows of ``injection`` (2601.11061).

    A late MLP adds more to the gap (exposed minus twins) of the gold logit than other MLPs. Where
    all answers are one token, whatever is known of it is written by the last blocks.
    """
    longest = given.table()["answer_tokens"].max()
    unable = ONE_TOKEN if longest == 1 else ""
    return by_curves(
        given,
        ("mlp",),
        "logit",
        lambda test, values: [test.window(values[0], LATE)._replace(unable=unable)],
    )


def late_in_failures(given: Given) -> Rows:
    """Yield the rows of ``late_in_failures`` (2601.11061): late MLPs write gold where it fails.

    Of exposed items whose answer is not the model's first choice, late MLPs add more to the gold
    logit than to that of a wrong answer of the same form. The margin is a share of what they add to
    all exposed items of the untrained planted base.
    """
    names, table = given.test.groups.exposed, given.table()
    table = table[table["component"] == "mlp"].assign(
        more=lambda rows: rows["logit"] - rows["control_logit"],
        wrong=lambda rows: ~rows["first_choice"].astype(bool),
    )
    values = {
        name: {(*curve.arm, curve.state): curve.values for curve in curves([table], name, names)}
        for name in ("more", "wrong")
    }
    late = inside(table["layer"].max() + 1, LATE)
    untrained = values["more"][given.planted, "base", "none", "base"]
    margin = given.share * abs(float(untrained[:, late].mean()))
    for key, more in values["more"].items():
        if key[3] == CHANGE:
            continue
        wrong = values["wrong"][key][:, 0] > 0
        some = wrong.any(axis=1)
        part = MISSING if not late.any() else Part(UNKNOWN, unable=FEW_CASES)
        if late.any() and some.sum() >= LEAST:
            failed = np.where(wrong, more[:, late].mean(axis=1), np.nan)[some]
            part = Part(mean(failed, "exposed").estimate(), span(late))
        yield row(given.name, key, [part], margin)
