"""The lineage page: its content, its safety, and, where Chromium is installed, its graph."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from paradox.errors import DataError, ProvenanceError
from paradox.files import sha256, write_json, write_text
from paradox.pages import lineage, page
from paradox.progress import Progress
from paradox.provenance.identity import VARIABLE
from paradox.provenance.records import derivation_of, read_record

QUIET = Progress("test", streams=(open("/dev/null", "w"),))
TEMPLATE = ROOT / "workflow/report/lineage.html"
FOLDER = "results/smoke"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
INJECTION = "</script><script>window.hacked = true</script><!-- fill head -->"


def write_step(name: str, step: str, made_from: list[str], *outputs: str, **more: Any) -> str:
    """Write a step's outputs and record as the runner would; return the record's path."""
    inputs: dict[str, list[dict[str, Any]]] = {"files": []}
    for path in made_from:
        if path.endswith(".record.json"):
            entry = read_record(Path(path))["outputs"]["made"][0]
            link = {"path": path, "sha256": sha256(Path(path))}
        else:
            entry, link = {"path": path, "sha256": sha256(Path(path))}, None
        entry = {"path": entry["path"], "sha256": entry["sha256"], "record": link}
        inputs["files"].append(entry)
    record: dict[str, Any] = {
        "format": 1,
        "path": f"{FOLDER}/{name}.record.json",
        "step": step,
        "parameters": more,
        "seeds": {"seed": 0},
        "threads": 1,
        "device": "cpu",
        "determinism": "bitwise",
        "inputs": inputs,
        "code": {f"src/paradox/{step}.py": "0" * 64},
        "environment": {"envs/cpu.lock": "1" * 64},
    }
    record["derivation"] = derivation_of(record)
    for path in outputs:
        write_text(Path(path), f"<svg xmlns='http://www.w3.org/2000/svg'><!-- {path} --></svg>")
    entries = [{"path": p, "sha256": sha256(Path(p)), "bytes": 1} for p in outputs]
    record["outputs"] = {"made": entries[:1], **({"svg": entries[1:]} if entries[1:] else {})}
    write_json(Path(record["path"]), record)
    return record["path"]


def write_run(rewards: tuple[str, ...], seeds: tuple[int, ...]) -> dict[str, Any]:
    """Write the records of a run below the working directory; return the step's inputs."""
    data = write_step("data/data", "data", [], f"{FOLDER}/data/items.csv", secret=INJECTION)
    records, measured = [data], []
    for base in ("contaminated", "clean"):
        corpus = write_step(f"data/corpus/{base}", "corpus", [data], f"{FOLDER}/{base}.parquet")
        root = write_step(
            f"runs/{base}/base/none/s0/train", "base", [corpus], f"{FOLDER}/{base}/manifest.json"
        )
        arms = {f"{base}/base/none/s0": root}
        for reward in rewards:
            file = f"src/paradox/rewards/{reward}.py"
            write_text(Path(file), "")
            for seed in seeds:
                arm = f"{base}/grpo/{reward}/s{seed}"
                made = f"{FOLDER}/runs/{arm}/manifest.json"
                arms[arm] = write_step(f"runs/{arm}/train", "grpo", [root, data, file], made)
        records += [corpus, *arms.values()]
        for arm, trained in arms.items():
            for step in ("evaluate", "perplexity"):
                made = f"{FOLDER}/runs/{arm}/{step}.csv"
                measured.append(write_step(f"runs/{arm}/{step}", step, [trained, data], made))
    tables = write_step("tables/tables", "tables", measured, f"{FOLDER}/tables/did.csv")
    svg = f"{FOLDER}/figures/accuracy.svg"
    figure = write_step(
        "figures/accuracy", "figure", [tables], f"{FOLDER}/figures/accuracy.csv", svg
    )
    report = write_step(
        "reports/report", "report", [figure, tables], f"{FOLDER}/reports/report.html"
    )
    records += [*measured, tables, figure, report]
    return {"records": [*map(Path, records)], "figures": [Path(svg)], "template": TEMPLATE}


@pytest.fixture()
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, "f" * 64)
    return write_run(("format", "constant"), (0,))


def write_page(run: dict[str, Any]) -> str:
    html = Path(FOLDER) / "reports/lineage.html"
    lineage.main({"scale": "smoke"}, run, {"html": html}, QUIET)
    return html.read_text()


def data_of(text: str) -> dict[str, Any]:
    found = re.search(r'<script id="records" type="application/json">(.*?)</script>', text, re.S)
    assert found
    return json.loads(found.group(1))


