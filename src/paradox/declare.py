"""What declarations are made of: types of configured values, sections of them, declarations.

A file ``declare.py`` in a folder of its own imports nothing else of this package, so that no
step's result depends on what is declared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
PlainName = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
Bases = list[str] | Literal["all"]
Dtype = Literal["float32", "bfloat16"]


class Section(BaseModel):
    """A part of the configuration; misspelt keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# --- tasks -------------------------------------------------------------------------------


class PlantedTask(Section):
    """What the tasks with planted contamination share."""

    exposures: list[Positive] = Field(min_length=1, description="recall documents per item")
    items_per_exposure: Positive = Field(description="exposed items, and twins, per exposure")
    worked_per_recall: float = Field(ge=0, description="worked documents per recall document")
    prompts: Positive = Field(description="fresh training prompts")
    documents: Positive = Field(description="documents in a base's corpus")
    fresh_recall_share: Share = Field(description="share of recall documents, fresh questions")
    step_noise: Share = Field(description="probability that a worked step's result is random")
    break_off_share: Share = Field(description="share of worked chains without an answer")


@dataclass(frozen=True)
class TaskDeclaration:
    """What the study must know of a kind of task, ``DECLARATION`` in its ``declare.py``.

    Attributes
    ----------
    name
        The kind: the name of its folder.
    section
        The section ``task`` of a scale of this kind, with ``kind: Literal[name]``.
    corpus
        Whether it makes documents to train a base on.
    pairs
        Whether each exposed item has a twin of the same form.
    worked
        Whether it can work out the answer to a training prompt.
    values
        Whether its training prompts have values.
    truth
        A key of the section (``a.b``) that is null when the training prompts have no right
        answer; None when they always have.
    vocabulary
        The keys of the section that its words are made from, which is all that a base with random
        weights depends on; None when it has no words of its own.
    """

    name: str
    section: type[Section]
    corpus: bool
    pairs: bool
    worked: bool
    values: bool
    truth: str | None = None
    vocabulary: tuple[str, ...] | None = None


# --- trainers ----------------------------------------------------------------------------


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


class Rows(Common):
    """What the trainers take that learn from rows which are there beforehand."""

    rows_per_update: Positive = Field(description="pairs or texts per optimiser step")


@dataclass(frozen=True)
class TrainerDeclaration:
    """What the study must know of a trainer, ``DECLARATION`` in its ``declare.py``.

    Attributes
    ----------
    name
        The name of its folder, of its step and of ``trainer`` in a method.
    section
        Its settings: those of `Rollouts` or of `Rows`, and its own.
    from_samples
        Whether it learns from samples of the base, which are made beforehand.
    pairs
        Whether it learns from pairs of a rewarded and an unrewarded one.
    """

    name: str
    section: type[Rollouts] | type[Rows]
    from_samples: bool = False
    pairs: bool = False
