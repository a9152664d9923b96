"""What tasks, trainers and analyses declare: sections of the configuration, tables, claims.

A folder's ``declare.py`` imports nothing else of this package, and `paradox.study` finds and checks
it. No step imports it, so that a changed word makes nothing run again but what prints it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
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
    """What the study must know of a kind of task, ``DECLARATION`` in its ``declare.py``."""

    name: str  # the kind: the name of its folder
    # The section ``task`` of a scale of this kind, with ``kind: Literal[name]``
    section: type[Section]
    corpus: bool  # whether it makes documents to train a base on
    pairs: bool  # whether each exposed item has a twin of the same form
    worked: bool  # whether it can work out the answer to a training prompt
    values: bool  # whether its training prompts have values
    # A key of the section (``a.b``) that is null when the training prompts have no right
    # answer; None when they always have
    truth: str | None = None
    # The keys of the section that its words are made from, which is all that a base with random
    # weights depends on; None when it has no words of its own
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
    """What the study must know of a trainer, ``DECLARATION`` in its ``declare.py``."""

    name: str  # the name of its folder, of its step and of ``trainer`` in a method
    # Its settings: those of `Rollouts` or of `Rows`, and its own
    section: type[Rollouts] | type[Rows]
    # Whether it learns from samples of the base, which are made beforehand
    from_samples: bool = False
    pairs: bool = False  # whether it learns from pairs of a rewarded and an unrewarded one


# --- analyses: what runs -------------------------------------------------------------------

# Settings of the configuration that analyses, summaries and figures can be given, by name; beside
# them, a summary can be given any key of the sections of its folder's analyses.
SETTINGS = {
    "bootstrap": "seed of halves and relabellings; resamples of what is no mean of items",
    "exposed_from": "exposures from which an item counts as exposed",
    "chance": "accuracy of a guess; 0 when unknown",
    "planted": "name of the base that holds the items, or null",
    "bases": "names of the planted and of the clean base",
    "reference": "name of the clean base that analyses compare with, or null",
    "permutations": "relabellings behind every p-value of layers",
    "margin_share": "share of the largest gap up to which an effect counts as none",
    "error_rates": "the section error_rates",
    "rates": "relabellings and permutations of error rates",
    "relabellings": "of error rates",
    "exposures": "at which power is measured",
    "temperature": "of the evaluation",
    "max_tokens": "of the evaluation",
    "claims": "the signatures' claims in words: of the folder, or of all that are gathered",
    "measures": "of the summary",
    "table": "the summary's name",
}


@dataclass(frozen=True)
class Shown:
    """How the page of an arm sums up a table with a row per item, component and layer."""

    measure: str  # the column that is shown
    what: str  # what that is, in words
    only: str = ""  # a pattern of the components that are shown; all when empty


@dataclass(frozen=True)
class Read:
    """How the page of an arm reads a table that has no rows per block."""

    # Of the folder's module ``arm``: takes the table's path, returns the rows that are shown
    function: str
    what: str  # what the page says above them


@dataclass(frozen=True)
class Analysis:
    """What is measured on every arm, at its last checkpoint; its name is that of its step."""

    outputs: tuple[str, ...] = ("table",)  # names of its tables
    # What it reads beside the arm's checkpoint and the items: ``base`` (the untrained base's
    # checkpoint), ``reference`` (the clean base's) or ``samples`` (of the base and of the arm,
    # in place of the arm's checkpoint); ``reference?`` (unless it is the arm's own) and
    # ``corpus?`` (that the base was trained on) where there are
    needs: tuple[str, ...] = ()
    trained: bool = False  # whether untrained bases are left out
    paired: bool = False  # whether every exposed item needs a twin of its own
    suffix: str = "csv"  # of its tables; those with a row per item, component and layer are large
    locks: tuple[str, ...] = ()  # of packages that only this analysis needs
    takes: tuple[str, ...] = ()  # settings of other parts of the configuration (`SETTINGS`)
    # Outputs that no summary reads: kept for who looks into single items
    unread: tuple[str, ...] = ()
    config: type[Section] | None = None  # its section below ``mechanisms``
    # What its own list of methods is for (``mechanisms.methods_of``); most have none
    methods: str = ""
    # Output -> how the page of an arm shows it
    on_arm_page: dict[str, Shown | Read] = field(default_factory=dict)

    def file(self, output: str) -> str:
        """Return the name of an output's file."""
        return f"{output}.{self.suffix}"


