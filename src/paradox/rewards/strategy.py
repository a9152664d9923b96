"""Pay for a way of answering: r = 1[the response starts as a recall] (after 2506.10947).

The published condition pays for the word "python": for the strategy that the model already
prefers, that suits it, and that spurious rewards amplify. Here that strategy is recall, stating
the answer at once; each task knows the words that start it. Its inverse, ``{none: [strategy]}``,
pays for anything else, and the compounds with it ask whether a gain needs recall.
"""

from paradox.rewards import Completion, RewardCondition

CONDITION = RewardCondition(
    name="strategy",
    summary="1 when the response starts with the words of recall, right or wrong",
    formula="1[mode(y) = recall]",
    uses_truth=False,
    source="after 2506.10947 (python reward)",
)


def reward(completion: Completion) -> float:
    """Return 1.0 for a response that states its answer at once, else 0.0."""
    return float(completion.mode == "recall")
