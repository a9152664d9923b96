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

from rocrate.model import ContextEntity, Entity
from rocrate.rocrate import ROCrate

from paradox.errors import ProvenanceError
from paradox.files import canonical_json, read_json, sha256, text_sha256, write_json
from paradox.provenance.identity import PREFIX
from paradox.provenance.records import Record, files_of, flat, host_file
from paradox.steps import STEPS

PROFILES = [f"https://w3id.org/ro/wfrun/{x}/0.5" for x in ("process", "workflow", "provenance")]
PROFILES += ["https://w3id.org/workflowhub/workflow-ro-crate/1.0"]
BIOSCHEMAS = {"@id": "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"}
LOCK = {"@id": "https://pip.pypa.io/en/stable/reference/requirements-file-format/"}
SNAKEMAKE = {"name": "Snakemake", "url": {"@id": "https://snakemake.readthedocs.io"}}
# Beside RO-Crate's own terms: sha256; the lock files' role.
CONTEXT = "https://w3id.org/ro/terms/workflow-run/context"
TERMS = {"buildInstructions": "https://codemeta.github.io/terms/buildInstructions"}
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


class _Crate(ROCrate):
    """The crate of a repository whose main entity is its Snakefile."""

    def __init__(self, folder: Path) -> None:
        super().__init__(version="1.1")
        self.folder = folder
        self.metadata.extra_contexts.append(CONTEXT)
        self.metadata.extra_terms.update(TERMS)
        facts = {"@type": WORKFLOW, "conformsTo": BIOSCHEMAS}
        self.add_workflow(dest_path="Snakefile", properties=facts, main=True, lang="snakemake")

    def entity(self, name: str, kind: str, /, **properties: Any) -> Entity:
        """Return the entity with this id, added where it is new: an id has one content."""
        if name in self:
            return self.get(name)
        return self.add(ContextEntity(self, name, {"@type": kind} | properties))

    def file(self, path: str, digest: str | None = None, size: Any = None, **more: Any) -> Entity:
        """Add a file by its recorded hash; one that no record names, as it is now."""
        file = self.get(name) if (name := quote(path)) in self else self.add_file(dest_path=path)
        here = self.folder / path
        digest = digest or sha256(here)
        if file.get("sha256", digest) != digest:
            raise ProvenanceError(f"{path}: recorded with two contents. {REMEDY}")
        if size is None and "sha256" not in file and here.exists() and sha256(here) == digest:
            size = here.stat().st_size
        if size is not None:
            more["contentSize"] = str(size)
        kind = FORMATS.get(here.suffix, "application/octet-stream")
        file.properties().update(more, name=path, encodingFormat=kind, sha256=digest)
        return file

    def weights(self, manifest: dict[str, Any]) -> list[Entity]:
        """Add the files that a checkpoint's manifest lists, as its parts."""
        name = manifest["path"]
        path, folder = self.folder / name, Path(name).parent
        if not path.exists() or sha256(path) != manifest["sha256"]:
            raise ProvenanceError(f"{name}: missing, or not what its record says. {REMEDY}")
        listed = [(x["folder"], y) for x in read_json(path)["checkpoints"] for y in x["files"]]
        files = [((folder / x / y["path"]).as_posix(), y["sha256"], y["bytes"]) for x, y in listed]
        parts = [self.file(*file) for file in files]
        self.file(name, manifest["sha256"])["hasPart"] = parts
        return parts

    def save(self) -> Path:
        """Write the metadata file alone. The library's own writer copies every file of the crate.

        A list holds a value once; one value stands alone, as RO-Crate 1.1 recommends.
        """
        graph = self.metadata.generate()
        for entity in graph["@graph"]:
            for key, value in entity.items():
                if isinstance(value, list):
                    distinct = [*{canonical_json(x): x for x in value}.values()]
                    entity[key] = distinct[0] if len(distinct) == 1 else distinct
        path = self.folder / self.metadata.id
        write_json(path, graph)
        return path


def write_crate(root: Path, scale: str, records: dict[str, Record]) -> Path:
    """Describe a scale's `records` in ``ro-crate-metadata.json`` and return its path.

    `records` maps a record's path to the record, upstream first. A `ProvenanceError` tells when
    none says what was made and when, or one file has two recorded contents.
    """
    crate = _Crate(root)
    hosts = [*filter(None, (_add_run(crate, path, record) for path, record in records.items()))]
    if not hosts:
        raise ProvenanceError(f"results/{scale}: no record says what was made here, and when.")
    _add_study(crate, scale, list(records.values()), hosts)
    return crate.save()


