"""The signatures ``emergence`` and ``injection``: where the answer appears, and who writes it."""

from __future__ import annotations

import numpy as np

from paradox.mechanisms.tables.signatures import Given, Rows, by_curves
from paradox.mechanisms.tables.verdict import LATE, MIDDLE


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


def injection(given: Given) -> Rows:
    """Yield the rows of ``injection`` (2601.11061).

    A late MLP adds more to the gap (exposed minus twins) of the gold logit than other MLPs.
    """
    return by_curves(given, ("mlp",), "logit", lambda test, values: [test.window(values[0], LATE)])
