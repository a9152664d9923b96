"""The configuration's models. Unknown keys are errors; every key is explicit in the files.

``workflow/schemas/`` has the JSON Schema that is generated from these models. What the kinds of
tasks and the trainers take is declared in their folders.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Union

from pydantic import Field, create_model

from paradox.declare import Bases, Dtype, Name, PlainName, Positive, Rate, Rollouts, Section, Share
from paradox.files import write_text
from paradox.study.kinds import TASKS, TRAINERS
from paradox.study.registry import REGISTRY, check


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


def _method(trainer: str, section: type[Section]) -> type[Section]:
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


def _one_of(sections: list[type[Section]], chooser: str) -> Any:
    """Return the type of a section that is one of several, which its key `chooser` says."""
    if not sections:
        # None is declared as it must be; that is told when a configuration is loaded.
        return Section
    return Annotated[Union[tuple(sections)], Field(discriminator=chooser)]  # noqa: UP007


Task = _one_of([each.section for each in TASKS.values()], "kind")
Method = _one_of([_method(name, each.section) for name, each in TRAINERS.items()], "trainer")
# The sizes and rates of a scale are those of its GRPO.
Scale = TRAINERS["grpo"].section if "grpo" in TRAINERS else Rollouts


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
    task: Task
    bases: dict[Name, Base] = Field(min_length=1)
    grpo: Scale
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
    check()
    write_text(path, schema_text())
