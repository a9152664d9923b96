"""What the divergence of the MLPs' parts declares."""

from __future__ import annotations

from pydantic import Field

from paradox.declare import (
    Analysis,
    Caption,
    Declaration,
    Gap,
    Positive,
    Row,
    Section,
    Shown,
    Signature,
    Tested,
    by_layer,
    over_layers,
)


class Jsd(Section):
    """Divergence of the output when a part of an MLP is replaced."""

    draws: Positive = Field(description="random directions of the same length, the baseline")


HELD_OUT = "no difference, over the pairs that did not choose the block and trainings"
MARGIN = "a share of the untrained planted base's largest gap at any block"

DECLARATION = Declaration(
    question="What does each part of an MLP do to the output, in bits?",
    place=20,
    analyses={
        "jsd": Analysis(
            suffix="parquet",
            config=Jsd,
            on_arm_page={
                "table": Shown("excess", "bits of divergence without the content of an MLP's part")
            },
        )
    },
    summaries={"jsd": by_layer("jsd", "table", "jsd", "excess", "local_jsd")},
    figures={
        "jsd": over_layers(
            "jsd",
            Caption(
                "Parts of the MLPs",
                "Divergence of the output, in bits, when a part of an MLP is replaced by its mean, "
                "beyond a random change of the same length.",
            ),
            *(
                Row(f"{part}@all", "excess", f"{name}\n(excess, bits)")
                for part, name in (("gate", "Gate"), ("up", "Up"), ("down", "Down"), ("mlp", "MLP"))
            ),
        )
    },
    signatures=(
        Signature(
            "adapters",
            "gate and up-projection rise to an inner block, then decline",
            source="yan2026",
            null=HELD_OUT,
            margin=MARGIN,
            section="where",
            reads=("jsd", "table"),
        ),
        Signature(
            "plateau",
            "after the peak of gate and up the down-projection and the whole MLP stay higher",
            source="yan2026",
            null=HELD_OUT,
            margin=MARGIN,
            section="where",
            reads=("jsd", "table"),
        ),
        Signature(
            "clean_rise",
            "without memory every part's divergence rises from block to block",
            source="yan2026",
            null="no difference between neighbouring blocks, over items and trainings",
            margin="a share of the untrained clean base's largest divergence at any block",
            section="where",
            reads=("jsd", "table"),
        ),
    ),
    gaps=tuple(
        Gap("jsd", component, "excess", words, "bits", label, place=3)
        for component, words, label in (
            ("gate@all", "the excess divergence without the gate's content", "Divergence, gate"),
            ("up@all", "that without the up-projection's content", "Divergence, up"),
        )
    ),
    tested={"jsd": Tested(("jsd", "table"), ("excess",))},
)
