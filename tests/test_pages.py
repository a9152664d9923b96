"""The notebooks of the pages on small studies, and the pages of a whole run in a browser."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from conftest import ROOT
from study_fixture import SPEC, table_paths, write_study

from paradox.errors import DataError, ParadoxError
from paradox.evaluate import tables
from paradox.figures.behaviour import draw
from paradox.pages import arm_index, arm_tables, guide, notebook, page
from paradox.progress import Progress
from paradox.report import numbers as words
from paradox.steps import NOTEBOOKS, code
from paradox.study.mechanisms import Mechanisms
from paradox.study.pages import Pages
from paradox.study.plan import Study

QUIET = Progress("test", streams=(open("/dev/null", "w"),))
INJECTION = "<script>alert('x')</script>"
ARM = {"base": "contaminated", "method": "grpo", "reward": "format", "seed": 1}
CAPTIONS = [
    {"name": "memory", "title": "Where is memory?", "text": "All analyses."},
    {"name": "lens", "title": "Logit lens", "text": "The answer, block by block."},
]
Made = dict[str, Any]
GUIDE = sorted((ROOT / "src/paradox/mechanisms").glob("*/README.md"))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The files of a synthetic study, its tables and figures."""
    folder = tmp_path_factory.mktemp("study")
    inputs = write_study(folder / "in")
    made: Made = {**table_paths(folder / "tables"), **inputs}
    tables.main(SPEC, inputs, table_paths(folder / "tables"), QUIET)
    for name in draw.FIGURES:
        outputs = {end: folder / f"{name}.{end}" for end in ("svg", "png", "csv")}
        draw.main({"figure": name}, made, outputs, QUIET)
    made["figures"] = [folder / f"{name}.svg" for name in draw.FIGURES]
    return made | {"folder": folder}


def run(step: str, parameters: Made, inputs: Made, folder: Path) -> str:
    given = {"notebook": ROOT / NOTEBOOKS[step], **inputs}
    spec = {"title": step, "kept": str(folder / "logs/kept.ipynb"), "parameters": parameters}
    notebook.main(spec, given, {"html": folder / "page.html"}, QUIET)
    assert not (folder / "logs/kept.ipynb").exists()
    return (folder / "page.html").read_text()


def check(text: str) -> None:
    """Check what every page promises: it is whole, safe, named and described."""
    assert "<script" not in text and "default-src 'none'" in text
    assert not re.search(r'src="(?!data:)', text) and "url(" not in text and "@import" not in text
    assert '<html lang="en">' in text and 'name="viewport"' in text
    assert [image for image in re.findall(r"<img[^>]*>", text) if ' alt="' not in image] == []
    assert 'alt=""' not in text
    assert set(re.findall(r"<th\b[^>]*>", text)) <= {'<th scope="col">'}
    boxes = re.findall(r'<div [^>]*class="wide"[^>]*tabindex="0"', text)
    assert text.count("<table>") == text.count("<caption>") == len(boxes)
    contents = re.findall(r'<li><a href="#([\w-]+)">', text)
    assert contents and [name for name in contents if f'<h2 id="{name}">' not in text] == []
    assert len(contents) == text.count("<h2")


# --- each notebook ------------------------------------------------------------------------


def report(study: Made, folder: Path) -> str:
    own: Made = {"scale": "tiny", "excluded": [{"base": "clean", "why": INJECTION}]}
    own |= {"verdicts": [], "mechanisms": CAPTIONS}
    return run("report", own, {k: study[k] for k in ("summary", "did", "base", "figures")}, folder)


def test_the_summary_is_whole_escaped_and_reproducible(study: Made, tmp_path: Path) -> None:
    first = report(study, tmp_path)
    assert first == report(study, tmp_path)
    check(first)
    assert first.count("&lt;script&gt;") == 1
    assert first.count("data:image/svg+xml;base64,") == 3
    assert str(tmp_path) not in first
    assert words.Numbers.read(study["summary"]).points("did/contaminated/format") in first
    assert 'href="mechanisms/lens.html">Logit lens</a>' in first