def _add_run(crate: _Crate, path: str, record: Record) -> dict[str, Any]:
    """Add one run of a step with its tool, files and parameters; return its times and commit."""
    step, name, host = record["step"], f"paradox {record['step']}", {}
    facts = read_json(file) if (file := host_file(crate.folder / path)).exists() else {}
    if facts.get("derivation") == record["derivation"]:  # otherwise it tells of another run
        end = datetime.fromisoformat(facts["started"]) + timedelta(seconds=facts["seconds"])
        host = {"startTime": facts["started"], "endTime": end.isoformat(timespec="milliseconds")}
    code = [crate.file(*x) for x in sorted(record["code"].items())]
    locks = [crate.file(*x, conformsTo=LOCK) for x in sorted(record["environment"].items())]
    # The same step with other code or packages is another tool.
    version = text_sha256(canonical_json([record["code"], record["environment"]]))[:12]
    about = {"name": name, "softwareVersion": version, "hasPart": code}
    if step in STEPS:
        about["url"] = {"@id": f"src/{STEPS[step].replace('.', '/')}.py"}
    tool = crate.entity(f"#{step}-{version}", "SoftwareApplication", **about)
    about = {"name": step, "workExample": tool, "buildInstructions": locks}
    plan = crate.entity(f"#step-{step}-{version}", "HowToStep", **about)

    def port(entity: Entity, side: str, role: str, kind: str) -> Entity:
        about = {"name": role, "additionalType": kind}
        formal = crate.entity(f"{tool.id}/{side}/{role}", "FormalParameter", **about)
        tool.append_to(side, formal)
        entity.append_to("exampleOfWork", formal)
        return entity

    used, results = (
        [
            port(crate.file(x["path"], x["sha256"], x.get("bytes")), side, role, "File")
            for role, listed in sorted(record[f"{side}s"].items())
            for x in listed
        ]
        for side in ("input", "output")
    )
    results += [x for entry in record["outputs"].get("manifest", []) for x in crate.weights(entry)]
    for link in filter(None, (x["record"] for x in files_of(record["inputs"]))):
        crate.file(link["path"], link["sha256"])  # here a record that was edited is noticed
    for key, setting in flat(record["parameters"] | {"threads": record["threads"]}).items():
        if setting is None:
            continue
        value = canonical_json(setting) if isinstance(setting, list) else setting
        value_id = f"{tool.id}/{key}/{text_sha256(canonical_json(value))[:12]}"
        entity = crate.entity(value_id, "PropertyValue", name=key, value=value)
        used.append(port(entity, "input", key, "PropertyValue"))
    text = f"On {record['device']}; how far it repeats: {record['determinism']}."
    about = {"name": f"{name}: {path}", "description": text, "subjectOf": crate.file(path)}
    about |= {"identifier": PREFIX + record["derivation"]} | DONE | host
    run = crate.add_action(tool, f"#run-{quote(path)}", used, results, about)
    about = {"@type": "ControlAction", "name": f"Orchestration of {step}"}
    crate.add_action(plan, f"#control-{quote(path)}", run, properties=about)
    return host and facts | host


def _add_study(
    crate: _Crate, scale: str, records: list[Record], hosts: list[dict[str, Any]]
) -> None:
    """Add the workflow, its engine, its run as a whole, and the crate's own description."""
    root, workflow = crate.folder, crate.file("Snakefile")
    first, last = min(x["startTime"] for x in hosts), max(x["endTime"] for x in hosts)
    commits = {host["commit"] for host in hosts}
    if len(commits) == 1 and not any(host["uncommitted"] for host in hosts):
        workflow["version"] = commits.pop()  # otherwise no commit holds all the code
    runs, controls = map(crate.get_by_type, ("CreateAction", "ControlAction"))
    workflow["hasPart"] = crate.get_by_type("SoftwareApplication")
    workflow["step"] = crate.get_by_type("HowToStep")
    rules = sorted([*root.glob("workflow/Snakefile"), *root.glob("workflow/rules/*.smk")])
    workflow["mentions"] = [crate.file(path.relative_to(root).as_posix()) for path in rules]

    inputs = [x for record in records for x in files_of(record["inputs"])]
    outputs = [x for record in records for x in files_of(record["outputs"])]
    used = {x["path"] for x in inputs}
    ends = [crate.get(quote(x["path"])) for x in outputs if x["path"] not in used]
    starts = [crate.get(quote(x["path"])) for x in inputs if not x["record"]]
    about = {"name": f"All steps of the scale {scale}", "description": WHOLE} | DONE
    about |= {"startTime": first, "endTime": last}
    whole = crate.add_action(workflow, "#run", starts, ends, about)
    locks = {root / path: digest for x in records for path, digest in x["environment"].items()}
    text = [path.read_text() for path in locks if path.exists() and sha256(path) == locks[path]]
    version = re.search(r"^snakemake==([^\s;]+)", "\n".join(text), re.MULTILINE)
    about = SNAKEMAKE | ({"softwareVersion": version[1]} if version else {})
    snakemake = crate.entity("#snakemake", "SoftwareApplication", **about)
    about = {"@type": "OrganizeAction", "name": "Run of Snakemake"}
    engine = crate.add_action(snakemake, "#engine", controls, whole, about)

    if (root / "README.md").exists():
        crate.file("README.md")["about"] = crate.root_dataset
    granted = [crate.file(path.name) for path in sorted(root.glob("LICEN[CS]E*"))]
    about = {"name": "No licence yet", "description": NO_LICENCE}
    crate.license = granted or crate.entity("#licence", "CreativeWork", **about)
    versions = {x: x.rpartition("/")[2] for x in PROFILES}
    named = [crate.entity(x, "CreativeWork", name=x, version=y) for x, y in versions.items()]
    crate.root_dataset["conformsTo"] = named
    crate.root_dataset["mentions"] = [whole, *runs, engine]
    crate.name, crate.description = f"paradox, scale {scale}", ABOUT
    crate.datePublished = last[:10]
