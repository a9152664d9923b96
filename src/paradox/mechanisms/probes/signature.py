"""The signature ``probe_peak``: exposed items are told apart best at an inner block."""

from __future__ import annotations

import math

from paradox.files import read_table
from paradox.mechanisms.tables.by_layer import curves
from paradox.mechanisms.tables.pairs import KEYS, Array
from paradox.mechanisms.tables.signatures import MISSING, Given, Part, Rows, row
from paradox.mechanisms.tables.verdict import CEILING
from paradox.mechanisms.tables.words import CHANGE
from paradox.stats.crossed import mean
from paradox.stats.peaks import half


def probe_peak(given: Given) -> Rows:
    """Yield a row ``probe_peak: POSITION`` per arm and position (2601.11061).

    One half of the pairs says at which block that is neither first nor last most pairs are told
    apart; in the other half these are more than at the first *and* than at the last block. The
    margin is a share of what the untrained planted base's best block has above 1/2. Where an end
    tells so many pairs apart that not even all of them would be more by the margin, there is no
    room.
    """
    names = given.test.groups.exposed
    first = half(names, given.test.seed, "signature")
    tables = [read_table(path, [*KEYS, "won"]) for path in given.paths]
    won = {
        (curve.component, *curve.arm, curve.state): curve.values[:, 1:]  # without the embedding
        for curve in curves(tables, "won", names)
    }
    for (position, *key), values in won.items():
        if key[-1] == CHANGE:
            continue
        untrained = won[position, given.planted, "base", "none", "base"]
        above = float(untrained.mean(axis=(0, 2)).max()) - 0.5
        margin = given.share * above if above > 0 else math.nan
        parts = _parts(values[first], values[~first], margin)
        yield row(f"{given.name}: {position}", tuple(key), parts, margin)


def _parts(selection: Array, rest: Array, margin: float) -> list[Part]:
    if rest.shape[1] < 3:
        return [MISSING]
    peak = 1 + int(selection.mean(axis=(0, 2))[1:-1].argmax())
    parts = []
    for end in (0, -1):
        more = mean(rest[:, peak] - rest[:, end], "pairs").estimate()
        full = 1 - rest[:, end].mean() <= margin
        parts.append(Part(more, f"{peak}", CEILING if full else ""))
    return parts
