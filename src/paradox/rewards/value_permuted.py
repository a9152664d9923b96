"""Control of ``value_weighted``: the same values, dealt to other prompts (2510.20187).

r = s(x) 1[answer = truth], s(x) = 1 + min(alpha v(p(x)), 1), with p one fixed permutation of the
training prompts. What value-weighting does by its spread alone, this does too.
"""

from paradox.rewards import Completion, RewardCondition

PARAMETERS = {"alpha": 10.0}
LIMITS = {"alpha": (0.0, 1e6)}
CONDITION = RewardCondition(
    name="value_permuted",
    summary="as value_weighted, with the values permuted over the prompts",
    formula="s(x) 1[a = g], s(x) = 1 + min(alpha v(p(x)), 1), p a fixed permutation",
    uses_truth=True,
    source="2510.20187",
    needs=("value",),
    binary=False,
    scales_prompt=True,
)


def reward(completion: Completion, alpha: float = PARAMETERS["alpha"]) -> float:
    """Return the other prompt's scale for a right answer, else 0.0."""
    if completion.permuted_value is None:
        raise ValueError("this completion's prompt has no value")
    return float(completion.correct) * (1.0 + min(alpha * completion.permuted_value, 1.0))
