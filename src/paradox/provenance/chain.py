"""The chain of a scale's records: load it, find a file in it, check every link.

``results/<scale>`` holds a whole chain. ``reference/<scale>`` mirrors it with all records but
only the tables and figures; paths in records always say ``results/<scale>``.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from paradox.errors import CheckpointError, ProvenanceError
from paradox.files import read_json, sha256
from paradox.provenance.identity import SUFFIXES, embedded
from paradox.provenance.manifest import read_manifest
from paradox.provenance.records import HOST_SUFFIX, SUFFIX, Record, files_of, hashes_of, read_record

# The paper carries its id in the keywords.
MARKED = {*SUFFIXES, ".pdf"}
# What a recorded reference keeps beside the records.
HELD = ("tables", "figures")
# Not results: curves for TensorBoard (their names hold times) and bookkeeping of other tools.
UNRECORDED = ("tensorboard", ".work", ".snakemake_timestamp")


@dataclass
class Chain:
    """The records of one scale."""

    folder: Path  # ``results/<scale>`` or ``reference/<scale>`` of some repository
    # A record's path below the repository -> the record, producers before consumers
    records: dict[str, Record] = field(default_factory=dict)
    # A record's path -> the SHA-256 of its file
    digests: dict[str, str] = field(default_factory=dict)
    # Records that cannot be read or do not belong where they lie: messages
    broken: list[str] = field(default_factory=list)

    @classmethod
    def load(cls, folder: Path) -> Chain:
        """Read all records below `folder`."""
        chain, records = cls(folder), {}
        for file in sorted(folder.rglob(f"*{SUFFIX}")):
            path = chain.recorded(file)
            chain.digests[path] = sha256(file)
            try:
                record = read_record(file)
            except ProvenanceError as error:
                chain.broken.append(str(error))
                continue
            if record["path"] != path:
                chain.broken.append(f"{file}: moved: this is the record {record['path']}.")
            records[path] = record
        chain.records = _upstream_first(records)
        if not chain.records and not chain.broken:
            raise ProvenanceError(f"{folder}: no records; run the workflow first.")
        return chain

    @property
    def name(self) -> str:
        """The chain's folder as people say it."""
        return f"{self.folder.parent.name}/{self.folder.name}"

    @property
    def whole(self) -> bool:
        """Whether this is a run with all its files, not a recorded reference."""
        return self.folder.parent.name == "results"

    @cached_property
    def reference(self) -> Chain | None:
        """The recorded reference of the same scale, if there is one."""
        folder = self.folder.parents[1] / "reference" / self.folder.name
        return Chain.load(folder) if has_records(folder) else None

    def recorded(self, file: Path) -> str:
        """Return a file of this chain as records name it."""
        inside = file.resolve().relative_to(self.folder.resolve())
        return f"results/{self.folder.name}/{inside.as_posix()}"

    def where(self, path: str) -> Path:
        """Return the file of a recorded path."""
        prefix = f"results/{self.folder.name}/"
        if path.startswith(prefix):
            return self.folder / path.removeprefix(prefix)
        return self.folder.parents[1] / path

    def holds(self, path: str) -> bool:
        """Whether this chain must have the file itself, not only its hash."""
        return self.whole or held(path)

    def outputs(self) -> list[tuple[Record, dict[str, Any]]]:
        """Return the entries of all outputs, each after its record."""
        return [(r, entry) for r in self.records.values() for entry in files_of(r["outputs"])]

    def maker(self, path: str) -> Record | None:
        """Return the record that has `path` among its outputs; weights belong to a manifest."""
        for record, entry in self.outputs():
            folder = entry["path"].removesuffix("manifest.json")
            if path == entry["path"] or (folder != entry["path"] and path.startswith(folder)):
                return record
        return self.records.get(path)

    def upstream(self, record: Record) -> list[Record]:
        """Return a record after all records it was made from, producers first."""
        wanted, waiting = set(), [record["path"]]
        while waiting:
            path = waiting.pop()
            if path in self.records and path not in wanted:
                wanted.add(path)
                waiting += producers(self.records[path])
        return [record for path, record in self.records.items() if path in wanted]


def inside(path: str) -> str:
    """Return a result's recorded path below its scale's folder."""
    return path.split("/", 2)[2]


def held(path: str) -> bool:
    """Whether a recorded reference keeps the file of a recorded path: a table or a figure."""
    parts = inside(path).split("/")
    return (parts[2:] if parts[0] == "grids" else parts)[0] in HELD


