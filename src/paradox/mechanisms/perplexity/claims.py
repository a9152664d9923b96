"""The claims on perplexity (2601.11061), each a number or several that should be above 0.

``paradox``: prompts get less likely, answers likelier, whole texts less likely. ``prompt``,
``mode`` and ``content``: one part of it alone. ``monotone``: the same, and no checkpoint goes back.
``correlation``: where prompts lose, answers gain, over items. ``clean``: on a base without the
items, answers and whole texts get less likely. A claim of several numbers is as good as its worst.

A change counts from a tenth (`margin_share`) of what the untrained base has for exposed items, and
from one per cent of perplexity in any case: published perplexities have two or three digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from paradox.mechanisms.tables.verdict import FLOOR, judged, worst
from paradox.stats.crossed import UNKNOWN, Number, mean

Array = NDArray[np.float64]
Row = dict[str, Any]
# Parts, and the way they are said to move: 1 gets less likely, -1 likelier.
PATTERN = {"prompt": 1.0, "answer": -1.0, "full": 1.0}
RISE = {"answer": 1.0, "full": 1.0}
LEAST = 0.01  # nats per token: one per cent of perplexity
BOUND = 1 - 1e-12  # of a correlation: Fisher's z of 1 is infinite
ONE_STEP = "one checkpoint is no course"


class Case(NamedTuple):
    """How the parts of a group of items changed along the trainings of an arm.

    Attributes
    ----------
    sides
        Name -> weight and, by part, changes since the untrained base, shape (items, replicates,
        steps), in nats per token. Several sides are summed with their weights.
    before
        By part, the untrained base's mean: what margins are shares of.
    share
        That share.
    """

    sides: dict[str, tuple[float, dict[str, Array]]]
    before: dict[str, float]
    share: float

    @property
    def steps(self) -> int:
        """Number of checkpoints."""
        return next(iter(self._one.values())).shape[2]

    @property
    def _one(self) -> dict[str, Array]:
        return next(iter(self.sides.values()))[1]

    def has(self, *parts: str) -> bool:
        """Whether these parts were measured."""
        return all(part in self._one for part in parts)

    def number(self, part: str, sign: float) -> Number:
        """Return the change of a part by step, the way that a claim says it moves."""
        first, *others = (mean(side[part], n) * (w * sign) for n, (w, side) in self.sides.items())
        return sum(others, start=first)

    def margin(self, part: str) -> float:
        """Return up to which change counts as none."""
        return max(self.share * self.before[part], LEAST)

    def moved(self, signs: dict[str, float]) -> list[Row]:
        """Return a row per part: how far it moved up to the last checkpoint."""
        rows = []
        for part, sign in signs.items():
            # What is as likely as can be does not get likelier.
            unable = FLOOR if sign < 0 and self.before[part] <= LEAST else ""
            estimate = self.number(part, sign)[-1].estimate()
            rows.append({"part": part, **judged(estimate, self.margin(part), unable=unable)})
        return rows


def paradox(case: Case) -> list[Row]:
    """Return prompt up, answer down, full up."""
    return case.moved(PATTERN)


def prompt(case: Case) -> list[Row]:
    """Return prompt up: one half of the paradox."""
    return case.moved({"prompt": 1.0})


def mode(case: Case) -> list[Row]:
    """Return mode down: the part of the answer's half that says how to answer."""
    return case.moved({"mode": -1.0})


def content(case: Case) -> list[Row]:
    """Return content down: the part of the answer's half that is memory of the answer."""
    return case.moved({"content": -1.0})


def monotone(case: Case) -> list[Row]:
    """Return the paradox, and that no part goes back between two checkpoints.

    The word is *monotone*, so the worst step decides: a trend over steps would also be above 0 for
    a course that rises and falls again. A step back is forgiven up to the margin over the number
    of steps, so that noise of a flat course is none; the row of a step is that much above 0.
    """
    rows = case.moved(PATTERN)
    if case.steps < 2:
        return [row | judged(UNKNOWN, math.nan, unable=ONE_STEP) for row in rows]
    for part, sign in PATTERN.items():
        course = case.number(part, sign)
        for step in range(case.steps):
            move = course[step] - course[step - 1] if step else course[0]
            estimate = (move + case.margin(part) / case.steps).estimate()
            rows.append({"part": f"{part}, step {step + 1}", **judged(estimate, 0.0)})
    return rows


def correlation(case: Case) -> list[Row]:
    """Return minus the correlation, over items, of the prompt's change with the answer's.

    The mean over replicates of Pearson's r at the last checkpoint, as Fisher's z = atanh r and
    back. What an item moves it by is (n - 1) times what z loses without that item (the jackknife's
    influence). The margin is a share of 1.
    """
    _, side = next(iter(case.sides.values()))
    one, other = (side[part][:, :, -1] for part in ("prompt", "answer"))
    estimate = UNKNOWN
    if min(move.std(axis=0).min() for move in (one, other)) > 1e-9:
        z, without = (np.arctanh(np.clip(-r, -BOUND, BOUND)) for r in _pearson(one, other))
        moves = (len(one) - 1) * (z - without)
        cells = moves - moves.mean(axis=0) + z - z.mean()
        found = Number(z.mean(), {"items": cells}).estimate()
        value, low, high = (math.tanh(each) for each in (found.value, found.low, found.high))
        se = found.se * (1 - value**2)
        estimate = replace(found, value=value, low=low, high=high, se=se)
    return [{"part": "prompt, answer", **judged(estimate, case.share)}]


def _pearson(one: Array, other: Array) -> tuple[Array, Array]:
    """Return correlations over items, shape (replicates,), and without each item in turn."""
    one, other = one - one.mean(axis=0), other - other.mean(axis=0)
    count = len(one)

    def without(products: Array, first: Array, second: Array) -> Array:
        # Both are centred, so leaving out an item moves the means by its value over count - 1.
        return products.sum(axis=0) - products - first * second / (count - 1)

    pairs = [(one, other), (one, one), (other, other)]
    whole = [(a * b).sum(axis=0) for a, b in pairs]
    left = [without(a * b, a, b) for a, b in pairs]
    return whole[0] / np.sqrt(whole[1] * whole[2]), left[0] / np.sqrt(left[1] * left[2])


def clean(case: Case) -> list[Row]:
    """Return answer up and full up."""
    return case.moved(RISE)


Claimed = Callable[[Case], list[Row]]
PARTWISE: dict[str, tuple[Claimed, tuple[str, ...]]] = {
    "paradox": (paradox, tuple(PATTERN)),
    "prompt": (prompt, ("prompt",)),
    "mode": (mode, ("mode",)),
    "content": (content, ("content",)),
}
ALONG = PARTWISE | {
    "monotone": (monotone, tuple(PATTERN)),
    "correlation": (correlation, ("prompt", "answer")),
}
# What is claimed of a group of items. Differences have no course, and what is seen too seldom to
# count is there because recall of all that counts may have no room to get likelier.
CLAIMS = {
    "exposed": ALONG,
    "seldom": PARTWISE,
    "twin": ALONG,
    "difference": PARTWISE,
    "beyond": PARTWISE,
    "unseen": ALONG | {"clean": (clean, tuple(RISE))},
}


def verdicts(case: Case, group: str) -> Iterator[Row]:
    """Yield a row per claim that can be made of a group: that of its worst part."""
    for name, (claimed, parts) in CLAIMS[group].items():
        if case.has(*parts):
            yield {"signature": name, "group": group, **worst(claimed(case))}
