"""What the completion of partial prompts declares."""

from __future__ import annotations

from pydantic import Field

from paradox.declare import (
    Analysis,
    Caption,
    Declaration,
    Figure,
    Positive,
    Rate,
    Read,
    Section,
    Share,
    Signature,
    Summary,
    Tested,
)


class PartialPrompts(Section):
    """Completing questions of which the model sees the beginning."""

    ratios: list[Share] = Field(min_length=1, description="shares of the question that are shown")
    samples: Positive = Field(description="continuations per question and ratio")
    temperature: Rate
    min_remainder: Positive = Field(description="tokens that must be left to complete")


DETAILS = {"exact_greedy": "by greedy decoding", "exact": "in samples"}
DECLARATION = Declaration(
    question="Does the model complete questions of which it sees the beginning?",
    place=35,
    analyses={
        "partial_prompts": Analysis(
            outputs=("items", "contrast"),
            unread=("contrast",),  # by the page of an arm only
            needs=("reference",),
            takes=("reference",),
            config=PartialPrompts,
            on_arm_page={
                "contrast": Read("partial_prompts", "Questions completed word by word, greedily.")
            },
        )
    },
    summaries={
        "partial_prompts": Summary(
            "partial_prompts_summary",
            {"tables": ("partial_prompts", "items")},
            takes=("exposed_from",),
        )
    },
    figures={
        "partial_prompts": Figure(
            "partial_prompts_figure",
            {"table": "partial_prompts"},
            Caption(
                "Partial prompts", "Completing questions of which the model sees the beginning."
            ),
        )
    },
    signatures=(
        Signature(
            "completion",
            "exposed items are completed from partial prompts more often than their twins",
            source="yan2026",
            null="no difference, over pairs and trainings",
            margin="a share of 1, the gap of a model that completes all exposed items and no twin",
            section="where",
            reads=("partial_prompts", "items"),
            details=DETAILS,
        ),
        Signature(
            "completion_rise",
            "training raises how much more often exposed items are completed than their twins",
            source="yan2026",
            null="no change of the difference, over pairs and trainings",
            margin="a share of 1, as that of completion",
            section="where",
            reads=("partial_prompts", "items"),
            details=DETAILS,
        ),
    ),
    tested={
        "partial_prompts": Tested(
            ("partial_prompts", "items"), ("exact_greedy", "edit", "nll", "lift"), how="own"
        )
    },
)
