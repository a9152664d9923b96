"""The RO-Crate of a small chain of records, read by the validator and by the rocrate library.

No network: the validator gets the two JSON-LD contexts from its own cache, filled here with the
terms that the crate uses. So "the contexts can be fetched" is the one thing that is not tested.
"""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import requests_cache
import urllib3
from rocrate.rocrate import ROCrate
from rocrate.vocabs import RO_CRATE
from rocrate_validator import services

from paradox.errors import ProvenanceError
from paradox.files import read_json, sha256, write_json, write_text
from paradox.provenance import records
from paradox.provenance.crate import write_crate
from paradox.provenance.identity import PREFIX
from paradox.provenance.manifest import write_manifest
from paradox.provenance.records import check_inputs, draft, host_file, read_record, write_record

CONTEXT = [f"https://w3id.org/ro/{x}/context" for x in ("crate/1.1", "terms/workflow-run")]
# Terms that RO-Crate 1.1 takes from schema.org under their own names.
SCHEMA = """ComputerLanguage ControlAction CreateAction CreativeWork Dataset HowTo HowToStep
OrganizeAction PropertyValue SoftwareApplication SoftwareSourceCode about actionStatus
additionalType contentSize datePublished description encodingFormat endTime exampleOfWork hasPart
identifier instrument license mainEntity mentions name object position programmingLanguage result
softwareVersion startTime step subjectOf url value version workExample""".split()
BIOSCHEMAS = "https://bioschemas.org"
TERMS = {
    CONTEXT[0]: {term: f"http://schema.org/{term}" for term in SCHEMA}
    | {
        "ComputationalWorkflow": f"{BIOSCHEMAS}/ComputationalWorkflow",
        "File": "http://schema.org/MediaObject",
        "FormalParameter": f"{BIOSCHEMAS}/FormalParameter",
        "conformsTo": "http://purl.org/dc/terms/conformsTo",
        "input": f"{BIOSCHEMAS}/ComputationalWorkflow#input",
        "output": f"{BIOSCHEMAS}/ComputationalWorkflow#output",
    },
    CONTEXT[1]: {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"},
}

# What the validator recommends and nothing here says; a founder who adds it shortens this list.
UNSAID = {
    "Action agent": "who ran the steps",
    "Application url": "a public address of the repository",
    "Root Data Entity: `author` property": "the author",
    "Root Data Entity: `publisher` property": "the publisher",
    "SoftwareApplication id": "a public address of the repository",
}
DATA, BASE, TABLES = (
    f"results/smoke/{name}.record.json" for name in ("data/data", "runs/train", "tables/tables")
)


def run_step(step: str, record: str, inputs: Any, outputs: Any, spec: Any, minute: int) -> None:
    """Write the record of a step as the runner does, at a fixed time."""
    code, lock = [Path("src/paradox/a.py"), Path(f"src/paradox/{step}.py")], Path("envs/cpu.lock")
    write_text(code[1], f"# {step}\n")
    producers = sorted(Path("results").rglob("*.record.json"))
    made = draft(step, spec, 1, Path(record), check_inputs(inputs, producers), code, [lock])
    write_record(made, outputs, [lock], f"2026-03-01T23:{minute:02}:00+00:00", 90.5)
    host = host_file(Path(record))
    write_json(host, read_json(host) | {"commit": "c0ffee", "uncommitted": []})


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository where data made a checkpoint, and the checkpoint a table."""
    root = tmp_path / "study"  # the validator cannot read a folder with a space in its name
    root.mkdir()
    monkeypatch.chdir(root)
    monkeypatch.setattr(records, "device_class", lambda step: "cpu of the test")
    for name, text in {
        "README.md": "# paradox\n",
        "Snakefile": "rule all:\n",
        "envs/cpu.lock": "numpy==2.0\nsnakemake==9.27.1 \\\n",
        "src/paradox/a.py": "",
        "src/paradox/rewards/format.py": "def score(): ...\n",
        "workflow/rules/data.smk": "rule data:\n",
        "results/smoke/data/items 1.csv": "item\n1\n",
        "results/smoke/checkpoints/step-0/model.safetensors": "weights",
        "results/smoke/tables/did.csv": "did\n0.5\n",
    }.items():
        write_text(root / name, text)
    items, did = Path("results/smoke/data/items 1.csv"), Path("results/smoke/tables/did.csv")
    manifest = Path("results/smoke/checkpoints/manifest.json")
    write_manifest(manifest, {0: manifest.parent / "step-0"}, {})
    run_step("data", DATA, {}, {"items": items}, {"seed": 0, "task": {"sizes": [1, 2]}}, 1)
    reward = Path("src/paradox/rewards/format.py")
    inputs = {"items": items, "reward": reward}
    run_step("base", BASE, inputs, {"manifest": manifest}, {"rate": 0.5, "limit": None}, 3)
    run_step("tables", TABLES, {"base": manifest}, {"did": did}, {"seed": 0}, 5)
    return root


def crate(root: Path) -> dict[str, dict[str, Any]]:
    """Write the crate and return its entities by id."""
    path = write_crate(
        root, "smoke", {name: read_record(root / name) for name in (DATA, BASE, TABLES)}
    )
    assert path == root / "ro-crate-metadata.json"
    return {entity["@id"]: entity for entity in read_json(path)["@graph"]}


def ids(value: Any) -> list[str]:
    """Return the ids that a property refers to."""
    return [part["@id"] for part in (value if isinstance(value, list) else [value])]


class Contexts(requests.adapters.HTTPAdapter):
    """Answers with a context instead of asking the network."""

    def send(self, request: Any, *_: Any, **__: Any) -> requests.Response:
        body = io.BytesIO(json.dumps({"@context": TERMS[request.url]}).encode())
        head = {"Content-Type": "application/ld+json"}
        raw = urllib3.HTTPResponse(body, head, 200, preload_content=False, request_url=request.url)
        return self.build_response(request, raw)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The validator's cache, holding the contexts."""
    path = tmp_path_factory.mktemp("cache") / "http"
    with requests_cache.CachedSession(str(path), backend="sqlite", expire_after=-1) as session:
        session.mount("https://", Contexts())
        for address in TERMS:
            session.get(address)
    return path


@pytest.fixture
def validate(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], list[Any]]:
    """The validator, for all five profiles at once; no check may be skipped."""

    def offline(*_: Any) -> None:
        raise OSError("the test asked the network")

    monkeypatch.setattr(socket.socket, "connect", offline)

    def issues(root: Path) -> list[Any]:
        settings = {"rocrate_uri": str(root), "profile_identifier": "provenance-run-crate-0.5"}
        settings |= {"requirement_severity": "RECOMMENDED", "abort_on_first": False}
        result = services.validate(settings | {"offline": True, "cache_path": cache})
        profiles = {check.identifier.rpartition("_")[0] for check in result.executed_checks}
        assert profiles == {
            "ro-crate-1.1",
            *("process-run-crate-0.5", "workflow-run-crate-0.5", "provenance-run-crate-0.5"),
            "workflow-ro-crate-1.0",
        }
        assert result.skipped_checks == set()
        return result.get_issues()

    return issues


