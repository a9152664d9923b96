"""What edge attribution declares."""

from __future__ import annotations

from pydantic import Field

from paradox.declare import (
    Analysis,
    Caption,
    Declaration,
    Figure,
    Positive,
    Section,
    Share,
    Signature,
    Summary,
    Untestable,
    Verdicts,
    named,
)


class Integrated(Section):
    """Integrated gradients, a check of the first-order scores."""

    steps: Positive
    pairs: Positive


class Ablated(Section):
    """Edges that are cut, to compare predicted and real loss."""

    sizes: list[Positive] = Field(description="edges that are cut together")
    draws: Positive = Field(description="random sets of as many")
    singles: Positive = Field(description="edges that are cut alone")


class Eap(Section):
    """Edge attribution patching."""

    pairs: Positive = Field(description="pairs per number of exposures")
    alphas: list[Share] = Field(description="shares of the mean length that are scored")
    max_tokens: Positive = Field(description="of a model's own text")
    integrated: Integrated
    ablated: Ablated


def _signature(part: str, claim: str) -> Signature:
    return Signature(
        f"eap: {part}",
        claim,
        source="zhang2025",
        null="no change, over items and trainings",
        margin="a share of the base's level",
        section="edges",
    )


DECLARATION = Declaration(
    question="Which edges between parts matter, and how does training change them?",
    place=100,
    analyses={
        "eap": Analysis(
            outputs=("scores", "ablation"),
            needs=("base",),
            paired=True,
            suffix="parquet",
            config=Eap,
            methods="whose changes of edges are compared",
        )
    },
    summaries={
        "eap": Summary(
            "eap_summary",
            {"scores": ("eap", "scores")},
            outputs=named("eap", "table", "methods", "signature", "rates"),
            takes=("bootstrap", "permutations", "margin_share", "rates"),
        ),
        "eap_map": Summary(
            "eap_map",
            {"scores": ("eap", "scores"), "ablation": ("eap", "ablation")},
            outputs=named("eap", "edges", "nodes", "ablation"),
            takes=("bootstrap", "permutations"),
        ),
        "eap_reading": Summary(
            "eap_reading",
            tables={role: f"eap:{role}" for role in ("table", "methods", "signature")}
            | {"ablation": "eap_map:ablation"},
            outputs=named("eap", "reading"),
        ),
    },
    figures={
        "eap": Figure(
            "eap_figure",
            {"table": "eap:table"},
            Caption(
                "Edge attribution",
                "Change of the scores of edges by training, in per cent of the untrained base's.",
            ),
            beside=("eap_map", "eap_reading"),
        )
    },
    signatures=(
        _signature("intensity", "edges act more strongly (intensity rises)"),
        _signature("complexity", "scores of edges get more varied (complexity rises)"),
        _signature("diversity", "circuits of items get more diverse (diversity rises)"),
        _signature("kurtosis", "fewer edges stand out (kurtosis falls)"),
        _signature("node_entropy", "parts reach more readers (entropy of nodes' outputs rises)"),
        _signature("redundancy", "intensity moves the way accuracy on unseen questions does"),
    ),
    verdicts={
        # What was fixed beforehand: gradients, all items, the whole text.
        "eap": Verdicts(
            "eap:signature",
            "eap: {part}",
            only={
                "attribution": ("gradient",),
                "filter": ("all",),
                "group": ("all",),
                "definition": ("fixed",),
            },
            without={"part": ("pattern",)},
            largest=("alpha",),
        )
    },
    untestable=(
        Untestable(
            "eap: after_sft",
            "a fine-tuned model changes in the same way under reinforcement learning",
            source="zhang2025",
            why="every training starts from a base, none from a fine-tuned model",
        ),
        Untestable(
            "eap: dpo",
            "offline training on preferences leaves the edges as they were",
            source="zhang2025",
            why="only grid `methods` trains with DPO, in another number of updates",
        ),
    ),
)
