"""What each figure of a mechanism is called and shows; pages and their lists take it from here."""

from __future__ import annotations

from typing import NamedTuple


class Caption(NamedTuple):
    """The words beside a figure."""

    title: str
    text: str


MECHANISMS = {
    "memory": Caption(
        "Where is memory?",
        "Exposed minus twins in every analysis beside the causal truth (what recall loses without "
        "a block), in units of its own null: from -1 to 1 lies what permuted labels give.",
    ),
    "labels": Caption(
        "Labels of items",
        "Items by label of each rule, exposed and twins; black marks: what the rule would have "
        "called so had nothing changed.",
    ),
    "partial_prompts": Caption(
        "Partial prompts", "Completing questions of which the model sees the beginning."
    ),
    "ablation": Caption(
        "Ablation of blocks",
        "What recall of exposed items loses more than that of twins when a block's MLP or "
        "attention is replaced by its mean.",
    ),
    "patching": Caption(
        "Patching between models",
        "What a block's states carry from one model into the other, exposed minus twins.",
    ),
    "jsd": Caption(
        "Parts of the MLPs",
        "Divergence of the output, in bits, when a part of an MLP is replaced by its mean, beyond "
        "a random change of the same length.",
    ),
    "lens": Caption(
        "Logit lens",
        "Log-probability and rank of the right answer, read off the residual by block.",
    ),
    "attribution": Caption(
        "Attribution of the answer's logit",
        "What each attention and MLP adds to the right answer's logit, and to that of a wrong "
        "answer of the same form.",
    ),
    "probes": Caption("Probes", "How well a linear probe tells exposed items from their twins."),
    "trajectories": Caption(
        "Trajectories of states",
        "The force that sets exposed items and twins apart at each block, beside what a flow "
        "fitted to the states and the published construction say.",
    ),
    "reset_keep": Caption(
        "Reset and keep", "What resetting or keeping the change of some blocks does to recall."
    ),
    "steering": Caption(
        "Steering", "Recall when chosen MLP neurons are scaled; grey: random neurons like them."
    ),
    "decontamination": Caption(
        "Decontamination",
        "Recall that is left beside reasoning that is left, by way of taking memory out.",
    ),
    "eap": Caption(
        "Edge attribution",
        "Change of the scores of edges by training, in per cent of the untrained base's.",
    ),
    "boundary": Caption(
        "Boundary of what is solved", "Share of items solved in k samples, base and trained."
    ),
    "verdicts": Caption("Verdicts", "Every published signature on every arm."),
}


def caption(name: str) -> Caption:
    """Return a figure's words; one that is not listed is called by its name.

    >>> caption("probes").title, caption("my_figure").title
    ('Probes', 'my_figure')
    """
    return MECHANISMS.get(name, Caption(name, ""))
