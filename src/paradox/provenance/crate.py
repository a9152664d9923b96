"""RO-Crate: the records of a scale as linked data (JSON-LD) that other tools read.

The repository itself is the crate: nothing is copied, and a file's id is its path. The profile is
Provenance Run Crate 0.5 on RO-Crate 1.1. What nothing says (author, address) is left out.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from paradox.errors import ProvenanceError, problems
from paradox.files import canonical_json, read_json, sha256, text_sha256, write_json
from paradox.provenance.identity import PREFIX
from paradox.provenance.records import Record, files_of, host_file
from paradox.steps import STEPS

FILE = "ro-crate-metadata.json"
WROC = "https://w3id.org/workflowhub/workflow-ro-crate"
PROFILES = [f"https://w3id.org/ro/wfrun/{x}/0.5" for x in ("process", "workflow", "provenance")]
PROFILES += [f"{WROC}/1.0"]
BIOSCHEMAS = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
REQUIREMENTS = "https://pip.pypa.io/en/stable/reference/requirements-file-format/"
SNAKEMAKE = {"name": "Snakemake", "url": {"@id": "https://snakemake.readthedocs.io"}}
# The second context has sha256, which the first lacks.
CONTEXT = [
    "https://w3id.org/ro/crate/1.1/context",
    "https://w3id.org/ro/terms/workflow-run/context",
]
CONTEXT += [{"buildInstructions": "https://codemeta.github.io/terms/buildInstructions"}]
DONE = {"actionStatus": "http://schema.org/CompletedActionStatus"}
ABOUT = "How spurious RLVR rewards unlock memorised benchmark answers: the results of one scale."
WHOLE = "All steps; Snakemake may have been called several times for them."
NO_LICENCE = "The repository holds no licence: no permission to use, change or share it is given."
FORMATS = {".csv": "text/csv", ".html": "text/html", ".json": "application/json"}
FORMATS |= {".md": "text/markdown", ".png": "image/png", ".svg": "image/svg+xml"}
FORMATS |= {".parquet": "application/vnd.apache.parquet", ".py": "text/x-python"}
FORMATS |= dict.fromkeys((".j2", ".lock", ".smk", ""), "text/plain")
Entity = dict[str, Any]


class _Graph(dict[str, Entity]):
    """Entities by id; a property that is unknown (None or empty) is left out."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root, self.wrong = root, set[str]()

    def add(self, name: str, kind: str, /, **properties: Any) -> Entity:
        """Add an entity, or properties to it (lists grow), and return a reference to it."""
        entity = self.setdefault(name, {"@id": name, "@type": kind})
        for key, value in properties.items():
            if isinstance(value, list) and value:
                value = list({x["@id"]: x for x in entity.get(key, []) + value}.values())
            if value not in (None, []):
                entity[key] = value
        return {"@id": name}

    def of(self, kind: str) -> list[Entity]:
        """Return references to all entities of one type."""
        return [{"@id": name} for name, one in self.items() if kind in one["@type"]]

    def file(self, path: str, digest: str | None = None, size: Any = None, **more: Any) -> Entity:
        """Add a file by its recorded hash; one that no record names, as it is now."""
        here, name = self.root / path, quote(path)
        digest = digest or sha256(here)
        if self.get(name, {}).get("sha256", digest) != digest:
            self.wrong.add(f"{path}: recorded with two contents, or changed since.")
        if size is None and here.exists():
            size = here.stat().st_size
        kind = FORMATS.get(here.suffix, "application/octet-stream")
        facts = {"name": path, "sha256": digest, "encodingFormat": kind}
        return self.add(
            name, "File", contentSize=size if size is None else str(size), **facts, **more
        )

    def weights(self, manifest: Entity) -> list[Entity]:
        """Add the files that a checkpoint's manifest lists, as its parts."""
        path, parts = self.root / manifest["path"], list[Entity]()
        if not path.exists() or sha256(path) != manifest["sha256"]:
            self.wrong.add(f"{manifest['path']}: missing, or not what its record says.")
            return []
        for step in read_json(path)["checkpoints"]:
            folder = (Path(manifest["path"]).parent / step["folder"]).as_posix()
            files = [(f"{folder}/{x['path']}", x["sha256"], x["bytes"]) for x in step["files"]]
            parts += [self.file(*file) for file in files]
        self.add(quote(manifest["path"]), "File", hasPart=parts)
        return parts


