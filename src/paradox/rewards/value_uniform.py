"""Control of ``value_weighted``: the same scale on average, for every prompt (2510.20187).

r = s 1[answer = truth], s the mean of 1 + min(alpha v, 1) over the training prompts. It differs
from ``ground_truth`` by a constant factor, which an optimiser like Adam hardly notices.
"""

import numpy as np

from paradox.rewards import Completion, RewardCondition

PARAMETERS = {"alpha": 10.0}
LIMITS = {"alpha": (0.0, 1e6)}
CONDITION = RewardCondition(
    name="value_uniform",
    summary="as value_weighted, with the mean scale for every prompt",
    formula="s 1[a = g], s the mean of 1 + min(alpha v(x), 1) over the training prompts",
    uses_truth=True,
    source="2510.20187",
    needs=("value",),
    binary=False,
    scales_prompt=True,
)


def reward(completion: Completion, alpha: float = PARAMETERS["alpha"]) -> float:
    """Return the mean scale for a right answer, else 0.0."""
    if completion.values is None:
        raise ValueError("this completion's prompt has no value")
    scale = float(np.mean(1.0 + np.minimum(alpha * completion.values, 1.0)))
    return float(completion.correct) * scale
