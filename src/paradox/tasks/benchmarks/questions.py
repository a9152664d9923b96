"""Reading questions and answers from a model hub or from a local file."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paradox.errors import DataError, hint, problems

# A file with one error often has it in every line.
MOST_PROBLEMS = 10


@dataclass
class Rows:
    """What a source holds.

    Attributes
    ----------
    rows
        (place, question, answer, solution); places count from 0 in the source's order, answer
        and solution are None where the source has no such column.
    problems
        What is wrong, one line each, with the source's name; at most `MOST_PROBLEMS` and a
        count of the others.
    """

    rows: list[tuple[int, str, str | None, str | None]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def label(source: dict[str, Any]) -> str:
    """Return a source's name for messages: its file, or its place on the hub."""
    if source.get("path"):
        return str(source["path"])
    parts = [source["repo"], source.get("config"), source["split"]]
    return f"{'/'.join(part for part in parts if part)}@{source['revision'][:12]}"


def read_source(source: dict[str, Any]) -> Rows:
    """Read the first ``limit`` rows (all without a limit) of a source and check each of them.

    Parameters
    ----------
    source
        ``repo``, ``config``, ``split`` and ``revision``, or ``path``; ``question_column``,
        ``answer_column``, ``solution_column``, ``answer_after`` and ``limit``.

    Nothing is raised: what is wrong is returned, so that a caller can report several sources at
    once.
    """
    name = label(source)
    wrong: list[str] = []
    try:
        path = source.get("path")
        records = _from_file(Path(path), wrong) if path else _from_hub(source)
    except DataError as error:
        return Rows(problems=[str(error)])
    if source.get("limit"):
        records = records[: source["limit"]]
    wanted = {
        key: source[key]
        for key in ("question_column", "answer_column", "solution_column")
        if source.get(key)
    }
    columns = list(dict.fromkeys(key for _, record in records for key in record))
    for key, column in list(wanted.items()):
        if records and column not in columns:
            wrong.append(f"column {column!r} ({key}) is missing; {hint(column, columns)}")
            del wanted[key]
    read = Rows()
    for place, (where, record) in enumerate(records):
        texts = _texts(where, record, wanted, wrong)
        answer, before = _split(where, texts.get("answer_column"), source, wrong)
        solution = texts.get("solution_column", before)
        if source.get("solution_column") == source.get("answer_column"):
            solution = before
        read.rows.append((place, texts.get("question_column", ""), answer, solution))
    if not records and not wrong:
        wrong.append("no rows")
    lines = wrong[:MOST_PROBLEMS]
    if len(wrong) > len(lines):
        lines.append(f"... and {len(wrong) - len(lines)} more")
    read.problems = [f"{name}: {line}" for line in lines]
    return read


def _texts(
    where: str, record: dict[str, Any], wanted: dict[str, str], wrong: list[str]
) -> dict[str, str]:
    """Return the wanted texts of one record; note those that are missing or empty."""
    texts = {}
    for key, column in wanted.items():
        if column not in record:
            wrong.append(f"{where}: key {column!r} is missing; {hint(column, record)}")
            continue
        value = record[column]
        text = "" if value is None or value != value else str(value).strip()
        if isinstance(value, dict | list | bool):
            kind = type(value).__name__
            wrong.append(f"{where}, key {column!r}: expected a text or a number, found a {kind}")
        elif not text:
            wrong.append(f"{where}, key {column!r}: empty")
        else:
            texts[key] = text
    return texts


def _split(
    where: str, text: str | None, source: dict[str, Any], wrong: list[str]
) -> tuple[str | None, str | None]:
    """Return the answer and what stands before it, when the answer follows a marker."""
    marker = source.get("answer_after")
    if text is None or not marker:
        return text, None
    before, middle, answer = text.rpartition(marker)
    column = source["answer_column"]
    if not middle:
        wrong.append(f"{where}, key {column!r}: {marker!r} (answer_after) is not in the text")
    elif not answer.strip():
        wrong.append(f"{where}, key {column!r}: empty after {marker!r}")
    return answer.strip(), before.strip() or None


Records = list[tuple[str, dict[str, Any]]]


def _from_hub(source: dict[str, Any]) -> Records:
    """Return the rows of a pinned data set; no code of the data set is ever run."""
    from datasets import load_dataset

    try:
        table = load_dataset(
            source["repo"],
            source.get("config"),
            split=source["split"],
            revision=source["revision"],
        )
    except Exception as error:  # the hub's client raises many kinds
        raise DataError(
            f"{label(source)}: the data set cannot be loaded ({type(error).__name__}: {error}). "
            "Check repo, config, split and revision, and the connection to the hub; or download "
            "the file and give its path instead of repo."
        ) from error
    return [(f"row {number}", record) for number, record in enumerate(table, start=1)]


def _from_file(path: Path, wrong: list[str]) -> Records:
    """Return the records of a local file; lines that cannot be read are noted in `wrong`."""
    readers: dict[str, Callable[[Path, list[str]], Records]] = {
        ".jsonl": _jsonl,
        ".json": _json,
        ".csv": _csv,
        ".parquet": _parquet,
    }
    if not path.exists():
        raise DataError(f"{path}: no such file.")
    if path.suffix not in readers:
        raise DataError(f"{path}: unknown kind of file; {hint(path.suffix, readers)}")
    try:
        return readers[path.suffix](path, wrong)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error}).") from None


def _jsonl(path: Path, wrong: list[str]) -> Records:
    records: Records = []
    # Not str.splitlines: it would also cut at the line separators that JSON texts may hold.
    with open(path, encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                wrong.append(f"line {number}: not valid JSON ({error})")
                continue
            if isinstance(record, dict):
                records.append((f"line {number}", record))
            else:
                kind = type(record).__name__
                wrong.append(f"line {number}: expected an object {{...}}, found a {kind}")
    return records


def _json(path: Path, wrong: list[str]) -> Records:
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: not valid JSON ({error}).") from None
    if not isinstance(data, list):
        raise DataError(f"{path}: expected a list of objects, found a {type(data).__name__}.")
    invalid = [n for n, record in enumerate(data, start=1) if not isinstance(record, dict)]
    wrong += [f"row {number}: expected an object {{...}}" for number in invalid]
    return [(f"row {n}", record) for n, record in enumerate(data, start=1) if n not in invalid]


def _csv(path: Path, wrong: list[str]) -> Records:
    records: Records = []
    with open(path, encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        for record in reader:
            where = f"line {reader.line_num}"
            if None in record:
                wrong.append(f"{where}: more fields than the first line has columns")
                continue
            records.append((where, record))
    return records


def _parquet(path: Path, wrong: list[str]) -> Records:
    from pyarrow import ArrowException, parquet

    try:
        rows = parquet.read_table(path).to_pylist()
    except (ArrowException, OSError) as error:
        raise DataError(problems(f"{path}: not a readable parquet file", [str(error)])) from None
    return [(f"row {number}", record) for number, record in enumerate(rows, start=1)]