def write_crate(root: Path, scale: str, records: dict[str, Record]) -> Path:
    """Write ``ro-crate-metadata.json`` in the repository `root` and return its path.

    Parameters
    ----------
    root
        The repository.
    scale
        The scale whose results the crate describes.
    records
        Maps a record's path to the record, upstream first. Equal records with equal host files
        give equal bytes.

    Raises
    ------
    ProvenanceError
        When there is no record, none says when it was made, two records name different contents
        of a file, or a checkpoint's manifest is not what its record says.
    """
    graph, hosts = _Graph(root), list[Entity]()
    for path, record in records.items():
        file = host_file(root / path)
        host = read_json(file) if file.exists() else {}
        if host.get("derivation") != record["derivation"]:  # nothing is known of this run
            host = {}
        else:
            end = datetime.fromisoformat(host["started"]) + timedelta(seconds=host["seconds"])
            host["ended"] = end.isoformat(timespec="milliseconds")
            hosts.append(host)
        _add_run(graph, path, record, host)
    if not hosts:
        raise ProvenanceError(f"results/{scale}: no record says what was made here, and when.")
    if graph.wrong:
        title = "A crate holds one content for each file. Run snakemake again, for:"
        raise ProvenanceError(problems(title, sorted(graph.wrong)))
    _add_study(graph, scale, list(records.values()), hosts)
    for entity in graph.values():  # one value stands alone, as RO-Crate 1.1 recommends
        lists = {k: v[0] for k, v in entity.items() if isinstance(v, list) and len(v) == 1}
        entity |= lists
    write_json(root / FILE, {"@context": CONTEXT, "@graph": list(graph.values())})
    return root / FILE


def _add_run(graph: _Graph, path: str, record: Record, host: Entity) -> None:
    """Add one run of a step with its tool, files and parameters."""
    step, mark = record["step"], f"{PREFIX}{record['derivation']}"
    # The same step with other code or packages is another tool.
    version = text_sha256(canonical_json([record["code"], record["environment"]]))[:12]
    tool, name = f"#{step}-{version}", f"paradox {step}"

    def port(side: str, role: str, kind: str) -> Entity:
        facts = {"name": role, "additionalType": kind}
        formal = graph.add(f"{tool}/{side}/{role}", "FormalParameter", **facts)
        graph.add(tool, "SoftwareApplication", **{side: [formal]})
        return {"exampleOfWork": [formal]}

    used, made = (
        [
            graph.file(x["path"], x["sha256"], x.get("bytes"), **port(side, role, "File"))
            for role, listed in sorted(record[f"{side}s"].items())
            for x in listed
        ]
        for side in ("input", "output")
    )
    for x in record["outputs"].get("manifest", []):
        made += graph.weights(x)
    for x in files_of(record["inputs"]):
        if x["record"]:  # in the crate already: here a record that was edited is noticed
            graph.file(x["record"]["path"], x["record"]["sha256"])
    for key, value in _flat("", record["parameters"] | {"threads": record["threads"]}):
        facts = {"name": key, "value": value} | port("input", key, "PropertyValue")
        digest = text_sha256(canonical_json(value))[:12]
        used.append(graph.add(f"{tool}/{key}/{digest}", "PropertyValue", **facts))
    code = [graph.file(*x) for x in sorted(record["code"].items())]
    lock = {"conformsTo": {"@id": REQUIREMENTS}}
    locks = [graph.file(*x, **lock) for x in sorted(record["environment"].items())]
    url = {"@id": f"src/{STEPS[step].replace('.', '/')}.py"} if step in STEPS else None
    facts = {"name": name, "softwareVersion": version, "url": url, "hasPart": code}
    application = graph.add(tool, "SoftwareApplication", **facts)
    facts = {"name": step, "workExample": application, "buildInstructions": locks}
    plan = graph.add(f"#step-{tool[1:]}", "HowToStep", **facts)
    text = f"{step} on {record['device']}; repeats: {record['determinism']}."
    facts = {"name": f"{name}: {path}", "description": text, "identifier": mark} | DONE
    facts |= {"instrument": application, "object": used, "result": made}
    facts |= {"startTime": host.get("started"), "endTime": host.get("ended")}
    run = graph.add(f"#run-{quote(path)}", "CreateAction", subjectOf=graph.file(path), **facts)
    facts = {"name": f"Orchestration of {step}", "instrument": plan, "object": run}
    graph.add(f"#control-{quote(path)}", "ControlAction", **facts)


