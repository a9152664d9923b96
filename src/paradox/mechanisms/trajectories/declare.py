"""What the trajectories of states declare."""

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
    Rate,
    Section,
    Signature,
    Summary,
    Tested,
    Verdicts,
    named,
)


class Flow(Section):
    """A neural differential equation fitted to the states."""

    fits: Annotated[int, Field(ge=2, multiple_of=2)] = Field(description="seeds, two per split")
    latent: Positive = Field(description="principal components")
    hidden: Positive
    epochs: Positive
    learning_rate: Rate


class PublishedFlow(Section):
    """The published construction, which sees the first layers only."""

    seeds: Positive = Field(description="it is made of the arms with seeds below this")
    fits: Positive
    latent: Positive
    hidden: Positive
    epochs: Positive
    batch_size: Positive


class Trajectories(Section):
    """How exposed items and twins come apart along the layers."""

    permutations: Positive = Field(description="relabellings behind every p-value")
    flow: Flow
    published: PublishedFlow
    sizes: list[Positive] = Field(description="numbers of pairs at which power is measured")
    draws: Positive = Field(description="sets of pairs behind a power")


DECLARATION = Declaration(
    question="Between which blocks do exposed items and twins come apart?",
    place=70,
    analyses={
        "trajectories": Analysis(
            outputs=("pairs", "null", "fits", "rates"),
            needs=("base",),
            paired=True,
            suffix="parquet",
            locks=("envs/flow.lock",),
            takes=("relabellings", "exposures"),
            config=Trajectories,
        )
    },
    summaries={
        "trajectories": Summary(
            "separation",
            {role: ("trajectories", role) for role in ("pairs", "null", "fits")},
            outputs=named("trajectories", "table", "flows", "signatures", "reading"),
            takes=("bootstrap", "planted", "margin_share", "claims"),
            planted=True,
        )
    },
    figures={
        "trajectories": Figure(
            "trajectories_figure",
            {role: f"trajectories:{role}" for role in ("table", "flows")},
            Caption(
                "Trajectories of states",
                "The force that sets exposed items and twins apart at each block, beside what a "
                "flow fitted to the states and the published construction say.",
            ),
            takes=("planted",),
        )
    },
    signatures=(
        Signature(
            "separation_peak",
            "the separation force peaks at an inner block, above the first and the last",
            source="yan2026",
            null="no difference, over the pairs that did not choose the block and trainings",
            margin="a share of the untrained planted base's largest squared force",
            section="how",
            details={
                "answer": "where the answer is predicted",
                "prompt": "at the prompt's last token",
                "question": "mean over the question",
            },
        ),
    ),
    verdicts={
        "trajectories": Verdicts(
            "trajectories:signatures",
            only={
                "signature": tuple(
                    f"separation_peak: {place}" for place in ("answer", "prompt", "question")
                )
            },
            without={"state": ("change",)},
        )
    },
    gaps=(
        Gap(
            "trajectories",
            "answer",
            "force",
            "",
            "",
            "Separation force",
            place=5,
            as_contrast="force_contrast",
        ),
    ),
    tested={"trajectories": Tested(("trajectories", "rates"), how="counted")},
)
