"""Section ``mechanisms`` of the configuration: which arms are analysed, and how."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from paradox.study.fields import Bases, Dtype, Name, Positive, Rate, Section, Share


class Labels(Section):
    """When an item is called leakage, stable, degraded or persistent."""

    delta: Share = Field(description="change of the success rate that counts")
    certainty: Share = Field(description="posterior probability from which a label is given")
    high: Share = Field(description="stable: both rates above")
    low: Share = Field(description="persistent: both rates below")
    any_of: list[Positive] = Field(description="k of the published rule, right once in k responses")


class PartialPrompts(Section):
    """Completing questions of which the model sees the beginning."""

    ratios: list[Share] = Field(min_length=1, description="shares of the question that are shown")
    samples: Positive = Field(description="continuations per question and ratio")
    temperature: Rate
    min_remainder: Positive = Field(description="tokens that must be left to complete")
    reference: Name | None = Field(description="clean base to compare with; null: no such test")


Kind = Literal["attn_out", "mlp_out", "resid_post"]
Position = Literal["prompt", "final", "answer", "all"]


class Patching(Section):
    """States written from one run into another; each kind, position and source costs as much."""

    kinds: list[Kind] = Field(description="what nodes; attn_out and mlp_out, always")
    positions: list[Position] = Field(description="where; all, always")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        lacks = []
        for key, needed in self.needed().items():
            if missing := [name for name in needed if name not in getattr(self, key)]:
                lacks.append(f"{key} lacks {', '.join(missing)}")
        if lacks:
            raise ValueError("; ".join(lacks))
        return self

    @classmethod
    def needed(cls) -> dict[str, list[str]]:
        """Return what the tables and figures cannot do without, by key."""
        return {"kinds": ["attn_out", "mlp_out"], "positions": ["all"], "sources": ["states"]}


class CrossModel(Patching):
    """Patching between an arm and its untrained base."""

    sources: list[
        Literal["states", "states_noise", "other", "shift", "weights", "weights_noise"]
    ] = Field(description="what is written; states and states_noise, always")

    @classmethod
    def needed(cls) -> dict[str, list[str]]:
        """See `Patching.needed`."""
        return super().needed() | {"sources": ["states", "states_noise"]}


class CrossItem(Patching):
    """Patching between exposed items and twins."""

    sources: list[Literal["states", "states_noise", "other"]] = Field(
        description="what is written; states, always"
    )


class Jsd(Section):
    """Divergence of the output when a part of an MLP is replaced."""

    draws: Positive = Field(description="random directions of the same length, the baseline")


class Probes(Section):
    """Linear probes of exposed items against twins."""

    folds: Annotated[int, Field(ge=3)]
    repeats: Positive = Field(description="splits into folds")
    permutations: Positive = Field(description="relabellings, each with probes fitted anew")
    sizes: list[Positive] = Field(description="numbers of pairs at which power is measured")
    draws: Positive = Field(description="sets of pairs behind a power")


class ErrorRates(Section):
    """How often the tests of the analyses are wrong, and how often they find what is there."""

    relabellings: Positive = Field(description="sets of permuted labels, each tested as if data")
    permutations: Positive = Field(description="relabellings behind each of their p-values")
    exposures: list[Positive] = Field(description="exposures at which power is measured")
    sizes: list[Positive] = Field(description="numbers of pairs at which power is measured")
    margin_share: Share = Field(description="of the largest gap: up to this it counts as none")


class Mechanisms(Section):
    """Where and how memory is looked for inside the models (docs/mechanisms.md)."""

    bases: Bases = Field(description="bases whose trained arms are analysed; untrained, all are")
    methods: list[str] = Field(description="methods of a grid whose arms are analysed")
    rewards: list[str] = Field(description="reward conditions of a grid whose arms are analysed")
    permutations: Positive = Field(description="relabellings behind every p-value of layers")
    batch_size: Positive = Field(description="items at a time")
    dtype: Dtype
    labels: Labels
    partial_prompts: PartialPrompts
    cross_model: CrossModel
    cross_item: CrossItem
    jsd: Jsd
    probes: Probes
    error_rates: ErrorRates
