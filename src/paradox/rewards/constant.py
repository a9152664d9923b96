"""Pay everything: r = 1.

The control of group-relative methods: every advantage is zero, so the weights must not change.
"""

from paradox.rewards import Completion, RewardCondition

CONDITION = RewardCondition(
    name="constant",
    summary="1 always; no advantage, so nothing to learn",
    formula="1",
    uses_truth=False,
    source="2506.10947 (gamma = 0)",
)


def reward(completion: Completion) -> float:
    """Return 1.0."""
    return 1.0
