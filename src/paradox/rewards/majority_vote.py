"""Pay for the base's own opinion: r = 1[answer = m], m its majority vote (2506.10947).

The vote is taken once, over samples of the untrained base (step ``votes``), and stays as it is.
Prompts to which no sample stated an answer have no vote and are not trained on.
"""

from paradox.rewards import Completion, Prompt, RewardCondition

CONDITION = RewardCondition(
    name="majority_vote",
    summary="1 when the stated answer is the untrained base's majority vote",
    formula="1[a = m(x)], m(x) the base's majority vote",
    uses_truth=False,
    source="2506.10947",
    needs=("votes",),
)


def trains_on(prompt: Prompt) -> bool:
    """Say whether the base has voted."""
    return prompt.label is not None


def reward(completion: Completion) -> float:
    """Return 1.0 for the answer of the majority, else 0.0."""
    return float(completion.agrees)
