"""What tasks, trainers and analyses declare: sections of the configuration, tables, claims.

A folder of `paradox.tasks`, `paradox.train` or `paradox.mechanisms` says what it is in a file
``declare.py`` that imports nothing else of this package: `paradox.study` finds and checks it when
a run is planned. No step imports it, so that a changed word makes nothing run again but what
prints it.
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


# --- analyses: what runs -------------------------------------------------------------------

# Settings of the configuration that analyses, summaries and figures can be given, by name; beside
# them, a summary can be given any key of the sections of its folder's analyses.
SETTINGS = {
    "bootstrap": "seed and resamples of every interval",
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
    """How the page of an arm sums up a table with a row per item, component and layer.

    Attributes
    ----------
    measure
        The column that is shown, and ``what`` it is, in words.
    only
        A pattern of the components that are shown; all when empty.
    """

    measure: str
    what: str
    only: str = ""


@dataclass(frozen=True)
class Read:
    """How the page of an arm reads a table that has no rows per block.

    Attributes
    ----------
    function
        Of the folder's module ``arm``: takes the table's path, returns the rows that are shown.
    what
        What the page says above them.
    """

    function: str
    what: str


@dataclass(frozen=True)
class Analysis:
    """What is measured on every arm, at its last checkpoint; its name is that of its step.

    Attributes
    ----------
    outputs
        Names of its tables.
    needs
        What it reads beside the arm's checkpoint and the items: ``base`` (the untrained base's
        checkpoint), ``reference`` (the clean base's) or ``samples`` (of the base and of the arm,
        in place of the arm's checkpoint); ``reference?`` (unless it is the arm's own) and
        ``corpus?`` (that the base was trained on) where there are.
    trained
        Whether untrained bases are left out.
    paired
        Whether every exposed item needs a twin of its own.
    suffix
        Of its tables; those with a row per item, component and layer are large.
    locks
        Of packages that only this analysis needs.
    takes
        Settings of other parts of the configuration (`SETTINGS`).
    unread
        Outputs that no summary reads: kept for who looks into single items.
    config
        Its section of the configuration, below ``mechanisms``.
    methods
        What its own list of methods is for (``mechanisms.methods_of``); most have none.
    on_arm_page
        Output -> how the page of an arm shows it.
    """

    outputs: tuple[str, ...] = ("table",)
    needs: tuple[str, ...] = ()
    trained: bool = False
    paired: bool = False
    suffix: str = "csv"
    locks: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    config: type[Section] | None = None
    methods: str = ""
    on_arm_page: dict[str, Shown | Read] = field(default_factory=dict)

    def file(self, output: str) -> str:
        """Return the name of an output's file."""
        return f"{output}.{self.suffix}"


# Files in the run folder of every arm of a grid -> the step that makes them.
RUNS = {"items.csv": "evaluate", "samples.parquet": "evaluate", "nll.csv": "perplexity"}


@dataclass(frozen=True)
class Summary:
    """Tables of a grid; its name is that of the first.

    Attributes
    ----------
    step
        What makes them.
    files
        Role -> analysis and output: a file of every arm.
    runs
        Role -> what every arm of the grid is measured by, untrained bases too (`RUNS`).
    tables
        Role -> another summary, or ``summary:role``, an output of it that is not the first.
    measures
        Columns that are summed up.
    outputs
        Role -> file.
    takes
        Settings that the step is given (`SETTINGS`, or keys of the sections of
        the folder's analyses).
    gathers
        What it reads of all analyses, as they declare it (`GATHERED`).
    planted
        Whether there must be a contaminated base.
    """

    step: str
    files: dict[str, tuple[str, str]] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)
    measures: tuple[str, ...] | dict[str, tuple[str, ...]] = ()
    outputs: dict[str, str] = field(default_factory=dict)
    takes: tuple[str, ...] = ()
    gathers: str = ""
    planted: bool = False


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
    """A row of panels of a figure over layers.

    Attributes
    ----------
    component, measure
        As in the table.
    label
        Of the y axis.
    levels
        Whether the two columns of a base show exposed items and twins; otherwise their difference
        and how training changed it.
    """

    component: str
    measure: str
    label: str
    levels: bool = False


@dataclass(frozen=True)
class Figure:
    """A figure; its name is that of its file.

    Attributes
    ----------
    step
        What draws it.
    tables
        As in `Summary`; a role that ends in + takes a list of files.
    caption
        The words beside it.
    beside
        Summaries that are made with it.
    rows
        Of a figure over layers, its rows of panels.
    overview
        Whether the summary of a run shows it, beside its own page.
    takes
        Settings that the step is given (`SETTINGS`).
    gathers
        As in `Summary`.
    """

    step: str
    tables: dict[str, str]
    caption: Caption
    beside: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    overview: bool = False
    takes: tuple[str, ...] = ()
    gathers: str = ""


