"""What resetting and keeping blocks declares."""

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
    Shown,
    Signature,
    Summary,
    Verdicts,
    collected,
    named,
)

MARGIN = "a share of the exposed items' gap between the two models"
MEASURES = {
    "gold_logp": "log-probability of the answer",
    "mode_logp": "log-probability of answering at once",
}


class ResetKeep(Section):
    """Resetting and keeping what training changed in some blocks."""

    widths: list[Positive] = Field(min_length=1, description="blocks in a window")
    doses: list[float] = Field(description="of the change, beside 0 and 1")
    sets: Positive = Field(description="random sets of blocks, where not all are run")
    pairs: Positive = Field(description="pairs per number of exposures")
    dose_pairs: Positive = Field(description="the same, for the doses")
    norm_tolerance: Share = Field(description="sets this near in size of change are matched")


DECLARATION = Declaration(
    question="What if some blocks get the base's weights back, or only they keep the trained ones?",
    place=80,
    analyses={
        "reset_keep": Analysis(
            outputs=("table", "profile"),
            needs=("base",),
            trained=True,
            paired=True,
            suffix="parquet",
            config=ResetKeep,
            on_arm_page={
                "table": Shown(
                    "gold_logp_change",
                    "nats that one block's weights of the other model add to the right answer",
                    r"(mlp|attention):1:(reset:0|keep:1):weights$",
                )
            },
        )
    },
    summaries={
        "reset_keep": Summary(
            "reset_keep_tests",
            {"tables": ("reset_keep", "table")},
            measures=("gold_logp", "mode_logp", "correct"),
            outputs=named("reset_keep", "windows", "doses", "verdicts"),
            takes=(
                "exposed_from",
                "bootstrap",
                "margin_share",
                "norm_tolerance",
                "measures",
            ),
        ),
        "reset_keep_profile": collected("reset_keep", "profile"),
        "reset_keep_reading": Summary(
            "reset_keep_reading",
            tables={role: f"reset_keep:{role}" for role in ("windows", "verdicts")},
            outputs=named("reset_keep", "reading"),
            takes=("claims",),
        ),
    },
    figures={
        "reset_keep": Figure(
            "reset_keep_figure",
            {"table": "reset_keep:windows"},
            Caption(
                "Reset and keep",
                "What resetting or keeping the change of some blocks does to recall.",
            ),
            beside=("reset_keep_profile", "reset_keep_reading"),
        )
    },
    signatures=(
        Signature(
            "reset",
            "resetting the MLPs at the published depth of the anchor costs more recall than "
            "resetting as many after it (the adapters)",
            source="yan2026",
            null="no difference, over pairs and trainings",
            margin=MARGIN,
            section="how",
            details=MEASURES,
        ),
        Signature(
            "alone",
            "neither the anchor's nor the adapters' change suffices: keeping the change of all "
            "MLPs recovers more recall than keeping either",
            source="yan2026",
            null="no difference, over pairs and trainings",
            margin=MARGIN,
            section="how",
            details=MEASURES,
        ),
        Signature(
            "anchor_over_sets",
            "resetting or keeping the anchor's MLPs does more than the mean set of as many",
            source="yan2026",
            null="no difference, over pairs and trainings; sets of as many blocks",
            margin=MARGIN,
        ),
        Signature(
            "window_over_sets",
            "some window of MLPs does more than random sets of as many blocks",
            source="yan2026",
            null="no difference, over pairs and trainings; the best of as many sets of blocks",
            margin=MARGIN,
        ),
    ),
    verdicts={
        "reset_keep": Verdicts(
            "reset_keep:verdicts",
            "{claim}: {measure}",
            only={"claim": ("reset", "alone"), "part": ("mlp",)},
            without={"measure": ("correct",)},
        )
    },
)
