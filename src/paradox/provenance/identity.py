"""The derivation id that figures and pages carry, so that a copy of them can be traced."""

from __future__ import annotations

import os
import re
from pathlib import Path

# Set by the runner: steps draw figures without knowing how records work.
VARIABLE = "PARADOX_DERIVATION"
PREFIX = "paradox:derivation:"
SUFFIXES = {".svg", ".png", ".html"}
_MARK = re.compile(rb"paradox:derivation:([0-9a-f]{64})")


def mark() -> str | None:
    """Return the text that the running step embeds in what it draws; None outside a step."""
    derivation = os.environ.get(VARIABLE)
    return PREFIX + derivation if derivation else None


def embedded(content: bytes) -> str | None:
    """Return the derivation id that a figure or page carries, or None.

    A page can hold figures with ids of their own; its own id comes first.
    """
    match = _MARK.search(content)
    return match.group(1).decode() if match else None


def without_mark(path: Path) -> bytes:
    """Return a file's bytes with its derivation ids blanked, to compare what is drawn."""
    return _MARK.sub(PREFIX.encode(), path.read_bytes())
