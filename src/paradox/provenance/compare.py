"""What differs between two results, and which cause comes first.

Two chains are walked together from the data to the figures. A record can differ in its data,
code, parameters, environment or numbers; what differs first is the cause, the rest follows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from paradox.provenance.chain import Chain, held, inside, producers
from paradox.provenance.records import Record, files_of, flat, hashes_of
from paradox.stats.gaps import table_gaps

CAUSES = ("data", "code", "parameters", "environment", "numbers")


@dataclass(frozen=True)
class Difference:
    """One cause, the records it was found in (upstream first) and what it is."""

    cause: str
    what: str
    records: list[str]

    def __str__(self) -> str:
        """Return ``cause: what (records)``."""
        more = f" and {len(self.records) - 1} more" if len(self.records) > 1 else ""
        return f"{self.cause}: {self.what} ({self.records[0]}{more})"


def differences(
    a: Chain, b: Chain, targets: tuple[Record, Record] | None = None
) -> list[Difference]:
    """Compare two chains, or two records and what they were made from.

    The first cause comes first: upstream before downstream and, in one record, in the order of
    `CAUSES`. Outputs that differ only because something above them does are left out.
    """
    if targets:
        pairs = _same_roles(a, b, *targets)
    else:
        pairs = [(record, b.records[p]) for p, record in a.records.items() if p in b.records]
    paths_of: dict[tuple[str, str], list[str]] = {}
    unlike: set[str] = set()
    for record, other in pairs:
        causes = list(_causes(record, other, same_place=targets is None))
        if causes or not unlike.isdisjoint(producers(record)):
            unlike.add(record["path"])
        elif _hashes(record) != _hashes(other):
            unlike.add(record["path"])
            causes = [("numbers", "other outputs from the same inputs, code and parameters")]
        for cause in causes:
            paths_of.setdefault(cause, []).append(record["path"])
    if targets is None:
        for here, there in ((a, b), (b, a)):
            only = [path for path in here.records if path not in there.records]
            if only:
                paths_of["data", f"only in {here.name}"] = only
    return [Difference(*key, records) for key, records in paths_of.items()]


def _same_roles(a: Chain, b: Chain, first: Record, second: Record) -> list[tuple[Record, Record]]:
    """Pair the records that play the same role under two results, upstream first."""
    partner: dict[str, str] = {}
    waiting = [(first["path"], second["path"])]
    while waiting:
        mine, other = waiting.pop()
        if mine in partner or mine not in a.records or other not in b.records:
            continue
        partner[mine] = other
        for role, entries in a.records[mine]["inputs"].items():
            others = b.records[other]["inputs"].get(role, [])
            waiting += [
                (x["record"]["path"], y["record"]["path"])
                for x, y in zip(entries, others, strict=False)
                if x["record"] and y["record"]
            ]
    return [(r, b.records[partner[p]]) for p, r in a.records.items() if p in partner]


def _hashes(record: Record) -> list[str]:
    return [entry["sha256"] for entry in files_of(record["outputs"])]


def _causes(a: Record, b: Record, same_place: bool) -> Iterator[tuple[str, str]]:
    """Yield what differs between two records by itself, not through what they were made from."""
    sources = [hashes_of(record["inputs"]) for record in (a, b)]
    inputs = [*files_of(a["inputs"]), *files_of(b["inputs"])]
    results = {entry["path"] for entry in inputs if entry["record"]}
    data, code = [], list(_unequal(a["code"], b["code"]))
    missing: dict[str, list[str]] = {"first": [], "second": []}
    for path, x, y in _unequal(*sources):
        if path not in results:
            # A reward file is code, although the workflow lists it by itself.
            (code if path.startswith("src/") else data).append((path, x, y))
        elif same_place and not (x and y):
            missing["first" if x else "second"].append(path)
    for side, paths in missing.items():
        if paths:
            yield "data", f"{len(paths)} results used in the {side} only, as {paths[0]}"
    for cause, changes in (("data", data), ("code", sorted(code))):
        for path, x, y in changes:
            what = "changed" if x and y else "only in the " + ("first" if x else "second")
            yield cause, f"{path} {what}"
    for key, x, y in _unequal(texts(a["parameters"]), texts(b["parameters"])):
        yield "parameters", f"{key}: {x} -> {y}"
    for path, x, y in _unequal(a["environment"], b["environment"]):
        yield "environment", f"{path}: {x and x[:12]} -> {y and y[:12]}"
    for key in ("device", "threads", "determinism"):
        if a[key] != b[key]:
            yield "environment", f"{key}: {a[key]} -> {b[key]}"


def _unequal(a: dict[str, Any], b: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for key in dict.fromkeys([*a, *b]):
        if a.get(key) != b.get(key):
            yield key, a.get(key), b.get(key)


def texts(parameters: Any) -> dict[str, str]:
    """Return nested parameters as dotted keys with their values in JSON, as people write them."""
    return {k: json.dumps(v, ensure_ascii=False) for k, v in flat(parameters).items()}


def held_tables(chain: Chain) -> list[str]:
    """Return the recorded paths of the tables (and the tables behind figures) of a chain."""
    paths = [entry["path"] for _, entry in chain.outputs()]
    return [path for path in paths if held(path) and path.endswith((".csv", ".json"))]


def summary(a: Chain, b: Chain, targets: tuple[Record, Record] | None = None) -> str:
    """Return the differences as text, the first cause first; empty when nothing differs."""
    causes = differences(a, b, targets)
    if not causes:
        return ""
    lines = [f"first difference: {causes[0]}"]
    lines += [f"also: {difference}" for difference in causes[1:]]
    held = set(held_tables(b)) if targets is None else set()
    for path in held_tables(a):
        files = a.where(path), b.where(path)
        if path in held and all(file.exists() for file in files):
            gaps = {name: gap for name, gap in table_gaps(*files).items() if gap}
            if gaps:
                name = max(gaps, key=lambda column: gaps[column])
                lines.append(
                    f"{inside(path)}: {len(gaps)} columns differ, most {name}: {gaps[name]:.3g}"
                )
    return "\n".join(lines)