def producers(record: Record) -> list[str]:
    """Return the paths of the records that made a record's inputs."""
    return [entry["record"]["path"] for entry in files_of(record["inputs"]) if entry["record"]]


def _upstream_first(records: dict[str, Record]) -> dict[str, Record]:
    order = TopologicalSorter({path: producers(record) for path, record in records.items()})
    try:
        return {path: records[path] for path in order.static_order() if path in records}
    except CycleError as error:
        raise ProvenanceError(f"records made from each other: {', '.join(error.args[1])}") from None


def chains(root: Path, *kinds: str) -> list[Chain]:
    """Return the chains of a repository below the folders `kinds` (results, reference)."""
    folders = [folder for kind in kinds for folder in sorted((root / kind).glob("*"))]
    return [Chain.load(folder) for folder in folders if has_records(folder)]


def has_records(folder: Path) -> bool:
    """Whether there is any record below a folder."""
    return next(folder.rglob(f"*{SUFFIX}"), None) is not None


def chain_of(path: Path) -> Chain | None:
    """Return the chain whose folder `path` is or lies in."""
    for folder in (path.resolve(), *path.resolve().parents):
        if folder.parent.name in ("results", "reference"):
            here = Path.cwd()
            return Chain.load(folder.relative_to(here) if folder.is_relative_to(here) else folder)
    return None


def locate(target: str, root: Path) -> tuple[Chain, Record, str]:
    """Find a file, a copy of one, or a derivation id in the chains of the repository `root`.

    Return the chain, the record of what made it, and the path as records name it (for a copy, of
    the original). What nothing here made is a `ProvenanceError`.
    """
    file = Path(target)
    chain = chain_of(file) if file.exists() else None
    if chain and not file.is_dir():
        path = chain.recorded(file)
        record = chain.maker(path)
        if record:
            return chain, record, path
    known = chains(root, "results", "reference")
    content = file.read_bytes() if file.is_file() else b""
    mark = embedded(content) if file.suffix in MARKED else None
    digest = sha256(file) if content else None
    short = target.lower() if len(target) >= 6 and not file.exists() else None
    for chain in known:
        for record, entry in chain.outputs():
            same_kind = Path(entry["path"]).suffix == file.suffix
            marked = mark == record["derivation"] and same_kind
            asked = short and record["derivation"].startswith(short)
            if marked or asked or digest == entry["sha256"] or target == entry["path"]:
                return chain, record, entry["path"]
    names = [entry["path"] for chain in known for _, entry in chain.outputs()]
    if file.exists():
        raise ProvenanceError(
            f"{target}: nothing here made it: neither its derivation id nor its content is in a "
            f"record of {', '.join(chain.name for chain in known) or 'results/ or reference/'}."
        )
    near = "Run the workflow first."
    if names:
        close = difflib.get_close_matches(target, names, n=1, cutoff=0.5)
        folders = ", ".join(chain.name for chain in known)
        near = f"Did you mean {close[0]!r}?" if close else f"Results lie below {folders}."
    raise ProvenanceError(f"{target}: no such file, and no record has this derivation id. {near}")


def verify(chain: Chain, target: Record | None = None) -> list[str]:
    """Hash every file again and check every link; return what is broken, upstream first.

    With a `target`, only what that record was made from is checked; else the whole chain, in which
    every file must have a record.
    """
    records = chain.upstream(target) if target else list(chain.records.values())
    wrong = _changed_sources(chain, records) if chain.whole else []
    wrong += chain.broken
    for record in records:
        wrong += _link_problems(chain, record) + _output_problems(chain, record)
    if chain.whole:
        wrong += _unlike(records, chain.reference) if chain.reference else []
        wrong += [] if target else _strangers(chain)
    return wrong


def _changed_sources(chain: Chain, records: list[Record]) -> list[str]:
    """Return the code, locks and other inputs of the tree that are not what records say."""
    uses: dict[tuple[str, str], list[str]] = {}
    for record in records:
        made_from = record["code"] | record["environment"]
        made_from |= {
            entry["path"]: entry["sha256"]
            for entry in files_of(record["inputs"])
            if not entry["record"]
        }
        for path, digest in made_from.items():
            uses.setdefault((path, digest), []).append(record["path"])
    files = {path: chain.where(path) for path, _ in uses}
    digests = {path: sha256(file) if file.exists() else None for path, file in files.items()}
    wrong = []
    for (path, digest), users in uses.items():
        if digests[path] != digest:
            what = "changed" if digests[path] else "deleted"
            more = f" and {len(users) - 1} more" if len(users) > 1 else ""
            wrong.append(f"{path}: {what} since it was used for {users[0]}{more}.")
    return wrong


