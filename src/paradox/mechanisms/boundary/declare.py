"""What the boundary of what is solved declares."""

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
    Untestable,
    Verdicts,
    named,
)

NONE = "no difference, over pairs and trainings"
MARGIN = "a difference of pass@k, or of a quantile, that counts as none (key margin)"
WITHIN = "none: the number is the margin (key margin) minus what is to be small"
WHERE = {
    "exposed": "exposed items",
    "twin": "twins",
    "exposed, worked": "exposed items, worked out word for word",
    "twin, worked": "twins, worked out word for word",
}


class Boundary(Section):
    """What base and trained model solve in many tries, and how likely their texts are."""

    pairs: Positive = Field(description="pairs of each exposure that counts")
    samples: Positive = Field(description="samples per item, the largest k")
    pilot: Positive = Field(description="samples behind matched temperatures and cold samples")
    cold: Rate = Field(description="low temperature of the base, for comparison")
    tolerance: Share = Field(description="relative, of matched entropies")
    rows: Positive = Field(description="samples at a time")
    margin: Share = Field(description="difference of pass@k, or of a quantile, that counts as none")


def _signature(
    name: str, claim: str, null: str = NONE, margin: str = MARGIN, section: str = "tries"
) -> Signature:
    return Signature(
        f"boundary: {name}",
        claim,
        source="yue2025",
        null=null,
        margin=margin,
        section=section,
        details=WHERE,
    )


DECLARATION = Declaration(
    question="Does training add anything that many samples of the base do not solve?",
    place=110,
    analyses={
        "boundary": Analysis(
            needs=("base",),
            paired=True,
            suffix="parquet",
            takes=("temperature", "max_tokens"),
            config=Boundary,
            methods="whose pass@k is compared with the base's",
            on_arm_page={
                "table": Read("boundary", "Right answers in one try and in many; base: untrained.")
            },
        )
    },
    summaries={
        "boundary": Summary(
            "boundary_summary",
            {"tables": ("boundary", "table")},
            outputs=named("boundary", "curves", "coverage", "crossings", "perplexity", "verdicts"),
            takes=("bootstrap", "permutations", "margin", "chance"),
        ),
        "boundary_reading": Summary(
            "boundary_reading",
            tables={role: f"boundary:{role}" for role in ("crossings", "verdicts")},
            outputs=named("boundary", "reading"),
            takes=("planted", "claims"),
            planted=True,
        ),
    },
    figures={
        "boundary": Figure(
            "boundary_figure",
            {role: f"boundary:{role}" for role in ("curves", "crossings", "perplexity")},
            Caption(
                "Boundary of what is solved",
                "Share of items solved in k samples, base and trained.",
            ),
            beside=("boundary_reading",),
        )
    },
    signatures=(
        _signature("crossing", "training raises the first try and lowers many tries"),
        _signature(
            "matched_below",
            "many tries of the base solve more even at equal entropy",
            section="",
        ),
        _signature(
            "covered",
            "next to nothing is solved by the trained model only",
            null="as much as the margin is solved by it only, over pairs and trainings",
            margin=WITHIN,
        ),
        _signature(
            "efficiency",
            "training raises the first try and leaves more of the way to many tries of the base "
            "than it goes",
        ),
        _signature(
            "alike",
            "what is left of that way is alike under all methods that sample while they train",
            null="gaps as far apart as the margin, over pairs and trainings",
            margin=WITHIN,
            section="",
        ),
        _signature(
            "likelier",
            "the base finds texts likelier after training than before",
            null="as likely as the base's own, over pairs and trainings",
        ),
        _signature(
            "low_perplexity",
            "training keeps to what the base finds likely, beyond sharpening it",
        ),
        _signature(
            "above_all",
            "training raises every number of tries, as published of distillation",
            section="",
        ),
    ),
    verdicts={
        # An untrained base covers itself: no claim about training.
        "boundary": Verdicts(
            "boundary:verdicts",
            "boundary: {signature}, {detail}",
            without={
                "method": ("base",),
                "measure": ("same",),
                "signature": ("matched_below", "above_all"),
            },
        )
    },
    untestable=(
        Untestable(
            "boundary: likelier_along",
            "texts get likelier under the base from checkpoint to checkpoint",
            source="yue2025",
            why="texts are sampled from the last checkpoint only",
        ),
        Untestable(
            "boundary: reinforce",
            "Reinforce++ crosses the base as GRPO does",
            source="yue2025",
            why="no method of this study",
        ),
        Untestable(
            "boundary: domains",
            "the base solves more in very many tries, in code and in pictures too",
            source="yue2025",
            why="one task of arithmetic, and 64 tries at most",
        ),
    ),
)
