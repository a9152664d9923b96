"""The configuration's models. Unknown keys are errors; every key is explicit in the files.

``config/config.yaml`` says what to run (scale, grid, statistics), ``config/grids/*.yaml`` which
arms, ``config/methods.yaml`` by which update rules, ``config/scales/*.yaml`` how large. The JSON
Schema in ``workflow/schemas/`` is generated from these models.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Union

from pydantic import Field, create_model

from paradox.declare import Bases, Dtype, Name, PlainName, Positive, Rate, Section, Share
from paradox.files import write_text
from paradox.study.registry import REGISTRY


class Exclusion(Section):
    """Cells of the product that are not run; a key left out matches every value."""

    base: str | None = Field(None, description="base of the excluded arms")
    method: str | None = Field(None, description="method of the excluded arms")
    reward: str | None = Field(None, description="reward condition of the excluded arms")
    seed: int | None = Field(None, description="seed of the excluded arms")
    why: str = Field(min_length=10, description="the reason, shown in the report")


Names = Annotated[list[str], Field(min_length=1)]
Seeds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class Product(Section):
    """Arms: every combination of these."""

    bases: Bases = Field(description="names from the scale, or all of them")
    methods: Names = Field(description="names from section methods")
    rewards: Names = Field(
        description="files in src/paradox/rewards, or names of the section rewards"
    )
    seeds: Seeds = Field(description="training seeds")


class Grid(Section):
    """A named set of arms: products, less the exclusions, and what other grids hold."""

    include: list[Name] = Field([], description="grids whose arms belong to this one, too")
    products: list[Product]
    exclude: list[Exclusion] = Field(description="cells left out, each with its reason")
    figures: list[Name] = Field(min_length=1, description="what is drawn")
    pages: bool = Field(
        description="whether summary, paper, lineage page, a page per mechanism and arm, and the "
        "index of them are made"
    )


class Arms(Section):
    """What is changed in every product of the grid; null leaves it as it is."""

    bases: Bases | None = Field(None, description="names from the scale, or all of them")
    methods: Names | None = Field(None, description="names from section methods")
    rewards: Names | None = Field(None, description="files, or names of the section rewards")
    logged: list[str] = Field(
        description="conditions whose means every arm logs; their files are then every arm's"
    )
    seeds: Seeds | None = Field(None, description="training seeds")
    exclude: list[Exclusion] | None = Field(None, description="cells left out, with reasons")


class NamedReward(Section):
    """A reward condition made from files: a file with parameters, or a compound of binary ones."""

    file: str | None = Field(None, description="a file in src/paradox/rewards")
    parameters: dict[str, float] = Field({}, description="of the file; others keep their default")
    all: list[str] = Field([], description="a compound pays when all of these pay")
    none: list[str] = Field([], description="and none of these does")


class Statistics(Section):
    """How intervals and tests are made."""

    resamples: Positive = Field(description="bootstrap resamples")
    equivalence_margin: Rate = Field(description="largest accuracy difference that is none")


class Contrast(Section):
    """What exposed items are compared with."""

    exposed_from: int = Field(ge=0, description="exposures from which an item counts as exposed")
    chance: Share | None = Field(description="accuracy of a guess, or null when unknown")


class Planted(Section):
    """What the tasks with planted contamination share."""

    exposures: list[Positive] = Field(min_length=1, description="recall documents per item")
    items_per_exposure: Positive = Field(description="exposed items, and twins, per exposure")
    worked_per_recall: float = Field(ge=0, description="worked documents per recall document")
    prompts: Positive = Field(description="fresh training prompts")
    documents: Positive = Field(description="documents in a base's corpus")
    fresh_recall_share: Share = Field(description="share of recall documents, fresh questions")
    step_noise: Share = Field(description="probability that a worked step's result is random")
    break_off_share: Share = Field(description="share of worked chains without an answer")


class OrganismTask(Planted):
    """Arithmetic chains with planted exposure."""

    kind: Literal["organism"]
    modulus: Positive = Field(description="numbers are 0 .. modulus - 1")
    operands: int = Field(ge=2, description="numbers in a chain")


class WordProblemsTask(Planted):
    """Word problems in plain English with planted exposure."""

    kind: Literal["word_problems"]


class Source(Section):
    """Where benchmark questions come from: a pinned data set of a hub, or a local file."""

    repo: str | None = Field(None, description="data set on the hub")
    config: str | None = Field(None, description="the data set's configuration")
    split: str | None = Field(None, description="the data set's split")
    revision: str | None = Field(None, pattern="^[0-9a-f]{40}$", description="commit on the hub")
    path: str | None = Field(None, description="local jsonl, json, csv or parquet file")
    question_column: str = Field(description="column with the question")
    answer_column: str | None = Field(description="column with the answer, or null")
    answer_after: str | None = Field(None, description="the answer follows this marker")
    limit: Positive | None = Field(None, description="use only the first rows")


class BenchmarkItems(Source):
    """A benchmark, suspected of contamination (exposed) or later than the models (twin)."""

    name: Name = Field(description="name of the benchmark in the item table")
    group: Literal["exposed", "twin"] = Field(description="suspected, or after the cut-off")
    solution_column: str | None = Field(None, description="column with a worked solution")


class BenchmarksTask(Section):
    """Real benchmarks; exposure is unknown."""

    kind: Literal["benchmarks"]
    items: list[BenchmarkItems] = Field(min_length=1, description="benchmarks")
    prompts: Source = Field(description="training prompts")


class OrganismSource(Section):
    """A Qwen2 of this shape with random weights."""

    kind: Literal["organism"]
    layers: Positive
    width: Positive
    heads: Positive
    ffn_width: Positive


class GgufSource(Section):
    """A GGUF file inside an installed package."""

    kind: Literal["gguf"]
    package: str
    file: str


class PretrainedSource(Section):
    """A checkpoint on the hub (pinned) or in a local folder."""

    kind: Literal["pretrained"]
    repo: str | None = None
    revision: str | None = Field(None, pattern="^[0-9a-f]{40}$")
    path: str | None = None
    dtype: Dtype = "bfloat16"


class Training(Section):
    """How a base is trained on its corpus."""

    documents_per_step: Positive
    row_tokens: Positive = Field(description="documents are packed into rows of this length")
    max_tokens: Positive = Field(description="longer documents are cut")
    learning_rate: Rate
    adam_beta1: Share
    adam_beta2: Share
    weight_decay: float = Field(ge=0)
    warmup_steps: int = Field(ge=0)
    final_rate_share: Share = Field(description="cosine ends at this share of learning_rate")
    max_grad_norm: Rate
    lora_rank: int = Field(ge=0, description="0 trains all weights")
    autocast_bf16: bool
    logging_steps: Positive


class Base(Section):
    """A base: where it starts and what it is trained on."""

    source: Annotated[OrganismSource | GgufSource | PretrainedSource, Field(discriminator="kind")]
    planted: bool | None = Field(description="corpus with (true) or without exposed items")
    training: Training | None = Field(description="null: the source is the base")


class Common(Section):
    """What every trainer takes."""

    updates: Positive = Field(description="optimiser steps")
    micro_batch: Positive = Field(description="completions per forward pass")
    learning_rate: Rate
    adam_beta1: Share
    adam_beta2: Share
    max_grad_norm: Rate
    lora_rank: int = Field(ge=0, description="0 trains all weights")
    dtype: Dtype = Field(description="of the weights")
    autocast_bf16: bool
    gradient_checkpointing: bool
    checkpoint_every: Positive = Field(description="updates between two checkpoints")


class Rollouts(Common):
    """What the trainers take that sample while they learn."""

    prompts_per_rollout: Positive
    num_generations: int = Field(ge=2, description="completions per prompt: the group")
    updates_per_rollout: Positive
    max_completion_tokens: Positive
    temperature: Rate


class Grpo(Rollouts):
    """Group-relative policy optimisation (TRL's GRPOTrainer)."""

    loss_type: Literal["grpo", "dr_grpo", "dapo", "bnpo"]
    scale_rewards: Literal["group", "batch", "none"]
    epsilon: Rate = Field(description="clip range of the probability ratio")
    beta: float = Field(ge=0, description="weight of the KL term")
    use_bias_correction_kl: bool = Field(description="KL term times the probability ratio")
    off_policy_mask_threshold: Rate | None = Field(
        description="mean log(old / new) from which a completion with A < 0 is left out"
    )


class Rloo(Rollouts):
    """REINFORCE with a leave-one-out baseline (TRL's RLOOTrainer)."""

    epsilon: Rate = Field(description="clip range of the probability ratio")
    beta: float = Field(ge=0, description="weight of the KL term, inside the reward")


class Ppo(Rollouts):
    """Proximal policy optimisation with a value model (TRL's PPOTrainer)."""

    lam: Share = Field(description="lambda of the generalised advantage estimate")
    gamma: Share = Field(description="discount per token")
    kl_coef: float = Field(ge=0, description="weight of the KL term, inside the reward")
    vf_coef: Rate = Field(description="weight of the value loss")
    cliprange: Rate = Field(description="clip range of the probability ratio")
    cliprange_value: Rate = Field(description="clip range of the value")


class Dpo(Common):
    """Direct preference optimisation (TRL's DPOTrainer) on pairs of the base's samples."""

    rows_per_update: Positive = Field(description="pairs per optimiser step")
    beta: Rate = Field(description="scale of the log-ratios")


class Sft(Common):
    """Supervised fine-tuning (TRL's SFTTrainer)."""

    rows_per_update: Positive = Field(description="texts per optimiser step")
    target: Literal["rewarded", "oracle"] = Field(description="samples of the base, or worked text")


TRAINER_SECTIONS: dict[str, type[Common]] = {
    "grpo": Grpo,
    "rloo": Rloo,
    "ppo": Ppo,
    "dpo": Dpo,
    "sft": Sft,
}


def _method(trainer: str, section: type[Common]) -> type[Section]:
    """Return the model of a method of this trainer: any of the section's keys, none required."""
    fields: dict[str, Any] = {"trainer": (Literal[trainer], ...)}
    for name, field in section.model_fields.items():
        given = copy.copy(field)
        given.default = None
        fields[name] = (field.annotation, given)
    return create_model(
        f"{section.__name__}Method",
        __base__=Section,
        __doc__=f"{section.__doc__} What is not given is the scale's.",
        **fields,
    )


Method = Annotated[
    Union[tuple(_method(*pair) for pair in TRAINER_SECTIONS.items())],  # noqa: UP007
    Field(discriminator="trainer"),
]


class Votes(Section):
    """Majority votes of the untrained base on the training prompts."""

    samples: Positive = Field(description="per prompt")
    temperature: Rate
    max_tokens: Positive
    batch_size: Positive
    dtype: Dtype


class Evaluation(Section):
    """Sampling on the items."""

    samples: Positive = Field(description="per item, last checkpoint")
    samples_between: Positive = Field(description="per item, earlier checkpoints")
    temperature: Rate
    max_tokens: Positive
    batch_size: Positive
    dtype: Dtype


class Perplexity(Section):
    """Scoring of fixed texts."""

    batch_size: Positive
    dtype: Dtype


class Resources(Section):
    """What one job of a rule needs."""

    threads: Positive
    mem_mb: Positive
    runtime: Positive = Field(description="minutes")
    gpu: int = Field(ge=0, description="GPUs, when the machine has any")
    disk_mb: Positive = Field(description="free space wanted before a job starts")


class RuleResources(Section):
    """Resources of each kind of job."""

    data: Resources
    base: Resources
    train: Resources
    evaluate: Resources
    summary: Resources


class Config(Section):
    """The whole configuration of one run."""

    scale: Name = Field(description="a file in config/scales")
    grid: Name = Field(description="a file in config/grids")
    arms: Arms
    grids: dict[Name, Grid] = Field(description="the grid and those it includes")
    rewards: dict[PlainName, NamedReward] = Field(description="reward conditions by name")
    statistics: Statistics
    contrast: Contrast
    seed: int = Field(ge=0, description="seed of the data and of the bases")
    task: Annotated[OrganismTask | WordProblemsTask | BenchmarksTask, Field(discriminator="kind")]
    bases: dict[Name, Base] = Field(min_length=1)
    grpo: Grpo
    methods: dict[PlainName, Method] = Field(description="update rules by name")
    votes: Votes
    evaluation: Evaluation
    perplexity: Perplexity
    mechanisms: REGISTRY.section
    resources: RuleResources


def schema_text() -> str:
    """Return the configuration's JSON Schema."""
    schema: dict[str, Any] = Config.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


def write_schema(path: Path) -> None:
    """Write the JSON Schema at `path`."""
    write_text(path, schema_text())
