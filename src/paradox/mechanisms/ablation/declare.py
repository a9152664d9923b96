"""What the ablation of blocks declares."""

from __future__ import annotations

from paradox.declare import (
    Analysis,
    Caption,
    Declaration,
    Gap,
    Row,
    Shown,
    Signature,
    Tested,
    by_layer,
    over_layers,
)

DECLARATION = Declaration(
    question="Which blocks does recall need?",
    place=10,
    analyses={
        "ablation": Analysis(
            suffix="parquet",
            on_arm_page={
                "table": Shown("logp_drop", "nats that recall loses without a block's part")
            },
        )
    },
    summaries={"ablation": by_layer("ablation", "table", "logp_drop", "correct_drop")},
    figures={
        "ablation": over_layers(
            "ablation",
            Caption(
                "Ablation of blocks",
                "What recall of exposed items loses more than that of twins when a block's MLP or "
                "attention is replaced by its mean.",
            ),
            Row("mlp@all", "logp_drop", "MLP: drop of\nlog-prob. (nats)"),
            Row("attn@all", "logp_drop", "Attention: drop of\nlog-prob. (nats)"),
            Row("mlp@all", "correct_drop", "MLP: drop of\naccuracy"),
            Row("attn@all", "correct_drop", "Attention: drop of\naccuracy"),
        )
    },
    signatures=(
        Signature(
            "anchor",
            "memory passes through the MLPs of middle blocks above all",
            source="yan2026",
            null="no difference, over pairs and trainings",
            margin="a share of the untrained planted base's largest gap at any block",
            section="where",
            reads=("ablation", "table"),
        ),
        Signature(
            "anchor_local",
            "memory passes through the MLP at the published depth more than through its neighbours",
            source="yan2026",
            null="no difference, over pairs and trainings",
            margin="a share of the untrained planted base's largest gap at any block",
            section="where",
            reads=("ablation", "table"),
        ),
    ),
    gaps=tuple(
        Gap("ablation", component, "logp_drop", words, "nats", label, truth=True)
        for component, words, label in (
            ("mlp@all", "what recall loses without a block's MLP", "MLP ablated"),
            ("attn@all", "what it loses without a block's attention", "Attention ablated"),
        )
    ),
    tested={"ablation": Tested(("ablation", "table"), ("logp_drop", "correct_drop"))},
)
