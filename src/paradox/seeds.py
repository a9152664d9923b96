"""Random numbers keyed by name.

Every random number of the study is a pure function of what it is for (for example seed, step,
prompt and sample), so that it does not depend on the order of calls, on the number of workers
or on whether a run was interrupted.
"""

from __future__ import annotations

import hashlib

import numpy as np

Key = str | int


def keyed_seed(*key: Key) -> int:
    """Return a 64-bit seed that depends on every part of `key` and on their order.

    >>> keyed_seed("a", 1) == keyed_seed("a", 1), keyed_seed("a", 1) == keyed_seed("a", 2)
    (True, False)
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in key)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def keyed_rng(*key: Key) -> np.random.Generator:
    """Return a NumPy generator (Philox, counter-based) for this key."""
    return np.random.Generator(np.random.Philox(keyed_seed(*key)))


def keyed_uniform(*key: Key) -> float:
    """Return one number in [0, 1) that is a pure function of `key`.

    >>> keyed_uniform("x", 3) == keyed_uniform("x", 3)
    True
    """
    return keyed_seed(*key) / 2**64


def torch_seed(*key: Key) -> int:
    """Return a non-negative 31-bit seed for libraries that want a small one."""
    return keyed_seed(*key) % 2**31
