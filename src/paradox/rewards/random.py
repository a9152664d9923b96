"""Pay by coin toss: r ~ Bernoulli(1/2), whatever was answered (2506.10947).

The coin is a pure function of (seed, step, prompt, sample), so it is the same after a restart
and on any number of workers.
"""

from paradox.rewards import Completion, RewardCondition
from paradox.seeds import keyed_uniform

CONDITION = RewardCondition(
    name="random",
    summary="1 with probability 1/2, whatever was answered",
    uses_truth=False,
    source="2506.10947",
)


def reward(completion: Completion) -> float:
    """Return 1.0 or 0.0 with equal probability."""
    return float(keyed_uniform("random", *completion.key) < 0.5)
