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

from paradox.errors import ProvenanceError
from paradox.files import canonical_json, read_json, sha256, text_sha256, write_json
from paradox.provenance.identity import PREFIX
from paradox.provenance.records import Record, files_of, flat, host_file
from paradox.steps import STEPS

FILE = "ro-crate-metadata.json"
WROC = "https://w3id.org/workflowhub/workflow-ro-crate"
PROFILES = [f"https://w3id.org/ro/wfrun/{x}/0.5" for x in ("process", "workflow", "provenance")]
PROFILES += [f"{WROC}/1.0"]
BIOSCHEMAS = {"@id": "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"}
LOCK = {"@id": "https://pip.pypa.io/en/stable/reference/requirements-file-format/"}
SNAKEMAKE = {"name": "Snakemake", "url": {"@id": "https://snakemake.readthedocs.io"}}
# RO-Crate's own terms; sha256; the lock files' role.
CONTEXT = [f"https://w3id.org/ro/{x}/context" for x in ("crate/1.1", "terms/workflow-run")]
CONTEXT += [{"buildInstructions": "https://codemeta.github.io/terms/buildInstructions"}]
WORKFLOW = ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"]
DONE = {"actionStatus": "http://schema.org/CompletedActionStatus"}
ABOUT = "How spurious RLVR rewards unlock memorised benchmark answers: the results of one scale."
WHOLE = "All steps; Snakemake may have been called several times for them."
NO_LICENCE = "The repository holds no licence: no permission to use, change or share it is given."
FORMATS = {".csv": "text/csv", ".html": "text/html", ".json": "application/json"}
FORMATS |= {".md": "text/markdown", ".png": "image/png", ".svg": "image/svg+xml"}
FORMATS |= {".pdf": "application/pdf", ".yml": "application/yaml"}
FORMATS |= {".parquet": "application/vnd.apache.parquet", ".py": "text/x-python"}
FORMATS |= dict.fromkeys((".typ", ".lock", ".smk", ""), "text/plain")
REMEDY = "Run snakemake again, which makes what is out of date."
Entity = dict[str, Any]


class _Graph(dict[str, Entity]):
    """Entities by id; a property that is unknown (None or empty) is left out."""

    root: Path

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
        here, known = self.root / path, self.get(quote(path), {})
        digest = digest or sha256(here)
        if known.get("sha256", digest) != digest:
            raise ProvenanceError(f"{path}: recorded with two contents. {REMEDY}")
        if size is None and not known and here.exists() and sha256(here) == digest:
            size = here.stat().st_size
        more |= {"contentSize": None if size is None else str(size), "sha256": digest}
        kind = FORMATS.get(here.suffix, "application/octet-stream")
        return self.add(quote(path), "File", name=path, encodingFormat=kind, **more)

    def weights(self, manifest: Entity) -> list[Entity]:
        """Add the files that a checkpoint's manifest lists, as its parts."""
        name = manifest["path"]
        path, folder = self.root / name, Path(name).parent
        if not path.exists() or sha256(path) != manifest["sha256"]:
            raise ProvenanceError(f"{name}: missing, or not what its record says. {REMEDY}")
        listed = [(x["folder"], y) for x in read_json(path)["checkpoints"] for y in x["files"]]
        files = [((folder / x / y["path"]).as_posix(), y["sha256"], y["bytes"]) for x, y in listed]
        parts = [self.file(*file) for file in files]
        self.add(quote(name), "File", hasPart=parts)
        return parts


def write_crate(root: Path, scale: str, records: dict[str, Record]) -> Path:
    """Describe a scale's `records` in ``ro-crate-metadata.json`` and return its path.

    Parameters
    ----------
    root, scale
        The repository, and the scale whose results are described.
    records
        Maps a record's path to the record, upstream first.

    Raises
    ------
    ProvenanceError
        When no record says what was made and when, or one file has two recorded contents.
    """
    graph = _Graph()
    graph.root = root
    hosts = [*filter(None, (_add_run(graph, path, record) for path, record in records.items()))]
    if not hosts:
        raise ProvenanceError(f"results/{scale}: no record says what was made here, and when.")
    _add_study(graph, scale, list(records.values()), hosts)
    for entity in graph.values():  # one value stands alone, as RO-Crate 1.1 recommends
        entity |= {k: v[0] for k, v in entity.items() if isinstance(v, list) and len(v) == 1}
    write_json(root / FILE, {"@context": CONTEXT, "@graph": list(graph.values())})
    return root / FILE


