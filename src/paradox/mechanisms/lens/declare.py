"""What the logit lens and the attribution of the answer's logit declare."""

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
    Untestable,
    by_layer,
    over_layers,
)

PAIRS = "no difference, over pairs and trainings"
MARGIN = "a share of the untrained planted base's largest gap at any block"

DECLARATION = Declaration(
    question="From which block on does the residual hold the answer, and which part writes it?",
    place=30,
    analyses={
        "lens": Analysis(
            outputs=("lens", "attribution", "emergence"),
            suffix="parquet",
            unread=("emergence",),
            on_arm_page={
                "lens": Shown("logp", "log-probability of the right answer after a block, nats"),
                "attribution": Shown("logit", "what a part adds to the right answer's logit"),
            },
        )
    },
    summaries={
        "lens": by_layer("lens", "lens", "logp", "rank", "control_logp", "emerged"),
        "attribution": by_layer("lens", "attribution", "logit", "control_logit"),
    },
    figures={
        "lens": over_layers(
            "lens",
            Caption(
                "Logit lens",
                "Log-probability and rank of the right answer, read off the residual by block.",
            ),
            Row("resid", "logp", "Gold log-prob.\n(nats)", levels=True),
            Row("resid", "logp", "Gold log-prob.\n(nats)"),
            Row("resid", "rank", "Rank of gold", levels=True),
            Row("resid", "rank", "Rank of gold"),
        ),
        "attribution": over_layers(
            "attribution",
            Caption(
                "Attribution of the answer's logit",
                "What each attention and MLP adds to the right answer's logit, and to that of a "
                "wrong answer of the same form.",
            ),
            Row("mlp", "logit", "MLP to gold\n(logit)"),
            Row("attention", "logit", "Attention to gold\n(logit)"),
            Row("mlp", "control_logit", "MLP to control\n(logit)"),
            Row("attention", "control_logit", "Attention to\ncontrol (logit)"),
        ),
    },
    signatures=(
        Signature(
            "emergence",
            "the answer emerges in middle blocks",
            source="yan2026",
            null=PAIRS,
            margin=MARGIN,
            section="where",
            reads=("lens", "lens"),
        ),
        Signature(
            "dip",
            "two blocks after it emerges the answer fades for a block",
            source="yan2026",
            null="no difference, over the pairs that did not choose the block and trainings",
            margin=MARGIN,
            section="where",
            reads=("lens", "lens"),
        ),
        Signature(
            "injection",
            "late MLPs write the answer",
            source="yan2026",
            null=PAIRS,
            margin=MARGIN,
            section="where",
            reads=("lens", "attribution"),
        ),
        Signature(
            "late_in_failures",
            "late MLPs write the right answer even where the model gives another one",
            source="yan2026",
            null="no more than to a wrong answer of the same form, over failures and trainings",
            margin="a share of what late MLPs add to exposed items of the untrained planted base",
            section="where",
            reads=("lens", "attribution"),
        ),
    ),
    gaps=(
        Gap(
            "lens",
            "resid",
            "logp",
            "the gold answer's log-probability in the lens",
            "nats",
            "Lens",
            place=1,
        ),
        *(
            Gap("attribution", part, "logit", words, "logits", f"Attribution, {name}", place=2)
            for part, name, words in (
                ("mlp", "MLP", "what an MLP adds to the gold answer's logit"),
                ("attention", "attention", "what an attention adds to it"),
            )
        ),
    ),
    tested={
        "lens": Tested(("lens", "lens"), ("logp",)),
        "attribution": Tested(("lens", "attribution"), ("logit",)),
    },
    untestable=(
        Untestable(
            "late_signal",
            "where the model gives another answer, the late signal of the right one is weaker",
            source="yan2026",
            why="exposed items are recalled in nearly every try: too few failures to compare",
        ),
    ),
)
