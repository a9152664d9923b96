"""What the comparison of all analyses declares."""

from __future__ import annotations

from pydantic import Field

from paradox.declare import (
    Caption,
    Declaration,
    Figure,
    Positive,
    Section,
    Share,
    Summary,
    Untestable,
    Verdicts,
)


class ErrorRates(Section):
    """How often the tests of the analyses are wrong, and how often they find what is there."""

    relabellings: Positive = Field(description="sets of permuted labels, each tested as if data")
    permutations: Positive = Field(description="relabellings behind each of their p-values")
    exposures: list[Positive] = Field(description="exposures at which power is measured")
    sizes: list[Positive] = Field(description="numbers of pairs at which power is measured")
    margin_share: Share = Field(description="of the largest gap: up to this it counts as none")
    studies: Positive = Field(description="simulated studies behind each rate of a verdict")


DECLARATION = Declaration(
    question="Where is memory, and what do all analyses say together?",
    place=0,
    # What these read is what the other folders declare: curves, signatures, verdicts, rates.
    summaries={
        "error_rates": Summary(
            "error_rates",
            outputs={"rates": "error_rates.csv", "equivalence": "equivalence.csv"},
            takes=("bases", "error_rates", "exposed_from", "bootstrap"),
            gathers="tested",
            planted=True,
        ),
        "rule_rates": Summary(
            "rule_rates",
            {"tables": ("ablation", "table")},
            takes=("bases", "error_rates", "exposed_from", "bootstrap"),
            planted=True,
        ),
        "signatures": Summary(
            "signatures",
            takes=("margin_share", "bases", "exposed_from", "bootstrap"),
            gathers="signatures",
            planted=True,
        ),
        "reading": Summary(
            "layer_reading",
            outputs={"reading": "reading.json"},
            tables={"signatures": "signatures"},
            takes=("planted", "claims"),
            gathers="gaps",
            planted=True,
        ),
        "verdicts": Summary("verdicts", gathers="verdicts", planted=True),
    },
    figures={
        "memory": Figure(
            "memory_figure",
            {},
            Caption(
                "Where is memory?",
                "Exposed minus twins in every analysis beside the causal truth (what recall loses "
                "without a block), in units of its own null: from -1 to 1 lies what permuted "
                "labels give.",
            ),
            beside=("error_rates", "rule_rates", "reading"),
            overview=True,
            gathers="gaps",
        ),
        "verdicts": Figure(
            "verdicts_figure",
            {"table": "verdicts"},
            Caption("Verdicts", "Every published signature on every arm."),
            overview=True,
        ),
    },
    verdicts={"layers": Verdicts("signatures", without={"state": ("change",)})},
    config={"error_rates": ErrorRates},
    untestable=(
        Untestable(
            "diagnostics",
            "these signatures tell contaminated models from clean ones",
            source="yan2026",
            why="there is one base of each kind, and rates need many",
        ),
        Untestable(
            "unlabelled",
            "memory is found without knowing which items leaked",
            source="yan2026",
            why="every analysis is told which items are exposed",
        ),
        Untestable(
            "architectures",
            "other families of models remember in the same blocks",
            source="yan2026",
            why="one architecture is trained",
        ),
        Untestable(
            "prevention",
            "training can be kept from unlocking memory",
            source="yan2026",
            why="no method tries to",
        ),
        Untestable(
            "domains",
            "memory is unlocked outside mathematics too",
            source="yan2026",
            why="one task of arithmetic",
        ),
        Untestable(
            "data",
            "edges change alike on other data and other models",
            source="zhang2025",
            why="one task and one architecture",
        ),
    ),
)
