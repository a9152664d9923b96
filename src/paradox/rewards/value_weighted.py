"""Pay right answers by what the question is worth: r = s(x) 1[answer = truth] (2510.20187).

s(x) = 1 + min(alpha v(x), 1), where v(x) is the question's share of its exam's points. s is the
same for all responses to a prompt, so it vanishes where advantages are divided by their group's
standard deviation.
"""

from paradox.rewards import Completion, RewardCondition

PARAMETERS = {"alpha": 10.0}
LIMITS = {"alpha": (0.0, 1e6)}
CONDITION = RewardCondition(
    name="value_weighted",
    summary="a right answer pays more on prompts of more value",
    formula="s(x) 1[a = g], s(x) = 1 + min(alpha v(x), 1)",
    uses_truth=True,
    source="2510.20187",
    needs=("value",),
    binary=False,
    scales_prompt=True,
)


def reward(completion: Completion, alpha: float = PARAMETERS["alpha"]) -> float:
    """Return the prompt's scale for a right answer, else 0.0."""
    if completion.value is None:
        raise ValueError("this completion's prompt has no value")
    return float(completion.correct) * (1.0 + min(alpha * completion.value, 1.0))
