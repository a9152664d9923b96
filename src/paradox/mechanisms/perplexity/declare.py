"""What the likelihood of fixed texts declares."""

from __future__ import annotations

from paradox.declare import (
    Caption,
    Declaration,
    Figure,
    Signature,
    Summary,
    Verdicts,
    named,
)

SHARE = (
    "a share of what the untrained base has for exposed items, at least .01 nats per token "
    "(one per cent of perplexity)"
)
NULL = "items crossed with replicates (two-way t)"
GROUPS = {
    "exposed": "exposed items",
    "seldom": "items with too few exposures to count",
    "twin": "twins",
    "difference": "exposed items minus their twins",
    "beyond": "exposed items, beyond the clean base's change",
    "unseen": "the clean base, which saw none of the items",
}


def _signature(name: str, claim: str, margin: str = SHARE) -> Signature:
    return Signature(
        f"perplexity: {name}",
        claim,
        source="yan2026",
        null=NULL,
        margin=margin,
        section="parts",
        details=GROUPS,
    )


DECLARATION = Declaration(
    question="Do remembered answers get likelier and prompts less likely?",
    place=5,
    summaries={
        "perplexity_parts": Summary(
            "perplexity_parts",
            runs={"nlls": "nll.csv", "evaluations": "items.csv"},
            outputs=named("perplexity", "parts", "verdicts"),
            takes=("exposed_from", "margin_share", "bases"),
        )
    },
    figures={
        "perplexity_parts": Figure(
            "perplexity_parts_figure",
            {"table": "perplexity_parts:parts"},
            Caption(
                "Parts of perplexity",
                "How much less likely (above 0) or likelier prompts became, answering at once "
                "(mode), the right answer after that (content), and a right answer by whatever "
                "way, by exposure. Bars: 95 % intervals over items and trainings.",
            ),
        )
    },
    signatures=(
        _signature(
            "paradox", "prompts get less likely, right answers likelier, whole texts less likely"
        ),
        _signature("prompt", "prompts get less likely (one half of the paradox)"),
        _signature("mode", "answering at once gets likelier (the answer's half, its mode)"),
        _signature(
            "content", "the right answer gets likelier once the mode is given (its content)"
        ),
        _signature(
            "monotone",
            "the paradox holds and no part goes back between two checkpoints",
            f"{SHARE}; between two checkpoints, that over their number",
        ),
        _signature(
            "correlation",
            "prompts lose where answers gain (negative correlation over items)",
            "a share of 1, the largest correlation",
        ),
        _signature("clean", "without the items, answers and whole texts get less likely"),
    ),
    verdicts={
        "perplexity": Verdicts("perplexity_parts:verdicts", "perplexity: {signature}, {group}")
    },
)