def _add_run(graph: _Graph, path: str, record: Record) -> Entity:
    """Add one run of a step with its tool, files and parameters; return its times and commit."""
    step, name, host = record["step"], f"paradox {record['step']}", {}
    facts = read_json(file) if (file := host_file(graph.root / path)).exists() else {}
    if facts.get("derivation") == record["derivation"]:  # otherwise it tells of another run
        end = datetime.fromisoformat(facts["started"]) + timedelta(seconds=facts["seconds"])
        host = {"startTime": facts["started"], "endTime": end.isoformat(timespec="milliseconds")}
    # The same step with other code or packages is another tool.
    version = text_sha256(canonical_json([record["code"], record["environment"]]))[:12]
    tool = f"#{step}-{version}"

    def port(side: str, role: str, kind: str) -> Entity:
        about = {"name": role, "additionalType": kind}
        formal = [graph.add(f"{tool}/{side}/{role}", "FormalParameter", **about)]
        graph.add(tool, "SoftwareApplication", **{side: formal})
        return {"exampleOfWork": formal}

    used, made = (
        [
            graph.file(x["path"], x["sha256"], x.get("bytes"), **port(side, role, "File"))
            for role, listed in sorted(record[f"{side}s"].items())
            for x in listed
        ]
        for side in ("input", "output")
    )
    made += [x for entry in record["outputs"].get("manifest", []) for x in graph.weights(entry)]
    for link in filter(None, (x["record"] for x in files_of(record["inputs"]))):
        graph.file(link["path"], link["sha256"])  # here a record that was edited is noticed
    for key, given in flat(record["parameters"] | {"threads": record["threads"]}).items():
        if given is None:
            continue
        value = canonical_json(given) if isinstance(given, list) else given
        like = port("input", key, "PropertyValue")
        value_id = f"{tool}/{key}/{text_sha256(canonical_json(value))[:12]}"
        used.append(graph.add(value_id, "PropertyValue", name=key, value=value, **like))
    code = [graph.file(*x) for x in sorted(record["code"].items())]
    locks = [graph.file(*x, conformsTo=LOCK) for x in sorted(record["environment"].items())]
    url = {"@id": f"src/{STEPS[step].replace('.', '/')}.py"} if step in STEPS else None
    about = {"name": name, "softwareVersion": version, "url": url, "hasPart": code}
    application = graph.add(tool, "SoftwareApplication", **about)
    about = {"name": step, "workExample": application, "buildInstructions": locks}
    plan = graph.add(f"#step-{tool[1:]}", "HowToStep", **about)
    text = f"On {record['device']}; how far it repeats: {record['determinism']}."
    about = {"name": f"{name}: {path}", "description": text, "subjectOf": graph.file(path)}
    about |= {"identifier": PREFIX + record["derivation"], "instrument": application} | DONE | host
    run = graph.add(f"#run-{quote(path)}", "CreateAction", object=used, result=made, **about)
    about = {"name": f"Orchestration of {step}", "instrument": plan, "object": run}
    graph.add(f"#control-{quote(path)}", "ControlAction", **about)
    return host and facts | host


def _add_study(graph: _Graph, scale: str, records: list[Record], hosts: list[Entity]) -> None:
    """Add the workflow, its engine, its run as a whole, and the crate's own description."""
    root, add, first = graph.root, graph.add, min(host["startTime"] for host in hosts)
    last, commits = max(host["endTime"] for host in hosts), {x["commit"] for x in hosts}
    if len(commits) > 1 or any(host["uncommitted"] for host in hosts):
        commits = {None}  # no commit holds all the code
    runs, tools, steps = map(graph.of, ("CreateAction", "SoftwareApplication", "HowToStep"))
    inputs = [x for record in records for x in files_of(record["inputs"])]
    outputs = [x for record in records for x in files_of(record["outputs"])]
    used = {x["path"] for x in inputs}
    ends = [{"@id": quote(x["path"])} for x in outputs if x["path"] not in used]

    language = add(f"{WROC}#snakemake", "ComputerLanguage", **SNAKEMAKE)
    rules = sorted([*root.glob("workflow/Snakefile"), *root.glob("workflow/rules/*.smk")])
    parts = [graph.file(path.relative_to(root).as_posix()) for path in rules]
    facts = {"programmingLanguage": language, "conformsTo": BIOSCHEMAS, "version": commits.pop()}
    workflow = graph.file("Snakefile", hasPart=tools, step=steps, mentions=parts, **facts)
    graph["Snakefile"]["@type"] = WORKFLOW

    facts = {"name": f"All steps of the scale {scale}", "description": WHOLE, "result": ends} | DONE
    facts |= {"object": [{"@id": quote(x["path"])} for x in inputs if not x["record"]]}
    whole = add("#run", "CreateAction", instrument=workflow, startTime=first, endTime=last, **facts)
    locks = {root / path: digest for x in records for path, digest in x["environment"].items()}
    text = [path.read_text() for path in locks if path.exists() and sha256(path) == locks[path]]
    version = re.search(r"^snakemake==([^\s;]+)", "\n".join(text), re.MULTILINE)
    facts = SNAKEMAKE | {"softwareVersion": version and version[1]}
    facts = {"instrument": add("#snakemake", "SoftwareApplication", **facts), "result": whole}
    facts |= {"name": "Run of Snakemake", "object": graph.of("ControlAction")}
    engine = add("#engine", "OrganizeAction", **facts)

    if (root / "README.md").exists():
        graph.file("README.md", about={"@id": "./"})
    granted = [graph.file(path.name) for path in sorted(root.glob("LICEN[CS]E*"))]
    facts = {"name": "No licence yet", "description": NO_LICENCE}
    licence = granted or [add("#licence", "CreativeWork", **facts)]
    named = {x: {"name": x, "version": x.rpartition("/")[2]} for x in PROFILES}
    facts = {"conformsTo": [add(x, "CreativeWork", **about) for x, about in named.items()]}
    facts |= {"name": f"paradox, scale {scale}", "description": ABOUT, "datePublished": last[:10]}
    facts |= {"hasPart": graph.of("File"), "mentions": [whole, *runs, engine], "license": licence}
    crate = add("./", "Dataset", mainEntity=workflow, **facts)
    conforms = [{"@id": "https://w3id.org/ro/crate/1.1"}, {"@id": PROFILES[-1]}]
    add(FILE, "CreativeWork", about=crate, conformsTo=conforms)