def arm_inputs(study: Made, folder: Path, arm: Made) -> Made:
    """Return what the page of an arm reads; its training logged one number."""
    items = pd.read_csv(study["items"]).assign(question=INJECTION, answer="4")
    items.to_csv(folder / "items.csv", index=False)
    pd.DataFrame({"step": [15, 45], "reward": [0.2, 0.8]}).to_csv(folder / "train.csv")
    sampled = [name for name in items["item"] if name[1:] in ("8-0", "512-1", "128-7")]
    rows = [{"item": name, "sample": 0, "response": INJECTION} for name in sampled]
    samples = pd.DataFrame(rows).assign(answer="4", correct=True, mode="recall")
    samples.to_parquet(folder / "samples.parquet")
    name = f"{arm['base']}-{arm['reward']}-{arm['seed']}"
    names = [arm["base"], name] if arm["method"] != "base" else [arm["base"]]
    found: Made = {"items": folder / "items.csv", "curves": folder / "train.csv"}
    for kind in ("evaluations", "nlls"):
        found[kind] = [study["folder"] / f"in/{name}.{kind}.csv" for name in names]
    return found | {"samples": folder / "samples.parquet"}


def arm_page(study: Made, folder: Path, arm: Made = ARM) -> str:
    own = {"scale": "tiny", "arm": arm, "summed": SPEC | {"clean_base": None}, "records": []}
    return run("arm_page", own, arm_inputs(study, folder, arm), folder)


def test_the_page_of_an_arm_says_what_the_tables_say(study: Made, tmp_path: Path) -> None:
    text = arm_page(study, tmp_path)
    check(text)
    assert text == arm_page(study, tmp_path)
    assert len(text) < 200_000 and str(tmp_path) not in text.replace(str(tmp_path / "train"), "")
    assert text.count("&lt;script&gt;") == 2 * 4  # question and response of two items of a group
    did = pd.read_csv(study["did"], dtype={"seed": str})
    (row,) = (
        did[(did[["base", "reward"]] == ["contaminated", "format"]).all(axis=1)]
        .query("seed == '1'")
        .to_dict("records")
    )
    ends = [f"{100 * row[name]:+.1f}" for name in ("did", "did_low", "did_high")]
    assert f"({ends[0]} points [{ends[1]}, {ends[2]}])" in text
    accuracy = pd.read_csv(study["accuracy"], dtype={"seed": str}).query("seed == '1'")
    rows = accuracy[(accuracy[["base", "reward"]] == ["contaminated", "format"]).all(axis=1)]
    for row in rows[rows["step"] == 45].to_dict("records"):
        three = [100 * row[name] for name in ("accuracy", "accuracy_low", "accuracy_high")]
        assert ">{:.1f} [{:.1f}, {:.1f}]</td>".format(*three) in text
        assert f"<td>{row['items']}</td>" in text
    assert 'href="../../../../arms/contaminated/base/none/s0.html"' in text


def test_the_page_of_an_arm_shows_its_curves(study: Made, tmp_path: Path) -> None:
    found = re.findall(r"svg\+xml;base64,([^\"]+)", arm_page(study, tmp_path))
    logged, course = (base64.b64decode(svg).decode() for svg in found)
    assert re.findall(r"<text[^>]*>([a-z, ]+)</text>", logged) == [
        *("step of training", "mean", "reward")
    ]
    assert re.findall(r"<text[^>]*>([a-z, ]+)</text>", course) == [
        *("step of training", "share of samples"),
        *(f"{items}, {text}" for text in ("right", "at once") for items in ("exposed", "twins")),
    ]


def test_a_chart_leaves_out_points_that_are_not_finite(tmp_path: Path) -> None:
    rows = pd.DataFrame({"step": [1, 2, 3, 4], "reward": [0.1, float("nan"), 0.3, 0.4]})
    rows.to_csv(tmp_path / "all.csv")
    rows.drop(index=1).to_csv(tmp_path / "finite.csv")
    drawn = [arm_tables.training(tmp_path / f"{name}.csv")[0] for name in ("all", "finite")]
    assert drawn[0] == drawn[1]


def test_an_untrained_base_has_a_page_that_agrees_with_its_table(
    study: Made, tmp_path: Path
) -> None:
    arm = {"base": "contaminated", "method": "base", "reward": "none", "seed": 0}
    text = arm_page(study, tmp_path, arm)
    check(text)
    given = arm_inputs(study, tmp_path, arm)
    found = arm_tables.untrained(SPEC, study["items"], *given["evaluations"], *given["nlls"])
    rows = pd.read_csv(study["base"]).query("base == 'contaminated'")
    known = page.estimates(rows, arm_tables.RATES | {"recall_answer": "recalled answer right, %"})
    for name in known:
        assert found[name].tolist() == known[name].tolist()
    assert found["items"].tolist() == rows["items"].tolist()


