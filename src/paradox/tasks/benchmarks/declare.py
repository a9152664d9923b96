"""What the study must know of the task ``benchmarks``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from paradox.declare import Name, Positive, Section, TaskDeclaration


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


DECLARATION = TaskDeclaration(
    name="benchmarks",
    section=BenchmarksTask,
    corpus=False,
    pairs=False,
    worked=False,
    values=False,
    truth="prompts.answer_column",
)
