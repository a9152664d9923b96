"""Errors a user can act on: where, what was found, what is allowed, what was likely meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ParadoxError(Exception):
    """Base of all errors whose message is written for the user; no traceback is shown."""


class ConfigError(ParadoxError):
    """One or more keys of the configuration are wrong; the message lists all of them."""


class DataError(ParadoxError):
    """A data file is missing, unreadable or malformed."""


class CheckpointError(ParadoxError):
    """A checkpoint is missing, incomplete or not what its manifest says."""


class ProvenanceError(ParadoxError):
    """A file is not what its record says, or the record itself is missing or changed."""


class TrainingError(ParadoxError):
    """A training cannot go on (for example, its loss is not finite)."""


class ResourceError(ParadoxError):
    """The machine cannot do what was asked (for example, the disk is full)."""


def hint(found: object, allowed: Iterable[object]) -> str:
    """Return ``"allowed: a, b. Did you mean 'a'?"`` for a value that is not allowed.

    Parameters
    ----------
    found
        The value that was given.
    allowed
        Every value that would have been accepted.

    >>> hint("fromat", ["format", "random"])
    "allowed: format, random. Did you mean 'format'?"
    >>> hint("xyz", ["format"])
    'allowed: format.'
    """
    names = [str(value) for value in allowed]
    text = f"allowed: {', '.join(names) or 'nothing'}."
    close = difflib.get_close_matches(str(found), names, n=1, cutoff=0.5)
    return f"{text} Did you mean {close[0]!r}?" if close else text


def problems(title: str, lines: list[str]) -> str:
    """Join several problems into one message, each on its own line."""
    return "\n".join([title, *(f"  - {problem}" for problem in lines)])
