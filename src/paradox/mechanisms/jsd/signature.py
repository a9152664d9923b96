"""The signature ``adapters``: gate and up-projection rise to an inner block, then decline."""

from __future__ import annotations

from paradox.mechanisms.tables.pairs import Array
from paradox.mechanisms.tables.signatures import Given, Part, Rows, Tester, by_curves


def adapters(given: Given) -> Rows:
    """Yield the rows of ``adapters`` (2601.11061).

    The gap (exposed minus twins) of the excess of ``gate`` and of ``up`` rises to a block that is
    neither first nor last and declines after it. One half of the pairs says which block; in the
    other half it is above the first and above the last one (bits).
    """
    return by_curves(given, ("gate@all", "up@all"), "excess", _parts)


def _parts(test: Tester, values: list[Array]) -> list[Part]:
    return [part for curve in values for part in test.peak(curve)]