def test_the_index_leads_to_every_page(study: Made, tmp_path: Path) -> None:
    base = {"base": "clean", "method": "base", "reward": "none", "seed": 0}
    more = {"base": "clean", "method": "grpo", "reward": "format", "seed": 0}
    own = {"scale": "tiny", "grid": "default", "arms": [base, ARM, more], "mechanisms": CAPTIONS}
    text = run("index_page", own | {"folder": "x"}, {"did": study["did"], "pages": []}, tmp_path)
    check(text)
    for arm in (base, ARM, more):
        assert f'href="{arm_index.address(arm)}"' in text
    assert 'href="mechanisms/lens.html"' in text and 'href="report.html"' in text
    did = pd.read_csv(study["did"]).query("base == 'clean' and seed == 'all'")
    assert page.estimates(did, {"did": "did"})["did"].iloc[0] in text


def mechanism(study: Made, folder: Path, name: str = "ablation") -> str:
    table = folder / "table.csv"
    rows = [{"base": "clean", "layer": layer, "value": 0.12345 * layer} for layer in range(199)]
    pd.DataFrame(rows).to_csv(table, index=False)
    reading = folder / "reading.json"
    reading.write_text(json.dumps({"paragraphs": {"ablation": f"It says {INJECTION}."}}))
    inputs = {"figure": study["figures"][0], "table": table, "readings": [reading]}
    inputs["guide"] = ROOT / "src/paradox/mechanisms/lens/README.md"
    return run("mechanism_page", {"scale": "tiny", "name": name, "arms": [ARM]}, inputs, folder)


def test_the_page_of_a_mechanism_has_figure_table_words_and_warnings(
    study: Made, tmp_path: Path
) -> None:
    text = mechanism(study, tmp_path)
    check(text)
    assert text == mechanism(study, tmp_path)
    assert "100 of 199 rows" in text and "table.csv" in text and "base clean." in text
    assert f"It says {INJECTION.replace('<', '&lt;').replace('>', '&gt;')}." in text
    parts = ["What it measures", "What was found", "In words", "How to read the figures"]
    parts += ["What misleads", "Known failure", "Arms that were analysed"]
    assert re.findall(r"<h2[^>]*>([^<]+)</h2>", text) == parts
    assert "A late emergence may be a change of code" in text
    assert re.findall(r"<summary>(Formula|Cost)</summary>", text) == ["Formula", "Cost"]
    assert f'href="../{arm_index.address(ARM)}"' in text
    assert "In words" not in mechanism(study, tmp_path, "probes")


@pytest.mark.parametrize("path", GUIDE, ids=lambda path: path.parent.name)
def test_every_page_of_the_guide_stands_alone(path: Path) -> None:
    text = "".join(content for _, content in guide.parts(path).values())
    tags = set(re.findall(r"<(\w+)", text))
    assert {"p", "pre", "code", "table"} <= tags and not tags & {"a", "img", "script", "link"}
    # Outside of code nothing of Markdown or of a formula is left.
    prose = re.sub(r"<code>.*?</code>", "", text, flags=re.DOTALL)
    assert not re.search(r"[$`\\]|\*\*|\]\(|\| ", prose)
    assert text.count("<table>") == text.count("<caption>") == text.count('class="wide"')


def test_markdown_is_shown_without_links_images_or_scripts() -> None:
    text = f"See {INJECTION} [page](a.md) ![figure](b.png) $x_1$\n\n![figure](b.png)\n"
    text += "\n```math\n\\frac{a}{b} < c\n```\n"
    assert guide.as_html(text, "") == (
        "<p>See &lt;script&gt;alert('x')&lt;/script&gt; page  <code>x_1</code></p>\n"
        "<pre><code>\\frac{a}{b} &lt; c\n</code></pre>\n"
    )


def test_a_page_of_the_guide_without_a_part_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    with pytest.raises(DataError, match=r"README\.md: cannot be read"):
        guide.parts(path)
    path.write_text("# Lens\n\n## What it measures\n\n## Formula\n\n## Costs\n")
    with pytest.raises(DataError, match=r"no part 'How to read', 'What misleads', 'Known failure'"):
        guide.parts(path)


