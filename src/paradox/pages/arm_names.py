"""How pages call an arm and groups of items."""

from __future__ import annotations

from typing import Any

from paradox.figures.names import arm_words


def title(arm: dict[str, Any]) -> str:
    """Return what a page calls an arm.

    >>> title({"base": "clean", "method": "grpo", "reward": "ground_truth", "seed": 1})
    'Clean base, ground truth (grpo), seed 1'
    >>> title({"base": "clean", "method": "base", "reward": "none", "seed": 0})
    'Clean base, untrained'
    """
    return arm_words(arm, base=True, seed=True).capitalize()


def level_name(level: str, exposed_from: int | None) -> str:
    """Return how a table calls a group of items.

    >>> [level_name(name, 128) for name in ("twin", "32", "exposed")]
    ['never-seen twins', 'seen 32 times', 'exposed items (seen 128 times or more)']
    """
    if level == "exposed":
        return "exposed items" + (f" (seen {exposed_from} times or more)" if exposed_from else "")
    return "never-seen twins" if level == "twin" else f"seen {level} times"