def _flat(prefix: str, value: Any) -> list[tuple[str, Any]]:
    """Return dotted keys with plain values; None is left out."""
    if isinstance(value, dict):
        return [x for k, v in sorted(value.items()) for x in _flat(f"{prefix}.{k}".strip("."), v)]
    text = canonical_json(value) if isinstance(value, list) else value
    return [] if value is None else [(prefix, text)]


def _add_study(graph: _Graph, scale: str, records: list[Record], hosts: list[Entity]) -> None:
    """Add the workflow, its engine, its run as a whole, and the crate's own description."""
    root, add = graph.root, graph.add
    times = {
        "startTime": min(x["started"] for x in hosts),
        "endTime": max(x["ended"] for x in hosts),
    }
    commits = {x["commit"] for x in hosts}
    commit = (
        commits.pop() if len(commits) == 1 and not any(x["uncommitted"] for x in hosts) else None
    )
    runs, tools, steps = map(graph.of, ("CreateAction", "SoftwareApplication", "HowToStep"))
    inputs = [x for record in records for x in files_of(record["inputs"])]
    used = {x["path"] for x in inputs}
    made = [x for record in records for x in files_of(record["outputs"]) if x["path"] not in used]

    language = add(f"{WROC}#snakemake", "ComputerLanguage", **SNAKEMAKE)
    rules = [*root.glob("workflow/Snakefile"), *root.glob("workflow/rules/*.smk")]
    parts = [graph.file(path.relative_to(root).as_posix()) for path in sorted(rules)]
    facts = {"version": commit, "hasPart": tools, "step": steps, "mentions": parts}
    facts |= {"programmingLanguage": language, "conformsTo": {"@id": BIOSCHEMAS}}
    workflow = graph.file("Snakefile", **facts)
    kinds = ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"]
    graph["Snakefile"]["@type"] = kinds

    facts = {"name": f"All steps of the scale {scale}", "description": WHOLE} | DONE | times
    facts |= {"object": [{"@id": quote(x["path"])} for x in inputs if not x["record"]]}
    facts |= {"result": [{"@id": quote(x["path"])} for x in made], "instrument": workflow}
    whole = add("#run", "CreateAction", **facts)
    lock = "".join((root / x).read_text() for r in records for x in r["environment"])
    version = re.search(r"^snakemake==([^\s;]+)", lock, re.MULTILINE)
    facts = SNAKEMAKE | {"softwareVersion": version and version[1]}
    engine = add("#snakemake", "SoftwareApplication", **facts)
    facts = {"name": "The workflow engine's part", "instrument": engine, "result": whole}
    engine_run = add("#engine", "OrganizeAction", object=graph.of("ControlAction"), **facts)

    granted = sorted(path.name for path in root.glob("LICEN[CS]E*"))
    facts = {"name": "No licence yet", "description": NO_LICENCE}
    licence = graph.file(granted[0]) if granted else add("#licence", "CreativeWork", **facts)
    if (root / "README.md").exists():
        graph.file("README.md", about={"@id": "./"})
    names = [(x, {"name": x, "version": x.rsplit("/")[-1]}) for x in PROFILES]
    facts = {"name": f"paradox, scale {scale}", "description": ABOUT, "license": licence}
    facts |= {"datePublished": times["endTime"][:10], "mainEntity": workflow}
    facts |= {"conformsTo": [add(x, "CreativeWork", **about) for x, about in names]}
    facts |= {"hasPart": graph.of("File"), "mentions": [whole, *runs, engine_run]}
    conforms = [{"@id": "https://w3id.org/ro/crate/1.1"}, {"@id": PROFILES[-1]}]
    about = add("./", "Dataset", **facts)
    add(FILE, "CreativeWork", about=about, conformsTo=conforms)