def test_the_page_of_a_figure_reads_its_folders_guide(repository: Path) -> None:
    study = Study.load(yaml.safe_load((repository / "config/config.yaml").read_text()), repository)
    pages = Pages(study, Mechanisms(study))
    for figure, folder in {"memory": "overview", "attribution": "lens", "eap": "eap"}.items():
        (given,) = pages.figure_inputs(figure)["guide"]
        assert given.endswith(f"src/paradox/mechanisms/{folder}/README.md")


# --- what goes wrong ----------------------------------------------------------------------

MAKERS: dict[str, Callable[[Made, Path], str]] = {
    "report": report,
    "arm_page": arm_page,
    "mechanism_page": mechanism,
}


@pytest.mark.parametrize("step", MAKERS)
def test_a_failing_cell_is_named_and_the_notebook_kept(
    step: str, study: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.py"
    text = (ROOT / NOTEBOOKS[step]).read_text()
    broken.write_text(text + '\n# %%\nprint("so far")\n1 / 0\n')
    monkeypatch.setitem(NOTEBOOKS, step, str(broken))
    with pytest.raises(ParadoxError, match=r"broken\.py: cell \d+ failed with ZeroDivisionError"):
        MAKERS[step](study, tmp_path)
    kept = json.loads((tmp_path / "logs/kept.ipynb").read_text())
    last = kept["cells"][-1]["outputs"]
    assert last[0]["text"] == ["so far\n"] and last[-1]["output_type"] == "error"
    assert not (tmp_path / "page.html").exists()


def test_a_failing_notebook_fails_its_job(tmp_path: Path) -> None:
    source = tmp_path / "broken.py"
    source.write_text('# %% tags=["parameters"]\nscale = ""\n\n# %%\nnothing\n')
    spec = {"title": "t", "kept": str(tmp_path / "kept.ipynb"), "parameters": {"scale": "tiny"}}
    paths = {name: str(tmp_path / name) for name in ("page.html", "p.record.json", "p.log")}
    command = [sys.executable, "-m", "paradox", "run", "index_page", "--spec", json.dumps(spec)]
    command += ["--in", f"notebook={source}", "--out", f"html={paths['page.html']}"]
    command += ["--code", str(ROOT / "src/paradox/steps.py"), "--lock", str(ROOT / "envs/cpu.lock")]
    command += ["--record", paths["p.record.json"], "--log", paths["p.log"]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cell 2 failed with NameError: name 'nothing' is not defined" in done.stderr
    assert (tmp_path / "kept.ipynb").exists()
    assert not (tmp_path / "page.html").exists() and not (tmp_path / "p.record.json").exists()


def test_a_notebook_without_parameters_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bare.py").write_text("# %%\nx = 1\n")
    spec = {"title": "t", "kept": str(tmp_path / "kept.ipynb"), "parameters": {}}
    given = {"notebook": tmp_path / "bare.py"}
    with pytest.raises(DataError, match=r"bare\.py: no cell has the tag 'parameters'"):
        notebook.main(spec, given, {"html": tmp_path / "page.html"}, QUIET)


@pytest.mark.parametrize("step", NOTEBOOKS)
def test_what_a_notebook_imports_is_part_of_its_code(step: str) -> None:
    text = (ROOT / NOTEBOOKS[step]).read_text()
    found = {
        f"src/paradox/{package}/{name}.py"
        for package, names in re.findall(r"^from paradox\.(\w+) import (.+)$", text, re.MULTILINE)
        for name in names.split(", ")
        if package in ("figures", "pages")
    }
    assert found and found <= set(code(step))
    # Only the page of an arm draws something itself; no page loads a model.
    drawing = [path for path in code(step) if path.endswith("figures/style.py")]
    assert bool(drawing) == (step == "arm_page")
    assert not [path for path in code(step) if path.endswith("models.py")]


# --- the pages of a whole run ----------------------------------------------------------------

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def links(reports: Path) -> list[tuple[Path, str]]:
    return [
        (path, address)
        for path in sorted(reports.rglob("*.html"))
        for address in re.findall(r'<a [^>]*href="([^"]+)"', path.read_text())
    ]


def test_all_links_lead_somewhere(finished: Path) -> None:
    reports = finished / "results/smoke/reports"
    lineage = (reports / "lineage.html").read_text()
    records = set(re.findall(r'"id":"([^"]+)"', lineage))
    found = links(reports)
    assert len({path for path, _ in found}) == 3 + 2 + 8  # index, summary, lineage; bases, arms
    for path, address in found:
        file, _, place = address.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.is_file(), (path, address)
        if target.name == "lineage.html" and place:
            assert place in records, (path, address)
        elif place:
            assert f'id="{place}"' in target.read_text(), (path, address)


def test_any_arm_is_two_clicks_away(finished: Path) -> None:
    reports = finished / "results/smoke/reports"
    index = {address for path, address in links(reports) if path == reports / "index.html"}
    pages = {str(path.relative_to(reports)) for path in (reports / "arms").rglob("*.html")}
    assert pages and pages <= index


def test_pages_are_whole_and_light(finished: Path) -> None:
    reports = finished / "results/smoke/reports"
    for path in reports.rglob("*.html"):
        if path.name != "lineage.html":
            check(path.read_text())
            assert path.stat().st_size < (200_000 if "arms" in path.parts else 1_500_000)
    text = (reports / "arms/contaminated/grpo/format/s0.html").read_text()
    assert "paradox trace" in text and "lineage.html#runs/contaminated/grpo/format/s0/train" in text


# Measures a page for a test; pages themselves hold no script.
PROBE = """<script>
const wide = [...document.querySelectorAll("body *")].filter((e) => !e.closest(".wide, pre"))
  .filter((e) => e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML);
const images = [...document.images].filter((e) => !e.naturalWidth).length;
document.documentElement.setAttribute("data-found", JSON.stringify(
  {width: innerWidth, content: document.documentElement.scrollWidth, wide, images}));
</script>"""


def opened(path: Path, width: int, folder: Path) -> tuple[dict[str, Any], str, list[str]]:
    """Open a page; return what the probe found, the console's lines and what was asked for."""
    text = path.read_text()
    probed = path.with_name(f"probed-{path.name}")
    inline = "style-src 'unsafe-inline'"
    allowed = text.replace(inline, f"{inline}; script-src 'unsafe-inline'")
    probed.write_text(allowed.replace("</body>", f"{PROBE}</body>"))
    log = folder / "net.json"
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync"
    flags += " --disable-background-networking --disable-component-update --enable-logging=stderr"
    flags += f" --window-size={width},900 --log-net-log={log} --user-data-dir={folder / 'profile'}"
    command = [str(CHROMIUM), *flags.split(), "--dump-dom", probed.as_uri()]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    finally:
        probed.unlink()
    assert done.returncode == 0, done.stderr
    (found,) = re.findall(r'data-found="([^"]+)"', done.stdout)
    measured = json.loads(found.replace("&quot;", '"').replace("&lt;", "<").replace("&amp;", "&"))
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return measured, "\n".join(said), [url for url in asked_for(log) if "probed-" not in url]


def asked_for(log: Path) -> list[str]:
    """Return the addresses that a page asked for: Chromium's own requests have no origin."""
    lines = [x for x in log.read_text().splitlines() if re.search('"initiator":"(?!not an or)', x)]
    return [url for line in lines for url in re.findall(r'"url":"([^"]+)"', line)]


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("width", [1366, 390])
@pytest.mark.parametrize(
    "name", ["index", "report", "arms/contaminated/grpo/format/s0", "arms/clean/base/none/s0"]
)
def test_a_browser_shows_a_page_without_overflow_errors_or_requests(
    name: str, width: int, finished: Path, tmp_path: Path
) -> None:
    path = finished / f"results/smoke/reports/{name}.html"
    measured, said, asked = opened(path, width, tmp_path)
    assert measured["images"] == 0 and measured["wide"] == []
    assert measured["content"] <= measured["width"]
    assert said == "" and asked == []


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_request_and_an_overflow_would_be_seen(tmp_path: Path) -> None:
    path = tmp_path / "bad.html"
    body = '<img src="http://example.invalid/a.png"><p style="width: 900px">wide</p>'
    path.write_text(f"<html><body>{body}</body></html>")
    measured, _, asked = opened(path, 390, tmp_path)
    assert asked == ["http://example.invalid/a.png"]
    assert measured["images"] == 1 and len(measured["wide"]) == 1
    assert measured["content"] > measured["width"]
