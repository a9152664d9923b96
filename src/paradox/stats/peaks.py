"""Halves of items: one chooses a layer, the other measures it; halves are keyed by name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from paradox.seeds import Key, keyed_uniform


def half(names: Sequence[str], *key: Key) -> NDArray[np.bool_]:
    """Return which entries fall into the selection half; equal names stay together.

    A name's side depends on `key` and on which names there are, not on their order.
    """
    unique = sorted(set(names), key=lambda name: keyed_uniform("half", *key, name))
    chosen = set(unique[: len(unique) // 2])
    return np.array([name in chosen for name in names])
