"""Pay for stating any answer in the asked form: r = 1[answer can be read] (2506.10947)."""

from paradox.rewards import Completion, RewardCondition

CONDITION = RewardCondition(
    name="format",
    summary="1 when an answer is stated in the asked form, right or wrong",
    formula="1[an answer can be read in y]",
    uses_truth=False,
    source="2506.10947",
)


def reward(completion: Completion) -> float:
    """Return 1.0 when an answer can be read, else 0.0."""
    return float(completion.parsable)
