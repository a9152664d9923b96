"""What the probes declare."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from paradox.declare import (
    Analysis,
    Caption,
    Declaration,
    Figure,
    Gap,
    Positive,
    Read,
    Section,
    Signature,
    Summary,
    Tested,
    collected,
)


class Probes(Section):
    """Linear probes of exposed items against twins."""

    folds: Annotated[int, Field(ge=3)]
    repeats: Positive = Field(description="splits into folds")
    permutations: Positive = Field(description="relabellings, each with probes fitted anew")
    sizes: list[Positive] = Field(description="numbers of pairs at which power is measured")
    draws: Positive = Field(description="sets of pairs behind a power")


DECLARATION = Declaration(
    question="At which blocks can a linear probe tell an exposed item from its twin?",
    place=50,
    analyses={
        "probes": Analysis(
            outputs=("table", "won", "rates"),
            needs=("base",),
            paired=True,
            takes=("relabellings", "exposures"),
            config=Probes,
            on_arm_page={
                "table": Read(
                    "probes", "Where a linear probe tells an exposed item from its twin best."
                )
            },
        )
    },
    summaries={
        "probes": collected("probes", "table"),
        "probes_change": Summary(
            "probes_change", {"tables": ("probes", "won")}, takes=("permutations", "bootstrap")
        ),
    },
    figures={
        "probes": Figure(
            "probes_figure",
            {"tables+": "probes", "changes": "probes_change"},
            Caption("Probes", "How well a linear probe tells exposed items from their twins."),
        )
    },
    signatures=(
        Signature(
            "probe_peak",
            "exposed items are told apart best at an inner block, not at the first or the last",
            source="yan2026",
            null="no difference, over the pairs that did not choose the block and trainings",
            margin="a share of what the untrained planted base's best block has above 1/2",
            section="where",
            reads=("probes", "won"),
            details={
                "answer": "where the answer is predicted",
                "question": "mean over the question",
            },
        ),
    ),
    gaps=(
        Gap("probes", "answer", "ridge_auc", "", "", "Probe", place=4, as_contrast="area_contrast"),
    ),
    tested={"probes": Tested(("probes", "rates"), how="counted")},
)