# Files in the run folder of every arm of a grid -> the step that makes them.
RUNS = {"items.csv": "evaluate", "samples.parquet": "evaluate", "nll.csv": "perplexity"}


@dataclass(frozen=True)
class Summary:
    """Tables of a grid; its name is that of the first."""

    step: str  # what makes them
    # Role -> analysis and output: a file of every arm
    files: dict[str, tuple[str, str]] = field(default_factory=dict)
    # Role -> what every arm of the grid is measured by, untrained bases too (`RUNS`)
    runs: dict[str, str] = field(default_factory=dict)
    # Role -> another summary, or ``summary:role``, an output of it that is not the first
    tables: dict[str, str] = field(default_factory=dict)
    measures: tuple[str, ...] | dict[str, tuple[str, ...]] = ()  # columns that are summed up
    outputs: dict[str, str] = field(default_factory=dict)  # role -> file
    # Settings that the step is given (`SETTINGS`, or keys of the sections of the folder's
    # analyses)
    takes: tuple[str, ...] = ()
    gathers: str = ""  # what it reads of all analyses, as they declare it (`GATHERED`)
    planted: bool = False  # whether there must be a contaminated base


def by_layer(analysis: str, output: str, *measures: str) -> Summary:
    """Return the summary, layer by layer, of a table with a row per item, component and layer."""
    takes = ("measures", "permutations", "exposed_from", "bootstrap")
    return Summary("by_layer", {"tables": (analysis, output)}, measures=measures, takes=takes)


def collected(analysis: str, output: str) -> Summary:
    """Return the summary that puts the tables of all arms one below the other."""
    return Summary("collected", {"tables": (analysis, output)}, takes=("table",))


def named(prefix: str, *roles: str) -> dict[str, str]:
    """Return names of a summary's files by role; what is read in words is JSON.

    >>> named("eap", "table", "reading")
    {'table': 'eap_table.csv', 'reading': 'eap_reading.json'}
    """
    return {role: f"{prefix}_{role}.{'json' if role == 'reading' else 'csv'}" for role in roles}


# --- analyses: what is shown --------------------------------------------------------------


@dataclass(frozen=True)
class Caption:
    """The words beside a figure."""

    title: str
    text: str


@dataclass(frozen=True)
class Row:
    """A row of panels of a figure over layers."""

    component: str  # as in the table, like the measure
    measure: str
    label: str  # of the y axis
    # Whether the two columns of a base show exposed items and twins; otherwise their difference
    # and how training changed it
    levels: bool = False


@dataclass(frozen=True)
class Figure:
    """A figure; its name is that of its file."""

    step: str  # what draws it
    tables: dict[str, str]  # as in `Summary`; a role that ends in + takes a list of files
    caption: Caption  # the words beside it
    beside: tuple[str, ...] = ()  # summaries that are made with it
    rows: tuple[Row, ...] = ()  # of a figure over layers, its rows of panels
    overview: bool = False  # whether the summary of a run shows it, beside its own page
    takes: tuple[str, ...] = ()  # settings that the step is given (`SETTINGS`)
    gathers: str = ""  # as in `Summary`


def over_layers(table: str, caption: Caption, *rows: Row) -> Figure:
    """Return a figure with a row of panels per component and measure of a summary by layer."""
    return Figure("layer_figure", {"table": table}, caption, rows=rows)


