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
    Tested,
    collected,
)


class PartialPrompts(Section):
    """Completing questions of which the model sees the beginning."""

    ratios: list[Share] = Field(min_length=1, description="shares of the question that are shown")
    samples: Positive = Field(description="continuations per question and ratio")
    temperature: Rate
    min_remainder: Positive = Field(description="tokens that must be left to complete")


DECLARATION = Declaration(
    question="Does the model complete questions of which it sees the beginning?",
    place=35,
    analyses={
        "partial_prompts": Analysis(
            outputs=("items", "contrast"),
            needs=("reference",),
            takes=("reference",),
            config=PartialPrompts,
            on_arm_page={
                "contrast": Read("partial_prompts", "Questions completed word by word, greedily.")
            },
        )
    },
    summaries={"partial_prompts": collected("partial_prompts", "contrast")},
    figures={
        "partial_prompts": Figure(
            "partial_prompts_figure",
            {"tables+": "partial_prompts"},
            Caption(
                "Partial prompts", "Completing questions of which the model sees the beginning."
            ),
        )
    },
    tested={
        "partial_prompts": Tested(
            ("partial_prompts", "items"), ("exact_greedy", "edit", "nll", "lift"), how="own"
        )
    },
)