def test_the_terms_are_what_the_rocrate_library_knows() -> None:
    known = RO_CRATE["@context"]
    assert {term: known.get(term) for term in SCHEMA} == {
        term: f"http://schema.org/{term}" for term in SCHEMA
    }
    for term in ("File", "conformsTo"):
        assert known[term] == TERMS[CONTEXT[0]][term]


def test_the_validator_misses_only_what_nobody_has_said(
    chain: Path, validate: Callable[[Path], list[Any]]
) -> None:
    entities = crate(chain)
    found = validate(chain)
    assert [issue.message for issue in found if issue.severity.name == "REQUIRED"] == []
    assert {issue.check.name for issue in found} == set(UNSAID)
    addresses = [x.violatingEntity for x in found if x.check.name == "Application url"]
    assert addresses == ["./Snakefile"]
    assert entities["#licence"]["description"].startswith("The repository holds no licence")


def test_the_validator_sees_what_is_wrong(
    chain: Path, validate: Callable[[Path], list[Any]]
) -> None:
    entities = crate(chain)
    (chain / "results/smoke/tables/did.csv").unlink()
    del entities["Snakefile"]["programmingLanguage"]
    entities["#engine"]["colour"] = "red"
    path = chain / "ro-crate-metadata.json"
    write_json(path, read_json(path) | {"@graph": list(entities.values())})
    found = " ".join(x.message for x in validate(chain) if x.severity.name == "REQUIRED")
    assert "does not include the Data Entity 'results/smoke/tables/did.csv'" in found
    assert "must refer to its language" in found
    assert "colour" in found


def test_the_rocrate_library_finds_every_file_with_its_hash(chain: Path) -> None:
    crate(chain)
    read = ROCrate(chain)
    files = {x.id: x for x in read.data_entities if "File" in x.type}
    here = {path.relative_to(chain).as_posix() for path in chain.rglob("*") if path.is_file()}
    hosts = {name for name in here if name.endswith(".host.json")}
    assert {x["name"] for x in files.values()} == here - hosts - {"ro-crate-metadata.json"}
    for entity in files.values():
        path = chain / entity["name"]
        assert entity["sha256"] == sha256(path)
        assert entity["contentSize"] == str(path.stat().st_size)
    assert files["src/paradox/a.py"]["contentSize"] == "0"
    assert files["results/smoke/data/items%201.csv"]["encodingFormat"] == "text/csv"
    assert read.mainEntity.id == "Snakefile"
    assert read.root_dataset["datePublished"].startswith("2026-03-01")


