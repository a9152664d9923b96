"""What patching between models and between items declares."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from paradox.declare import (
    Analysis,
    Caption,
    Declaration,
    Figure,
    Section,
    Shown,
    Signature,
    Summary,
    Untestable,
)

Kind = Literal["attn_out", "mlp_out", "resid_post"]
Position = Literal["prompt", "final", "answer", "all"]


class Patching(Section):
    """States written from one run into another; each kind, position and source costs as much."""

    # What the tables and figures cannot do without, by key.
    needed: ClassVar[dict[str, list[str]]] = {
        "kinds": ["attn_out", "mlp_out"],
        "positions": ["all"],
    }

    kinds: list[Kind] = Field(description="what nodes; attn_out and mlp_out, always")
    positions: list[Position] = Field(description="where; all, always")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        lacks = []
        for key, needed in self.needed.items():
            if missing := [name for name in needed if name not in getattr(self, key)]:
                lacks.append(f"{key} lacks {', '.join(missing)}")
        if lacks:
            raise ValueError("; ".join(lacks))
        return self


class CrossModel(Patching):
    """Patching between an arm and its untrained base."""

    needed: ClassVar = Patching.needed | {"sources": ["states", "states_noise"]}

    sources: list[
        Literal["states", "states_noise", "other", "shift", "weights", "weights_noise"]
    ] = Field(description="what is written; states and states_noise, always")


class CrossItem(Patching):
    """Patching between exposed items and twins."""

    needed: ClassVar = Patching.needed | {"sources": ["states"]}

    sources: list[Literal["states", "states_noise", "other"]] = Field(
        description="what is written; states, always"
    )


def _recovery(analysis: str) -> Summary:
    return Summary(
        "recovery",
        {"tables": (analysis, "table")},
        measures=("gold_logp", "mode_logp"),
        # So many rows are ten times as large in csv.
        outputs={"table": f"{analysis}.parquet"},
        takes=("measures", "permutations", "exposed_from", "bootstrap"),
    )


READS = ("cross_model", "table")
MARGIN = "a share of the gap between the two models"
MEASURES = {
    "gold_logp": "log-probability of the answer",
    "mode_logp": "log-probability of answering at once",
}

DECLARATION = Declaration(
    question="Which blocks carry what training changed, and which carry an item's memory?",
    place=60,
    analyses={
        "cross_model": Analysis(
            needs=("base",),
            trained=True,
            suffix="parquet",
            config=CrossModel,
            on_arm_page={
                "table": Shown(
                    "gold_logp_change",
                    "nats that states of the other model add to the right answer",
                    r"(attn|mlp)_out:all:\w+:total:states$",
                )
            },
        ),
        "cross_item": Analysis(paired=True, suffix="parquet", config=CrossItem),
    },
    summaries={"cross_model": _recovery("cross_model"), "cross_item": _recovery("cross_item")},
    figures={
        "patching": Figure(
            "patching_figure",
            {"table": "cross_model"},
            Caption(
                "Patching between models",
                "What a block's states carry from one model into the other, exposed minus twins.",
            ),
            beside=("cross_item",),
        )
    },
    signatures=(
        Signature(
            "patching",
            "training changed recall through the MLPs of middle blocks",
            source="yan2026",
            null="no difference between blocks or to twins, over pairs and trainings",
            margin=MARGIN,
            section="where",
            reads=READS,
            details=MEASURES,
        ),
        Signature(
            "patching_drop",
            "what training changed drops right after the MLP at the published depth",
            source="yan2026",
            null="no difference to the next block, over pairs and trainings",
            margin=MARGIN,
            section="where",
            reads=READS,
            details=MEASURES,
        ),
        Signature(
            "patching_mlp",
            "the MLPs of middle blocks carry more of what training changed than their attention",
            source="yan2026",
            null="no difference between MLP and attention, over pairs and trainings",
            margin=MARGIN,
            section="where",
            reads=READS,
            details=MEASURES,
        ),
    ),
    untestable=(
        Untestable(
            "patching_items",
            "states of an item that training unlocked carry recall into one that it left alone",
            source="yan2026",
            why="greedy decoding recalls exposed items before training: none is left to unlock",
        ),
    ),
)
