"""The signatures of the MLPs' parts: rise and decline, what stays high, and clean models."""

from __future__ import annotations

from paradox.files import read_table
from paradox.mechanisms.tables.by_layer import curves
from paradox.mechanisms.tables.pairs import KEYS, Array
from paradox.mechanisms.tables.signatures import (
    MISSING,
    Given,
    Part,
    Rows,
    Tester,
    by_curves,
    row,
)
from paradox.mechanisms.tables.words import CHANGE
from paradox.stats.crossed import mean

PARTS = ("gate@all", "up@all", "down@all", "mlp@all")


def adapters(given: Given) -> Rows:
    """Yield the rows of ``adapters`` (2601.11061).

    The gap (exposed minus twins) of the excess of ``gate`` and of ``up`` rises to a block that is
    neither first nor last and declines after it. One half of the pairs says which block; in the
    other half it is above the first and above the last one (bits).
    """
    return by_curves(
        given,
        PARTS[:2],
        "excess",
        lambda test, values: [part for curve in values for part in test.peak(curve)],
    )


def plateau(given: Given) -> Rows:
    """Yield the rows of ``plateau`` (2601.11061): what stays high while gate and up decline.

    One half of the pairs says at which inner block the gaps of the excess of ``gate`` and ``up``
    are largest together; in the other half both decline from there to the mean of the later blocks,
    and each of ``down`` and ``mlp`` declines less than each of them (six parts, bits).
    """
    return by_curves(given, PARTS, "excess", _plateau)


def _plateau(test: Tester, values: list[Array]) -> list[Part]:
    if values[0].shape[1] < 3:
        return [MISSING]
    peak = 1 + int(test.selection(values[0] + values[1])[1:-1].argmax())
    gate, up, *others = (part[:, peak] - part[:, peak + 1 :].mean(axis=1) for part in values)
    numbers = [gate, up, *(one - other for one in (gate, up) for other in others)]
    return [test.test(number, f"{peak}", ~test.chosen) for number in numbers]


def clean_rise(given: Given) -> Rows:
    """Yield the rows of ``clean_rise`` (2601.11061): no peak in a model without memory.

    In the clean base the mean excess over all items (none of which it met) is larger after each
    block than after the one before it, for each of the four parts (bits).
    """
    names = [*given.test.groups.exposed, *given.test.groups.twin]
    tables = [read_table(path, [*KEYS, "excess"]) for path in given.paths]
    by_arm: dict[tuple[str, ...], list[Array]] = {}
    for curve in curves(tables, "excess", names):
        if curve.arm[0] == given.clean and curve.state != CHANGE and curve.component in PARTS:
            by_arm.setdefault((*curve.arm, curve.state), []).append(curve.values)
    for key, values in by_arm.items():
        untrained = by_arm[key[0], "base", "none", "base"]
        largest = max(abs(part.mean(axis=(0, 2))).max() for part in untrained)
        steps = [
            Part(mean(part[:, block] - part[:, block - 1]).estimate(), f"{block - 1} / {block}")
            for part in values
            for block in range(1, part.shape[1])
        ]
        yield row(given.name, key, steps or [MISSING], given.share * float(largest))