def test_a_table_leads_back_to_the_data(chain: Path) -> None:
    entities = crate(chain)
    runs = {x["name"].split(":")[0]: x for x in entities.values() if x["@type"] == "CreateAction"}
    table, base, data = (runs[f"paradox {step}"] for step in ("tables", "base", "data"))
    manifest = "results/smoke/checkpoints/manifest.json"
    weights = "results/smoke/checkpoints/step-0/model.safetensors"
    assert ids(table["result"]) == ["results/smoke/tables/did.csv"]
    assert ids(table["object"])[0] == manifest
    assert ids(base["result"]) == [manifest, weights]
    assert ids(entities[manifest]["hasPart"]) == [weights]
    assert ids(base["object"])[:2] == [*ids(data["result"]), "src/paradox/rewards/format.py"]
    assert (base["startTime"], base["endTime"]) == (
        "2026-03-01T23:03:00+00:00",
        "2026-03-01T23:04:30.500+00:00",
    )
    assert base["identifier"] == PREFIX + read_record(chain / BASE)["derivation"]
    assert ids(base["subjectOf"]) == [BASE]
    steps = [x for x in entities.values() if x["@type"] == "HowToStep"]
    assert [ids(x["buildInstructions"]) for x in steps] == [["envs/cpu.lock"]] * 3

    tool = entities[base["instrument"]["@id"]]
    assert ids(tool["hasPart"]) == ["src/paradox/a.py", "src/paradox/base.py"]
    values = [entities[x] for x in ids(base["object"]) if x.startswith("#")]
    assert {x["name"]: x["value"] for x in values} == {"rate": 0.5, "threads": 1}
    ports = [entities[x]["name"] for x in ids(tool["input"])]
    assert ports == ["items", "reward", "rate", "threads"]
    assert entities["results/smoke/data/items%201.csv"]["exampleOfWork"] == [
        {"@id": f"{data['instrument']['@id']}/output/items"},
        {"@id": f"{tool['@id']}/input/items"},
    ]
    whole = entities["#run"]
    assert ids(whole["object"]) == ["src/paradox/rewards/format.py"]
    assert ids(whole["result"]) == ["results/smoke/tables/did.csv"]
    assert entities["Snakefile"]["version"] == "c0ffee"
    assert entities["#snakemake"]["softwareVersion"] == "9.27.1"


def test_equal_records_give_equal_bytes(chain: Path) -> None:
    crate(chain)
    first = (chain / "ro-crate-metadata.json").read_bytes()
    crate(chain)
    assert (chain / "ro-crate-metadata.json").read_bytes() == first


def test_what_is_not_known_is_left_out(chain: Path) -> None:
    host = host_file(chain / TABLES)
    write_json(host, read_json(host) | {"derivation": "of another run"})
    other = host_file(chain / DATA)
    write_json(other, read_json(other) | {"uncommitted": ["src/paradox/a.py"]})
    (chain / "envs/cpu.lock").write_text("snakemake==1.0\n")
    entities = crate(chain)
    run = entities[f"#run-{TABLES}"]
    assert "startTime" not in run and "endTime" not in run
    assert entities["#run"]["endTime"] == "2026-03-01T23:04:30.500+00:00"
    assert "version" not in entities["Snakefile"]
    assert "softwareVersion" not in entities["#snakemake"]
    assert "contentSize" not in entities["envs/cpu.lock"]
    assert entities["envs/cpu.lock"]["sha256"] == next(
        iter(read_record(chain / BASE)["environment"].values())
    )


def test_a_licence_file_is_the_licence(chain: Path) -> None:
    write_text(chain / "LICENSE", "Do as you like.\n")
    entities = crate(chain)
    assert ids(entities["./"]["license"]) == ["LICENSE"]
    assert "#licence" not in entities


def test_no_records(tmp_path: Path) -> None:
    with pytest.raises(ProvenanceError, match="results/smoke: no record"):
        write_crate(tmp_path, "smoke", {})


def test_a_file_with_two_contents(chain: Path) -> None:
    write_text(chain / "src/paradox/a.py", "# edited\n")
    spec = {"seed": 1}
    run_step("tables", TABLES, {}, {"did": Path("results/smoke/tables/did.csv")}, spec, 7)
    with pytest.raises(ProvenanceError, match=r"src/paradox/a.py: recorded with two contents"):
        crate(chain)


def test_an_edited_manifest(chain: Path) -> None:
    manifest = chain / "results/smoke/checkpoints/manifest.json"
    manifest.write_text(manifest.read_text().replace("model", "other"))
    with pytest.raises(ProvenanceError, match=r"manifest.json: missing, or not what its record"):
        crate(chain)


def test_a_record_edited_after_its_use(chain: Path) -> None:
    write_json(chain / DATA, read_record(chain / DATA) | {"outputs": {}})
    with pytest.raises(ProvenanceError, match=r"data.record.json: recorded with two contents"):
        crate(chain)
