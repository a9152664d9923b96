"""Section ``mechanisms`` of the configuration: which arms are analysed, and how."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from paradox.declare import Bases, Dtype, Name, Positive, Rate, Section, Share


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


NotNegative = Annotated[float, Field(ge=0)]
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
        return {"kinds": ["attn_out", "mlp_out"], "positions": ["all"]}


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

    @classmethod
    def needed(cls) -> dict[str, list[str]]:
        """See `Patching.needed`."""
        return super().needed() | {"sources": ["states"]}


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


class ResetKeep(Section):
    """Resetting and keeping what training changed in some blocks."""

    widths: list[Positive] = Field(min_length=1, description="blocks in a window")
    doses: list[float] = Field(description="of the change, beside 0 and 1")
    sets: Positive = Field(description="random sets of blocks, where not all are run")
    pairs: Positive = Field(description="pairs per number of exposures")
    dose_pairs: Positive = Field(description="the same, for the doses")
    norm_tolerance: Share = Field(description="sets this near in size of change are matched")


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


class Decontamination(Section):
    """Taking memory out of a model without training it."""

    counts: list[Positive] = Field(description="neurons that are scaled")
    alphas: list[NotNegative] = Field(description="factors")
    draws: Positive = Field(description="random sets of as many neurons")
    nearest: Positive = Field(description="like neurons that a random one is drawn from")
    doses: list[Rate] = Field(description="of weight differences that are taken off")
    pairs: Positive = Field(description="tested pairs per number of exposures")
    chains: Positive = Field(description="worked chains that are scored")
    documents: Positive = Field(description="documents of the corpus that are scored")


class Integrated(Section):
    """Integrated gradients, a check of the first-order scores."""

    steps: Positive
    pairs: Positive


class Ablated(Section):
    """Edges that are cut, to compare predicted and real loss."""

    sizes: list[Positive] = Field(description="edges that are cut together")
    draws: Positive = Field(description="random sets of as many")
    singles: Positive = Field(description="edges that are cut alone")


class Eap(Section):
    """Edge attribution patching."""

    pairs: Positive = Field(description="pairs per number of exposures")
    alphas: list[Share] = Field(description="shares of the mean length that are scored")
    max_tokens: Positive = Field(description="of a model's own text")
    integrated: Integrated
    ablated: Ablated


class Boundary(Section):
    """What base and trained model solve in many tries, and how likely their texts are."""

    pairs: Positive = Field(description="pairs of each exposure that counts")
    samples: Positive = Field(description="samples per item, the largest k")
    pilot: Positive = Field(description="samples behind matched temperatures and cold samples")
    cold: Rate = Field(description="low temperature of the base, for comparison")
    tolerance: Share = Field(description="relative, of matched entropies")
    rows: Positive = Field(description="samples at a time")
    margin: Share = Field(description="difference of pass@k, or of a quantile, that counts as none")


class MethodsOf(Section):
    """Methods that an analysis compares."""

    eap: list[str] = Field(description="whose changes of edges are compared")
    boundary: list[str] = Field(description="whose pass@k is compared with the base's")


class Mechanisms(Section):
    """Where and how memory is looked for inside the models (docs/mechanisms.md)."""

    bases: Bases = Field(description="bases whose trained arms are analysed; untrained, all are")
    methods: list[str] = Field(description="methods of a grid whose arms are analysed")
    methods_of: MethodsOf = Field(description="those of single analyses, in place of methods")
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
    trajectories: Trajectories
    reset_keep: ResetKeep
    steering: Steering
    decontamination: Decontamination
    eap: Eap
    boundary: Boundary
