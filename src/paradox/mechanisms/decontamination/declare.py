"""What decontamination declares."""

from __future__ import annotations

from pydantic import Field

from paradox.declare import (
    Analysis,
    Caption,
    Declaration,
    Figure,
    NotNegative,
    Positive,
    Rate,
    Read,
    Section,
    Summary,
    named,
)


class Decontamination(Section):
    """Taking memory out of a model without training it."""

    counts: list[Positive] = Field(description="neurons that are scaled")
    alphas: list[NotNegative] = Field(description="factors")
    draws: Positive = Field(description="random sets of as many neurons")
    nearest: Positive = Field(description="like neurons that a random one is drawn from")
    doses: list[Rate] = Field(description="of weight differences that are taken off")
    pairs: Positive = Field(description="tested pairs per number of exposures")
    chains: Positive = Field(description="worked chains that are scored")
    documents: Positive = Field(description="documents of the corpus that are scored")


DECLARATION = Declaration(
    question="How much recall can be taken out of a model, for how much reasoning?",
    place=95,
    analyses={
        "decontamination": Analysis(
            needs=("base", "reference?", "corpus?"),
            paired=True,
            suffix="parquet",
            config=Decontamination,
            on_arm_page={
                "table": Read(
                    "decontamination",
                    "What ways to take memory out leave; neurons are scaled by alpha.",
                )
            },
        )
    },
    summaries={
        "decontamination": Summary(
            "tradeoff",
            {"tables": ("decontamination", "table")},
            outputs=named("decontamination", "points", "half"),
            takes=("bootstrap", "margin_share"),
        ),
        "decontamination_reading": Summary(
            "decontamination_reading",
            tables={role: f"decontamination:{role}" for role in ("points", "half")},
            outputs=named("decontamination", "reading"),
        ),
    },
    figures={
        "decontamination": Figure(
            "decontamination_figure",
            {"points": "decontamination:points"},
            Caption(
                "Decontamination",
                "Recall that is left beside reasoning that is left, by way of taking memory out.",
            ),
            beside=("decontamination_reading",),
        )
    },
)