# --- analyses: what is claimed ------------------------------------------------------------


@dataclass(frozen=True)
class Signature:
    """A published claim as one number that it says is above 0."""

    name: str  # what its rows in the tables of verdicts are called, or begin with
    claim: str  # in words, after "that"
    source: str  # who published it: a key of ``paper/references.yml``, or "this study"
    null: str  # what its p is drawn from
    margin: str  # up to which effect counts as none, in words
    # Of the paper that judges it; empty: the paper does not name it, which it only does of
    # published claims
    section: str = ""
    # Of a signature that step ``signatures`` computes, by the function of this name in the
    # folder's module ``signature``: analysis and output (a file of every arm), or a summary
    reads: tuple[str, str] | str | None = None
    # What may follow the name in a row, and how it is put into words
    details: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Untestable:
    """A published claim that this study cannot test; it stands in the table of verdicts as such."""

    name: str
    claim: str  # in words, after "that"
    source: str  # as in `Signature`
    why: str  # what is missing here


@dataclass(frozen=True)
class Verdicts:
    """Which rows of a table are verdicts on signatures."""

    table: str  # a summary, or ``summary:role``
    name: str = "{signature}"  # how a row's signature is called, made from its columns
    # Column -> values that rows must have, or must not
    only: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    without: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    largest: tuple[str, ...] = ()  # columns of which only the largest value counts
    # Column of the table of verdicts -> column of this table, where they differ
    columns: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Gap:
    """A curve over layers that the run puts into words and draws beside the causal truth."""

    table: str  # the summary by layer that it is in, with its `component` and `measure`
    component: str
    measure: str
    # How the gap between exposed items and twins is called; empty: not put into words
    words: str
    unit: str
    label: str  # in the figure ``memory``
    truth: bool = False  # whether it is causal: what the other curves are held against
    place: int = 0  # among the curves; those alike in this are in the order of their analyses
    # Function of the folder's module ``contrast`` that puts the table into the form that step
    # ``by_layer`` gives; empty where it has it
    as_contrast: str = ""


@dataclass(frozen=True)
class Tested:
    """A test of exposed items against twins whose error rates are counted."""

    reads: tuple[str, str]  # analysis and output: a file of every arm
    measures: tuple[str, ...] = ()  # columns that are tested
    # ``layers``: rows per item, component and layer, tested at the largest layer; ``counted``:
    # the analysis has counted for itself; ``own``: the folder's module ``rates`` has
    # ``sides(paths, measures, pairs)`` and ``test(permutations)``
    how: Literal["layers", "counted", "own"] = "layers"


# What a summary or figure can gather: tests whose error rates are counted; signatures that are
# computed from single items; curves over layers; verdicts.
GATHERED = ("tested", "signatures", "gaps", "verdicts")


@dataclass(frozen=True)
class Declaration:
    """All that a folder of `paradox.mechanisms` says of itself."""

    question: str  # what it asks, for the index of the reading guide
    # Where it stands in lists of all analyses; those alike in this are ordered by name
    place: int = 1000
    # By name. What has the folder's name is its main one.
    analyses: dict[str, Analysis] = field(default_factory=dict)
    summaries: dict[str, Summary] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)
    signatures: tuple[Signature, ...] = ()  # the published claims that it tests
    untestable: tuple[Untestable, ...] = ()  # those that it cannot test
    # By the name that the table of verdicts has for this folder's rows
    verdicts: dict[str, Verdicts] = field(default_factory=dict)
    # Curves over layers that are compared with those of the other analyses
    gaps: tuple[Gap, ...] = ()
    # Tests whose error rates are counted, by the name that the table of rates has for them
    tested: dict[str, Tested] = field(default_factory=dict)
    # A section below ``mechanisms`` that belongs to no single analysis, by its key
    config: dict[str, type[Section]] = field(default_factory=dict)
