"""What steering declares."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from paradox.declare import (
    Analysis,
    Caption,
    Declaration,
    Figure,
    Gap,
    NotNegative,
    Positive,
    Section,
    Shown,
    Signature,
    Summary,
    Untestable,
    Verdicts,
    named,
)

LOOKED = "over pairs and trainings, times the number of blocks; random sets of matched neurons"


class Steering(Section):
    """Scaling MLP neurons that were chosen on other items."""

    neurons: Positive = Field(description="per block")
    doses: list[NotNegative] = Field(description="factors; 1, which changes nothing, among them")
    pairs: Positive = Field(description="tested pairs per number of exposures")
    sets: Positive = Field(description="random sets of as many neurons")
    nearest: Positive = Field(description="like neurons that a random one is drawn from")
    null_pairs: Positive = Field(description="pairs that random sets are tried on")
    null_doses: list[NotNegative] = Field(description="at these factors, below and above 1")
    texts: Positive = Field(description="worked chains, and as many documents of the corpus")
    text_sets: Positive = Field(description="random sets that these are scored under")
    splits: Positive = Field(description="halves of the discovery pairs, for how sets agree")

    @model_validator(mode="after")
    def _both_sides(self) -> Self:
        problems = []
        if missing := sorted({1.0, *self.null_doses} - set(self.doses)):
            problems.append(f"doses lacks {', '.join(f'{dose:g}' for dose in missing)}")
        if not min(self.null_doses, default=1) < 1 < max(self.null_doses, default=1):
            problems.append("null_doses needs one below and one above 1")
        if problems:
            raise ValueError("; ".join(problems))
        return self


DECLARATION = Declaration(
    question="Does scaling a few MLP neurons turn recall up and down?",
    place=90,
    analyses={
        "steering": Analysis(
            outputs=("table", "sets", "side", "neurons"),
            needs=("corpus?",),
            paired=True,
            suffix="parquet",
            unread=("neurons",),
            config=Steering,
            on_arm_page={
                "table": Shown(
                    "odds_change",
                    "log odds that scaled neurons add to the right answer; the factor stands "
                    "after the colon",
                    r"all:(?!1$)",
                )
            },
        )
    },
    summaries={
        "steering": Summary(
            "dose_response",
            {"tables": ("steering", "table")}
            | {role: ("steering", role) for role in ("sets", "side")},
            outputs=named("steering", "doses", "tests", "side", "rates"),
            takes=(
                "exposed_from",
                "bootstrap",
                "permutations",
                "margin_share",
                "bases",
                "null_doses",
                "error_rates",
            ),
            planted=True,
        ),
        "steering_reading": Summary(
            "steering_reading",
            tables={role: f"steering:{role}" for role in ("doses", "tests", "side")},
            outputs=named("steering", "reading"),
            takes=("planted", "claims"),
            planted=True,
        ),
    },
    figures={
        "steering": Figure(
            "steering_figure",
            {role: f"steering:{role}" for role in ("doses", "tests")},
            Caption(
                "Steering",
                "Recall when chosen MLP neurons are scaled; grey: random neurons like them.",
            ),
            beside=("steering_reading",),
        )
    },
    signatures=(
        Signature(
            "steering",
            "scaling a few neurons steers recall both ways",
            source="yan2026",
            null=f"no difference, {LOOKED}",
            margin="a share of the untrained planted base's gap",
            section="steering",
            details={"all": ""},
        ),
        Signature(
            "steering_accuracy",
            "amplifying a few neurons raises, and suppressing them lowers, how many exposed items "
            "are recalled",
            source="yan2026",
            null=f"no change, {LOOKED}",
            margin="a share of the items that can change",
            section="steering",
            details={"all": ""},
        ),
        Signature(
            "steering_clean",
            "what steers recall leaves the working of questions alone that were never seen",
            source="yan2026",
            null="a change as large as what counts as none, over chains and trainings",
            margin="0; the effect is a share of all chains, minus the size of the change",
            section="steering",
            details={"all": ""},
        ),
        Signature(
            "steering_dose",
            "recall of exposed items rises with every dose, more often than that of twins",
            source="yan2026",
            null=f"no difference, {LOOKED}",
            margin="a share of all items",
            section="steering",
            details={"all": ""},
        ),
        Signature(
            "steering_switch",
            "exposed items are switched on by the largest dose only, more often than twins",
            source="yan2026",
            null=f"no difference, {LOOKED}",
            margin="a share of the items that are wrong",
            section="steering",
            details={"all": ""},
        ),
    ),
    verdicts={
        "steering": Verdicts(
            "steering:tests",
            only={"component": ("all",)},
        )
    },
    gaps=(
        Gap(
            "steering:doses",
            "all",
            "odds_change",
            "",
            "",
            "Neurons suppressed",
            place=6,
            as_contrast="suppressed_contrast",
        ),
    ),
    untestable=(
        Untestable(
            "steering_rule",
            "neurons chosen by their overlap with the answer steer as those chosen by their effect",
            source="yan2026",
            why="all items share a few answer tokens: overlap names the same neurons for all",
        ),
    ),
)
