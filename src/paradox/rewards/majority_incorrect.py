"""Pay for the base's own errors: r = 1[answer = m], only where m is wrong (2506.10947).

This is the published condition "incorrect": the label of a prompt is the untrained base's
majority vote m, and prompts whose vote is right are left out of the training.
"""

from paradox.rewards import Completion, Prompt, RewardCondition

CONDITION = RewardCondition(
    name="majority_incorrect",
    summary="1 when the stated answer is the base's majority vote; only prompts voted wrong",
    formula="1[a = m(x)], only on prompts with m(x) != g",
    uses_truth=True,
    source="2506.10947",
    needs=("votes",),
)


def trains_on(prompt: Prompt) -> bool:
    """Say whether the base's vote is wrong."""
    return prompt.label is not None and prompt.label_correct is False


def reward(completion: Completion) -> float:
    """Return 1.0 for the answer of the (wrong) majority, else 0.0."""
    return float(completion.agrees)
