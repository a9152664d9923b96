"""Records: what each step writes beside its outputs, so that results can be traced and checked.

``NAME.record.json`` is deterministic: step, parameters, seeds, and content hashes of inputs (with
that of each input's record: a Merkle DAG), code, environment lock and outputs. What differs between
equal runs (times, versions, commit) goes to ``NAME.host.json``, which nothing depends on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from paradox.errors import DataError, ProvenanceError, problems
from paradox.files import canonical_json, read_json, sha256, text_sha256, write_json
from paradox.host import device_class, host_facts
from paradox.steps import PACKAGE, determinism

FORMAT = 1
SUFFIX = ".record.json"
HOST_SUFFIX = ".host.json"
KEYS = ("code", "derivation", "determinism", "device", "environment", "format", "inputs")
KEYS += ("outputs", "parameters", "path", "seeds", "step", "threads")
Record = dict[str, Any]
Paths = dict[str, Any]


def read_record(path: Path) -> Record:
    """Read a record and check that it agrees with itself.

    It is a `ProvenanceError` when it is missing, malformed, or has not the derivation id of its
    content.
    """
    try:
        record = read_json(path)
    except DataError as error:
        raise ProvenanceError(f"{error} A record says what made a result.") from None
    if not isinstance(record, dict) or sorted(record) != sorted(KEYS):
        keys = ", ".join(record) if isinstance(record, dict) else type(record).__name__
        raise ProvenanceError(f"{path}: not a record (found {keys}; wanted {', '.join(KEYS)}).")
    if record["derivation"] != derivation_of(record):
        raise ProvenanceError(
            f"{path}: the record was edited: its derivation id {record['derivation'][:12]} is not "
            "that of its parameters, inputs and code."
        )
    return record


def derivation_of(record: Record) -> str:
    """Return the hash of everything but the outputs: what the step was made from."""
    made_from = {key: record[key] for key in KEYS if key not in ("outputs", "derivation")}
    return text_sha256(canonical_json(made_from))


def files_of(part: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of a record's ``inputs`` or ``outputs``, in order."""
    return [entry for name in sorted(part) for entry in part[name]]


def hashes_of(part: dict[str, Any]) -> dict[str, str]:
    """Return path -> SHA-256 of a record's ``inputs`` or ``outputs``."""
    return {entry["path"]: entry["sha256"] for entry in files_of(part)}


def relative(path: Path) -> str:
    """Return a path as records name it: below the repository, never a machine's own folders."""
    path, here = Path(path), Path.cwd()
    if path.is_absolute() and path.is_relative_to(PACKAGE):
        return f"src/{PACKAGE.name}/{path.relative_to(PACKAGE).as_posix()}"
    return (path.relative_to(here) if path.is_relative_to(here) else path).as_posix()


def each(paths: Paths) -> dict[str, list[Path]]:
    """Return named paths as lists, of which most have one."""
    return {name: value if isinstance(value, list) else [value] for name, value in paths.items()}


def check_inputs(inputs: Paths, records: Iterable[Path]) -> dict[str, list[dict[str, Any]]]:
    """Hash a step's inputs and compare those that steps made with their producers' `records`.

    An input that is itself a record stands for its producer; an input that no step made (a
    template, a reward file) has none. A `ProvenanceError` names all inputs below ``results/`` that
    have no record or differ from it.
    """
    outputs: dict[str, tuple[dict[str, Any], str, str]] = {}
    for path in records:
        link = (relative(path), sha256(path))
        for entry in files_of(read_record(path)["outputs"]):
            outputs[entry["path"]] = (entry, *link)
    entries: dict[str, list[dict[str, Any]]] = {}
    wrong: list[str] = []
    for name, paths in sorted(each(inputs).items()):
        entries[name] = []
        for path in paths:
            entry: dict[str, Any] = {"path": relative(path), "sha256": sha256(path), "record": None}
            if entry["path"].endswith(SUFFIX):
                entry["record"] = {"path": entry["path"], "sha256": entry["sha256"]}
            elif entry["path"] in outputs:
                recorded, record, digest = outputs[entry["path"]]
                entry["record"] = {"path": record, "sha256": digest}
                if recorded["sha256"] != entry["sha256"]:
                    wrong.append(
                        f"{path}: changed since it was made: found sha256 {entry['sha256'][:12]}, "
                        f"{record} says {recorded['sha256'][:12]}. Delete it and repeat the "
                        "command to make it again."
                    )
            elif entry["path"].startswith("results/"):
                wrong.append(f"{path}: no record says what made it.")
            entries[name].append(entry)
    if wrong:
        raise ProvenanceError(problems("Inputs that cannot be trusted:", wrong))
    return entries


def draft(
    step: str,
    spec: dict[str, Any],
    threads: int,
    path: Path,
    inputs: dict[str, list[dict[str, Any]]],
    code: list[Path],
    locks: list[Path],
) -> Record:
    """Return a step's record before it has run: everything but the outputs."""
    device = device_class(step)
    record: Record = {
        "format": FORMAT,
        "path": relative(path),
        "step": step,
        "parameters": spec,
        "seeds": {key: v for key, v in flat(spec).items() if key.split(".")[-1] == "seed"},
        "threads": threads,
        "device": device,
        "determinism": determinism(step, device),
        "inputs": inputs,
        "code": {relative(file): sha256(file) for file in sorted(code)},
        "environment": {relative(lock): sha256(lock) for lock in sorted(locks)},
    }
    return record | {"derivation": derivation_of(record)}


def flat(value: Any, key: str = "") -> dict[str, Any]:
    """Return nested parameters as dotted keys, sorted.

    >>> flat({"grpo": {"epochs": [1, 2], "beta": 0.0}})
    {'grpo.beta': 0.0, 'grpo.epochs': [1, 2]}
    """
    if not isinstance(value, dict):
        return {key: value}
    parts = [flat(part, f"{key}.{name}" if key else str(name)) for name, part in value.items()]
    return dict(sorted(pair for part in parts for pair in part.items()))


def write_record(
    record: Record, outputs: Paths, locks: list[Path], started: str, seconds: float
) -> None:
    """Hash the outputs and write the record, after the facts about this machine and run."""
    path = Path(record["path"])
    record["outputs"] = {
        name: [
            {"path": relative(file), "sha256": sha256(file), "bytes": file.stat().st_size}
            for file in files
        ]
        for name, files in sorted(each(outputs).items())
    }
    known = [*record["code"], *hashes_of(record["inputs"])]
    facts = {"derivation": record["derivation"], "started": started, "seconds": round(seconds, 1)}
    facts |= host_facts(locks) | {"modules_not_recorded": _unlisted(known)}
    write_json(host_file(path), facts)
    write_json(path, record)


def host_file(record: Path) -> Path:
    """Return the file with the facts about the machine and run beside a record."""
    return record.with_name(record.name.removesuffix(SUFFIX) + HOST_SUFFIX)


def _unlisted(known: list[str]) -> list[str]:
    """Return the package's loaded files that are neither recorded nor the runner's own.

    The code that a record hashes is found without running it; this is the check of that.
    """
    core = {"__main__", "runner", "steps", "provenance.records", "provenance.identity"}
    core |= {"provenance", "host", "errors", "files", "progress", "seeds", "models"}
    files = {
        name: relative(Path(module.__file__))
        for name, module in list(sys.modules.items())
        if name.split(".")[0] == PACKAGE.name and getattr(module, "__file__", None)
    }
    return sorted(
        file
        for name, file in files.items()
        if file not in known and name.removeprefix(f"{PACKAGE.name}.") not in {PACKAGE.name, *core}
    )