def test_every_record_is_there_and_linked(run: dict[str, Any]) -> None:
    data = data_of(write_page(run))
    records = {record["id"]: record for record in data["records"]}
    assert len(records) == len(run["records"]) == 1 + 2 + 3 * 6 + 3
    figure = records["figures/accuracy"]
    read = read_record(Path(figure["path"]))
    assert figure["sha256"] == sha256(Path(figure["path"]))
    assert {key: figure[key] for key in lineage.COPIED} == {k: read[k] for k in lineage.COPIED}
    assert data["closures"][figure["code"]] == read["code"]
    assert figure["trace"] == f"{FOLDER}/figures/accuracy.svg"
    sources = {entry["from"] for entry in records["runs/clean/grpo/format/s0/train"]["inputs"]}
    assert sources == {"runs/clean/base/none/s0/train", "data/data", None}
    assert len(data["closures"]) == len({record["step"] for record in data["records"]})


def test_the_page_is_whole_safe_and_reproducible(run: dict[str, Any]) -> None:
    text = write_page(run)
    assert text == write_page(run)
    assert f'content="paradox:derivation:{"f" * 64}"' in text
    # Nothing is loaded, and what is no picture leads to a place in the page.
    assert not re.search(r'(src|href)=["\'](?!data:|#)', text)
    assert "@import" not in text and "url(" not in text
    assert "default-src 'none'" in text
    # Data cannot end its script element, nor be taken for a place to fill.
    assert text.count("</script>") == 2 and text.count("<script") == 2
    secret = next(r for r in data_of(text)["records"] if r["id"] == "data/data")["parameters"]
    assert secret == {"secret": INJECTION}
    targets = re.findall(r'<li><a href="#([^"]+)">', text)
    assert targets == ["figures/accuracy", "reports/report"]
    assert re.search(r'<img alt="Figure accuracy" src="data:image/svg', text)


def test_records_that_do_not_fit_together_are_refused(run: dict[str, Any]) -> None:
    tables = Path(f"{FOLDER}/tables/tables.record.json")
    outputs = read_record(tables)["outputs"]
    outputs["made"][0]["sha256"] = "2" * 64
    write_json(tables, read_record(tables) | {"outputs": outputs})
    with pytest.raises(
        ProvenanceError, match=r"accuracy\.record\.json: made with another .*tables"
    ):
        write_page(run)
    run["records"].remove(tables)
    with pytest.raises(
        ProvenanceError, match=r"accuracy\.record\.json: made with another .*tables"
    ):
        write_page(run)


def test_a_template_without_a_place_for_the_data_is_refused(run: dict[str, Any]) -> None:
    template = Path("template.html")
    template.write_text(TEMPLATE.read_text().replace("<!-- fill records -->", ""))
    with pytest.raises(DataError, match="<!-- fill records -->: found 0 times"):
        write_page(run | {"template": template})


def test_a_figure_says_where_it_comes_from(run: dict[str, Any]) -> None:
    figure = run["figures"][0]
    line = page.origin(figure)
    record = read_record(figure.with_suffix(".record.json"))
    assert f"<code>{record['derivation'][:12]}</code>" in line
    assert "did.csv" in line
    assert f"paradox trace {figure}" in line
    assert 'href="lineage.html#figures/accuracy"' in line
    assert line in page.image(figure, "caption", line)
    figure.with_suffix(".record.json").unlink()
    assert page.origin(figure) == ""


# --- in a browser -------------------------------------------------------------------------


def shown(address: str, profile: Path) -> str:
    """Return the page's content after its script has run."""
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync"
    flags += " --disable-background-networking --disable-component-update"
    command = [str(CHROMIUM), *flags.split(), f"--user-data-dir={profile}", "--dump-dom", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return re.sub(r"<script.*?</script>", "", done.stdout, flags=re.DOTALL)


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_browser_draws_the_chain_of_a_figure_and_the_detail_of_a_node(
    run: dict[str, Any], tmp_path: Path
) -> None:
    write_page(run)
    address = (tmp_path / FOLDER / "reports/lineage.html").as_uri() + "#figures/accuracy"
    arm = "runs/clean/grpo/format/s0"
    text = shown(f"{address}@{arm}/train", tmp_path / "profile")
    nodes = set(re.findall(r'data-node="([^"]+)"', text))
    records = {path.as_posix().split("/", 2)[2] for path in run["records"]}
    wanted = {name.removesuffix(".record.json") for name in records} - {"reports/report"}
    assert wanted <= nodes
    leaves = nodes - wanted
    assert {"src/paradox/rewards/format.py", "envs/cpu.lock"} <= leaves
    assert {name.split(":")[0] for name in leaves if ":" in name} == {
        *("data", "corpus", "base", "grpo", "evaluate", "perplexity", "tables", "figure")
    }
    # The chosen node's own ancestors are marked, and no others.
    marked = set(re.findall(r'<a [^>]*data-node="([^"]+)"[^>]*class="[^"]*\bon\b', text))
    assert {f"{arm}/train", "data/data", "runs/clean/base/none/s0/train"} <= marked
    assert f"{arm}/evaluate" not in marked and "data/corpus/contaminated" not in marked
    assert f"paradox trace {FOLDER}/runs/clean/grpo/format/s0/manifest.json" in text
