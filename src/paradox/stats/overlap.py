"""How alike two texts are, word by word."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

Words = Sequence[str]


def edit_distance(one: Words, two: Words) -> float:
    """Return the least insertions, deletions and replacements, over the longer length.

    >>> edit_distance("a b c".split(), "a x c d".split())
    0.5
    """
    previous = list(range(len(two) + 1))
    for row, left in enumerate(one, start=1):
        current = [row]
        for column, right in enumerate(two, start=1):
            cheapest = min(previous[column], current[-1]) + 1
            current.append(min(cheapest, previous[column - 1] + (left != right)))
        previous = current
    return previous[-1] / max(len(one), len(two), 1)


def rouge_l(text: Words, reference: Words) -> float:
    """Return ROUGE-L: the F1 of the longest common subsequence, without stemming.

    >>> round(rouge_l("police kill the gunman".split(), "police killed the gunman".split()), 2)
    0.75
    """
    previous = [0] * (len(reference) + 1)
    for left in text:
        current = [0]
        for column, right in enumerate(reference, start=1):
            longest = max(previous[column], current[-1])
            current.append(previous[column - 1] + 1 if left == right else longest)
        previous = current
    # 2 P R / (P + R) with P = common / text and R = common / reference.
    return 2 * previous[-1] / ((len(text) + len(reference)) or 1)


@lru_cache(maxsize=1 << 16)
def likeness(text: str, reference: str) -> tuple[bool, float, float]:
    """Return whether two texts have the same words, their edit distance and their ROUGE-L.

    >>> likeness("7 + 3", " 7 +  3")
    (True, 0.0, 1.0)
    """
    one, two = text.split(), reference.split()
    return one == two, edit_distance(one, two), rouge_l(one, two)