def over_layers(table: str, caption: Caption, *rows: Row) -> Figure:
    """Return a figure with a row of panels per component and measure of a summary by layer."""
    return Figure("layer_figure", {"table": table}, caption, rows=rows)


# --- analyses: what is claimed ------------------------------------------------------------


@dataclass(frozen=True)
class Signature:
    """A published claim as one number that it says is above 0.

    Attributes
    ----------
    name
        What its rows in the tables of verdicts are called, or begin with.
    claim
        In words, after "that".
    source
        Who published it: a key of ``paper/references.yml``, or "this study".
    null
        What its p is drawn from.
    margin
        Up to which effect counts as none, in words.
    section
        Of the paper that judges it; empty: the paper does not name it, which it only does of
        published claims.
    reads
        Of a signature that step ``signatures`` computes, by the function of this name in the
        folder's module ``signature``: analysis and output (a file of every arm), or a summary.
    details
        What may follow the name in a row, and how it is put into words.
    """

    name: str
    claim: str
    source: str
    null: str
    margin: str
    section: str = ""
    reads: tuple[str, str] | str | None = None
    details: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdicts:
    """Which rows of a table are verdicts on signatures.

    Attributes
    ----------
    table
        A summary, or ``summary:role``.
    name
        How a row's signature is called, made from its columns.
    only, without
        Column -> values that rows must have, or must not.
    largest
        Columns of which only the largest value counts.
    columns
        Column of the table of verdicts -> column of this table, where they differ.
    """

    table: str
    name: str = "{signature}"
    only: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    without: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    largest: tuple[str, ...] = ()
    columns: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Gap:
    """A curve over layers that the run puts into words and draws beside the causal truth.

    Attributes
    ----------
    table
        The summary by layer that it is in, with its `component` and `measure`.
    words, unit
        How the gap between exposed items and twins is called; empty: not put into words.
    label
        In the figure ``memory``.
    truth
        Whether it is causal: what the other curves are held against.
    place
        Among the curves; those alike in this are in the order of their analyses.
    as_contrast
        Function of the folder's module ``contrast`` that puts the table into the form that step
        ``by_layer`` gives; empty where it has it.
    """

    table: str
    component: str
    measure: str
    words: str
    unit: str
    label: str
    truth: bool = False
    place: int = 0
    as_contrast: str = ""


@dataclass(frozen=True)
class Tested:
    """A test of exposed items against twins whose error rates are counted.

    Attributes
    ----------
    reads
        Analysis and output: a file of every arm.
    measures
        Columns that are tested.
    how
        ``layers``: rows per item, component and layer, tested at the largest layer; ``counted``:
        the analysis has counted for itself; ``own``: the folder's module ``rates`` has
        ``sides(paths, measures, pairs)`` and ``test(permutations)``.
    """

    reads: tuple[str, str]
    measures: tuple[str, ...] = ()
    how: Literal["layers", "counted", "own"] = "layers"


# What a summary or figure can gather: tests whose error rates are counted; signatures that are
# computed from single items; curves over layers; verdicts.
GATHERED = ("tested", "signatures", "gaps", "verdicts")


@dataclass(frozen=True)
class Declaration:
    """All that a folder of `paradox.mechanisms` says of itself.

    Attributes
    ----------
    question
        What it asks, for the index of the reading guide.
    place
        Where it stands in lists of all analyses; those alike in this are ordered by name.
    analyses, summaries, figures
        By name. What has the folder's name is its main one.
    signatures
        The published claims that it tests.
    verdicts
        By the name that the table of verdicts has for this folder's rows.
    gaps
        Curves over layers that are compared with those of the other analyses.
    tested
        Tests whose error rates are counted, by the name that the table of rates has for them.
    config
        A section below ``mechanisms`` that belongs to no single analysis, by its key.
    """

    question: str
    place: int = 1000
    analyses: dict[str, Analysis] = field(default_factory=dict)
    summaries: dict[str, Summary] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)
    signatures: tuple[Signature, ...] = ()
    verdicts: dict[str, Verdicts] = field(default_factory=dict)
    gaps: tuple[Gap, ...] = ()
    tested: dict[str, Tested] = field(default_factory=dict)
    config: dict[str, type[Section]] = field(default_factory=dict)
