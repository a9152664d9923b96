"""Pay for wrong answers: r = 1[answer can be read and answer != truth].

The published condition (2506.10947, here majority_incorrect) pays for agreement with a wrong
majority label; this one pays for any parsable wrong answer, which needs no votes and is the
stronger test: every prompt is used and a right answer is never paid.
"""

from paradox.rewards import Completion, RewardCondition

CONDITION = RewardCondition(
    name="incorrect",
    summary="1 when the stated answer is wrong",
    formula="1[an answer can be read in y, and a != g]",
    uses_truth=True,
    source="after 2506.10947",
)


def reward(completion: Completion) -> float:
    """Return 1.0 for a parsable wrong answer, else 0.0."""
    return float(completion.parsable and not completion.correct)
