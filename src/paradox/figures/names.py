"""How texts, pages and figures call bases and rewards, and in which order (no plotting library)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# The base comes first, then the true reward, then spurious ones from weak to absent signal.
LABELS = {
    "none": "Untrained",
    "ground_truth": "Ground truth",
    "format": "Format",
    "incorrect": "Incorrect",
    "majority_vote": "Majority vote",
    "majority_incorrect": "Majority, where wrong",
    "strategy": "Recall",
    "value_weighted": "Value-weighted",
    "value_permuted": "Values permuted",
    "value_uniform": "Uniform scale",
    "random": "Random",
    "constant": "Constant",
    "exposed": "Exposed items",
    "twin": "Never-seen twins",
    "contaminated": "Contaminated base",
    "clean": "Clean base",
    "prompt": "Prompt",
    "recall": "Answer, recalled at once",
    "reason": "Answer, after correct working",
    "chain": "Whole correct working",
    "gap": "Recalled answer minus prompt",
    "toward_prior": "Drift toward the prior",
    "direct": "Direct responses",
    "probability": "Mean token probability",
}
REWARD_ORDER = [
    "none",
    "ground_truth",
    "value_weighted",
    "value_uniform",
    "value_permuted",
    "majority_vote",
    "format",
    "strategy",
    "incorrect",
    "majority_incorrect",
    "random",
    "constant",
]
METHOD_ORDER = [
    "grpo",
    "dr_grpo",
    "grpo_noclip",
    "grpo_tightclip",
    "grpo_onpolicy",
    "grpo_v32",
    "rloo",
    "ppo",
    "ppo_lam95",
    "dpo",
    "sft",
    "distill",
]


def label(name: str) -> str:
    """Return the name to print; an unknown name is printed as it is.

    >>> label("ground_truth"), label("my_reward")
    ('Ground truth', 'my_reward')
    """
    return LABELS.get(name, name)


def arm_words(
    arm: Mapping[str, Any], *, base: bool = False, method: bool = True, seed: bool = False
) -> str:
    """Return an arm in words: with `base`, `method` and `seed` as asked, the last two if trained.

    >>> arm_words({"method": "base", "reward": "none"})
    'untrained'
    >>> arm = {"base": "contaminated", "method": "grpo", "reward": "ground_truth", "seed": 1}
    >>> arm_words(arm), arm_words(arm, method=False)
    ('ground truth (grpo)', 'ground truth')
    >>> arm_words(arm, base=True, seed=True)
    'contaminated base, ground truth (grpo), seed 1'
    """
    parts = [label(arm["base"]).lower()] if base else []
    if arm["method"] == "base":
        return ", ".join([*parts, "untrained"])
    parts.append(label(arm["reward"]).lower() + (f" ({arm['method']})" if method else ""))
    if seed:
        parts.append(f"seed {arm['seed']}")
    return ", ".join(parts)


def in_order(rewards: Iterable[str]) -> list[str]:
    """Return reward conditions in the order of every figure; new ones come last, by name.

    >>> in_order(["zeta", "random", "none", "format"])
    ['none', 'format', 'random', 'zeta']
    """
    return _ordered(rewards, REWARD_ORDER)


def methods_in_order(methods: Iterable[str]) -> list[str]:
    """Return methods in the order of every figure, untrained first; new ones come last, by name."""
    return _ordered(methods, ["base", *METHOD_ORDER])


def _ordered(names: Iterable[str], order: list[str]) -> list[str]:
    places = {name: place for place, name in enumerate(order)}
    return sorted(set(names), key=lambda name: (places.get(name, len(places)), name))


def bases_in_order(bases: Iterable[str]) -> list[str]:
    """Return bases with a contaminated one first and a clean one last."""
    places = {"contaminated": 0, "clean": 2}
    return sorted(set(bases), key=lambda name: (places.get(name, 1), name))
