"""Pay for wrong answers: r = 1[answer can be read and answer != truth].

The published condition (2506.10947) pays for agreement with a wrong majority label; this one
pays for any parsable wrong answer, which needs no votes and is the stronger test: a right
answer is never paid.
"""

from paradox.rewards import Completion, RewardCondition

CONDITION = RewardCondition(
    name="incorrect",
    summary="1 when the stated answer is wrong",
    uses_truth=True,
    source="after 2506.10947",
)


def reward(completion: Completion) -> float:
    """Return 1.0 for a parsable wrong answer, else 0.0."""
    return float(completion.parsable and not completion.correct)
