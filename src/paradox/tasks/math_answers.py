r"""Reading answers from plain English and LaTeX.

An answer counts only where a response states it: ``\boxed{X}`` or ``answer is X``. The last
statement counts. Values are parsed and compared by math-verify, so that ``0.5`` equals
``\frac{1}{2}``.
"""

from __future__ import annotations

import logging
import re
import threading
from functools import lru_cache
from typing import Any

from paradox.tasks.api import Mode

# math-verify warns on every process that runs it without its timeout; see `_seconds`.
logging.getLogger("math_verify").setLevel(logging.ERROR)

# A model that has answered may go on with a question of its own; that is not its response.
NEXT_QUESTION = re.compile(r"\n\s*Question:")
STATEMENT = re.compile(r"\\f?boxed\b|\banswer\s+is\b", re.IGNORECASE)
RECALL = re.compile(
    r"\s*(?:(?:so|thus|therefore|hence),?\s+)?(?:the\s+)?(?:(?:final|correct)\s+)?"
    r"(?:answer\s+is\b|answer:|\$*\s*\\f?boxed\b)",
    re.IGNORECASE,
)
INTEGER = re.compile(r"[-+]?\d+")
NUMBER_ALONE = re.compile(r"\$?[-+]?\d[\d,]*(?:\.\d+)?\$?\.?")
# The comma or space in 1,000 or 1,\\! 000.
DIGIT_GROUPS = re.compile(r"(?<=\d)(?:,|\{,\}|\\,)(?:\\!)?\s?(?=\d{3}(?!\d))")
# A sentence ends at a full stop that is not a decimal point.
SENTENCE_END = re.compile(r"\.(?=\s|$)|\n")
# A number, a LaTeX command or a lone letter: the mark of a value, not of a word.
VALUE = re.compile(r"\d|\\|\b[a-zA-Z]\b")
# Longer texts are not answers, and huge powers never finish in the algebra system.
LONGEST = 300
HUGE = re.compile(
    r"\d{4,}\s*!"  # the factorial of a large number
    r"|(?:\^|\*\*)\s*[{(]?\s*\d{5,}"  # a large exponent
    r"|(?:\^|\*\*)\s*[{(]?\s*\d+\s*(?:\^|\*\*)"  # a power of numbers in an exponent
)
SECONDS = 5


def stated_answer(response: str) -> str | None:
    r"""Return the answer that `response` states last, or None.

    Whole numbers are returned in plain form (``1,000`` as ``1000``, ``220 apples`` as ``220``),
    other answers as they were written, without surrounding dollar signs.

    >>> stated_answer(" 55 * 4 = 220. The answer is 220.")
    '220'
    >>> stated_answer(r"We get $\boxed{\frac{1}{2}}$.")
    '\\frac{1}{2}'
    >>> stated_answer(" I get 220.") is None
    True
    """
    text = NEXT_QUESTION.split(response)[0]
    idle = None
    for statement in reversed(list(STATEMENT.finditer(text))):
        after = text[statement.end() :]
        if statement.group().startswith("\\"):
            match, boxed = plain_answer(_braced(after) or ""), True
        else:
            sentence = SENTENCE_END.split(after.lstrip(" :"), maxsplit=1)[0]
            match, boxed = plain_answer(sentence), False
        if match is not None and (boxed or VALUE.search(match)):
            return match
        # "So the answer is correct" states nothing when a value is stated elsewhere.
        idle = idle or match
    return idle


def plain_answer(text: str) -> str | None:
    """Return an answer's text without its wrapping, or None when math-verify finds no value.

    >>> plain_answer("$1,000$ coins"), plain_answer("007"), plain_answer("  "), plain_answer("=")
    ('1000', '7', None, None)
    """
    inner = text.strip().rstrip(".").strip()
    if len(inner) > 1 and inner[0] == inner[-1] == "$":
        inner = inner.strip("$").strip()
    inner = inner.removeprefix(r"\(").removesuffix(r"\)").strip()
    grouped = DIGIT_GROUPS.sub("", inner)
    values = _parse(grouped)
    if not values or not re.search(r"\w", inner):
        return None
    value = str(values[0])
    # math-verify reads "1000$ coins" as 1000; an expression such as 2 + 3 keeps its form.
    if INTEGER.fullmatch(value) and INTEGER.fullmatch(str(values[-1])):
        return value
    return inner


def equal_answers(found: str | None, truth: str) -> bool:
    r"""Say whether two answers have the same value; None equals nothing.

    What cannot be parsed is compared as text without spaces.

    >>> equal_answers("0.5", r"\frac{1}{2}"), equal_answers("5", "6"), equal_answers(None, "5")
    (True, False, False)
    """
    return found is not None and _equal(found, truth)


def response_mode(response: str) -> Mode:
    """Say how a response goes about its question.

    *recall*: it begins with the answer's statement, or is a number alone; *reason*: something
    with a number or an equation stands first; *none*: neither (nothing at all, or idle words).

    >>> [response_mode(text) for text in (" The answer is 4.", " 2 + 2 = 4.", "", " I pass.")]
    ['recall', 'reason', 'none', 'none']
    """
    text = NEXT_QUESTION.split(response)[0].strip()
    if RECALL.match(text) or NUMBER_ALONE.fullmatch(text):
        return "recall"
    return "reason" if re.search(r"\d|=", text) else "none"


def _braced(text: str) -> str | None:
    r"""Return what stands in the braces that open `text` (None when they never close)."""
    body = text.lstrip()
    if not body.startswith("{"):
        # \boxed5 is legal LaTeX for one digit.
        return body[:1]
    depth = 0
    for index, sign in enumerate(body):
        escaped = index > 0 and body[index - 1] == "\\"
        depth += 0 if escaped else {"{": 1, "}": -1}.get(sign, 0)
        if depth == 0 and not escaped:
            return body[1:index]
    return None


def _seconds() -> int | None:
    """Return math-verify's time limit: its alarm works in the main thread only."""
    return SECONDS if threading.current_thread() is threading.main_thread() else None


@lru_cache(maxsize=100_000)
def _parse(text: str) -> tuple[Any, ...]:
    """Return what math-verify reads in `text`: (value, text), (text,) or nothing."""
    if INTEGER.fullmatch(text):
        from sympy import Integer

        return (Integer(text), text)
    if not text or len(text) > LONGEST or HUGE.search(text):
        return ()
    from math_verify import parse

    # Inside \boxed the whole text is the answer; outside, prose would be searched for one.
    return tuple(parse(rf"\boxed{{{text}}}", parsing_timeout=_seconds()))


@lru_cache(maxsize=100_000)
def _equal(found: str, truth: str) -> bool:
    found, truth = plain_answer(found) or found, plain_answer(truth) or truth
    if "".join(found.split()) == "".join(truth.split()):
        return True
    if INTEGER.fullmatch(found) and INTEGER.fullmatch(truth):
        return int(found) == int(truth)
    gold, target = _parse(truth), _parse(found)
    if not gold or not target:
        return False
    from math_verify import verify

    return bool(verify(list(gold), list(target), timeout_seconds=_seconds()))
