"""Pay by coin toss: r ~ Bernoulli(gamma), whatever was answered (2506.10947).

The coin is a pure function of (seed, step, prompt, sample), so it is the same after a restart
and on any number of workers.
"""

from paradox.rewards import Completion, RewardCondition
from paradox.seeds import keyed_uniform

PARAMETERS = {"gamma": 0.5}
LIMITS = {"gamma": (0.0, 1.0)}
CONDITION = RewardCondition(
    name="random",
    summary="1 with probability gamma, whatever was answered",
    formula="Bernoulli(gamma)",
    uses_truth=False,
    source="2506.10947",
)


def reward(completion: Completion, gamma: float = PARAMETERS["gamma"]) -> float:
    """Return 1.0 with probability `gamma`, else 0.0."""
    return float(keyed_uniform("random", *completion.key) < gamma)