def _link_problems(chain: Chain, record: Record) -> list[str]:
    """Check that inputs are what their producers' records say, and those records unchanged."""
    wrong, arm = [], record["parameters"].get("arm")
    if arm and "{base}/{method}/{reward}/s{seed}/".format(**arm) not in record["path"]:
        wrong.append(f"{record['path']}: lies in another arm's folder than its parameters say.")
    for entry in files_of(record["inputs"]):
        if not entry["record"]:
            continue
        path = entry["record"]["path"]
        if path not in chain.digests:
            wrong.append(f"{path}: missing, but {record['path']} was made from it.")
        elif chain.digests[path] != entry["record"]["sha256"]:
            wrong.append(f"{path}: changed since {record['path']} was made from it.")
        elif path != entry["path"] and path in chain.records:
            outputs = hashes_of(chain.records[path]["outputs"])
            if outputs.get(entry["path"]) != entry["sha256"]:
                wrong.append(f"{entry['path']}: {record['path']} used other bytes than {path} says")
    return list(dict.fromkeys(wrong))


def _output_problems(chain: Chain, record: Record) -> list[str]:
    wrong = []
    for entry in files_of(record["outputs"]):
        path, file = entry["path"], chain.where(entry["path"])
        if not chain.holds(path):
            continue
        if not file.exists():
            wrong.append(f"{path}: missing, but {record['path']} says it was made.")
            continue
        if file.stat().st_size != entry["bytes"] or sha256(file) != entry["sha256"]:
            wrong.append(f"{path}: changed since it was made ({record['path']}).")
            continue
        if file.suffix in MARKED and embedded(file.read_bytes()) != record["derivation"]:
            wrong.append(f"{record['path']}: {path} carries another derivation id than this.")
        if file.name == "manifest.json":
            try:
                read_manifest(file)
            except CheckpointError as error:
                wrong.append(str(error))
    return wrong


def _unlike(records: list[Record], reference: Chain) -> list[str]:
    """Return outputs that differ from the reference's although they were made from the same."""
    wrong = []
    for record in records:
        if record["determinism"] == "bitwise" and same_origin(record, reference):
            recorded = hashes_of(reference.records[record["path"]]["outputs"])
            wrong += [
                f"{path}: not what {reference.name} holds for the same derivation."
                for path, digest in hashes_of(record["outputs"]).items()
                if recorded.get(path) != digest
            ]
    return wrong


def same_origin(record: Record, reference: Chain) -> bool:
    """Whether the reference has a record that was made from the same, on the same device class."""
    other = reference.records.get(record["path"])
    return other is not None and other["derivation"] == record["derivation"]


def beside_reference(chain: Chain, target: Record | None = None) -> str:
    """Return how many records were made from the same as the recorded reference's."""
    reference = chain.reference if chain.whole else None
    if reference is None:
        return ""
    records = chain.upstream(target) if target else list(chain.records.values())
    same = sum(same_origin(record, reference) for record in records)
    if same == len(records):
        return f"compared with {reference.name}: all {same} records"
    return (
        f"compared with {reference.name}: {same} of {len(records)} records; the others were made "
        "with other code, parameters or environment, or on another device class (paradox diff)"
    )


def _strangers(chain: Chain) -> list[str]:
    """Return files that no record names."""
    known = {entry["path"] for _, entry in chain.outputs()}
    manifests = [chain.where(path) for path in known if path.endswith("/manifest.json")]
    for manifest in manifests:
        for entry in read_json(manifest)["checkpoints"] if manifest.exists() else []:
            step = manifest.parent / entry["folder"]
            known |= {chain.recorded(step / file["path"]) for file in entry["files"]}
    return [
        f"{path}: no record says what made it."
        for file in sorted(chain.folder.rglob("*"))
        if file.is_file()
        and not file.name.endswith((SUFFIX, HOST_SUFFIX))
        and not set(file.relative_to(chain.folder).parts) & set(UNRECORDED)
        and (path := chain.recorded(file)) not in known
    ]
