"""Pay for the right answer: r = 1[answer = truth] (2506.10947)."""

from paradox.rewards import Completion, RewardCondition

CONDITION = RewardCondition(
    name="ground_truth",
    summary="1 when the stated answer is right",
    formula="1[a = g]",
    uses_truth=True,
    source="2506.10947",
)


def reward(completion: Completion) -> float:
    """Return 1.0 for a right answer, else 0.0."""
    return float(completion.correct)
