"""What the labels of items declare."""

from __future__ import annotations

from pydantic import Field

from paradox.declare import (
    Analysis,
    Caption,
    Declaration,
    Figure,
    Positive,
    Read,
    Section,
    Share,
    Signature,
    Summary,
    Tested,
    collected,
)


class Labels(Section):
    """When an item is called leakage, stable, degraded or persistent."""

    delta: Share = Field(description="change of the success rate that counts")
    certainty: Share = Field(description="posterior probability from which a label is given")
    high: Share = Field(description="stable: both rates above")
    low: Share = Field(description="persistent: both rates below")
    any_of: list[Positive] = Field(description="k of the published rule, right once in k responses")


DECLARATION = Declaration(
    question="Which items did training unlock, and does the published rule call the right ones?",
    place=40,
    analyses={
        "labels": Analysis(
            outputs=("labels", "rules"),
            needs=("samples",),
            trained=True,
            config=Labels,
            on_arm_page={
                "labels": Read("labels", "Items by label (posterior probability)."),
                "rules": Read("rules", "Each rule against what was planted."),
            },
        )
    },
    summaries={
        "labels": collected("labels", "rules"),
        "confusion": Summary(
            "labels_summary", {"tables": ("labels", "labels")}, takes=("exposed_from",)
        ),
    },
    figures={
        "labels": Figure(
            "labels_figure",
            {"table": "confusion"},
            Caption(
                "Labels of items",
                "Items by label of each rule, exposed and twins; black marks: what the rule would "
                "have called so had nothing changed.",
            ),
            beside=("labels",),
        )
    },
    signatures=(
        Signature(
            "leakage",
            "items called leakage are the exposed ones",
            source="yan2026",
            null="no difference, over pairs and trainings",
            margin="a share of 1/2, the gap of a rule that calls half of exposed items and no twin",
            section="where",
            reads=("labels", "labels"),
        ),
    ),
    tested={"labels": Tested(("labels", "labels"), how="own")},
)
