"""Broken declarations: each is named when a run is planned, with file and key, all at once."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT

from paradox.errors import ConfigError
from paradox.figures.behaviour.draw import FIGURES as BEHAVIOUR
from paradox.steps import STEPS
from paradox.study import captions, checks
from paradox.study import registry as registries
from paradox.study.load import merge
from paradox.study.plan import Study
from paradox.study.registry import REGISTRY, Registry

# A made-up folder without a mistake; checks look for its full name in tests: madeup.lens.
LENS = """
from paradox.declare import (
    Analysis, Caption, Declaration, Gap, Positive, Read, Row, Section, Signature, Summary, Tested,
    Verdicts, by_layer, over_layers,
)

class Lens(Section):
    folds: Positive

DECLARATION = Declaration(
    question="Where does the answer appear?",
    analyses={
        "lens": Analysis(
            outputs=("table", "items"),
            needs=("base", "corpus?"),
            locks=("envs/cpu.lock",),
            takes=("planted", "folds"),
            unread=("items",),
            config=Lens,
            on_arm_page={"table": Read("shown", "Blocks.")},
        )
    },
    summaries={
        "lens": by_layer("lens", "table", "logp"),
        "doses": Summary(
            "dose_response", {"tables": ("lens", "table")}, outputs={"tests": "tests.csv"}
        ),
        "last": Summary("collected", tables={"of": "doses:tests"}),
        "every": Summary("verdicts", gathers="verdicts"),
    },
    figures={
        "lens": over_layers(
            "lens", Caption("Lens", "By block."), Row("resid", "logp", "Log-probability")
        ),
    },
    signatures=(
        Signature(
            "emergence",
            "the answer emerges",
            source="yan2026",
            null="labels swapped",
            margin="a tenth",
            section="where",
            reads=("lens", "table"),
        ),
    ),
    verdicts={"lens": Verdicts("doses:tests")},
    gaps=(Gap("lens", "resid", "logp", "", "", "Lens", as_contrast="turned"),),
    tested={"lens": Tested(("lens", "table"), how="own")},
)
"""
FUNCTIONS = {"arm": ["shown"], "signature": ["emergence"], "contrast": ["turned"]}
FUNCTIONS |= {"rates": ["sides", "test"]}
Made = Callable[..., Registry]


@pytest.fixture()
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    """Returns the registry of a package with the folder ``lens`` and others."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def registry(lens: str = LENS, **others: str) -> Registry:
        for name, text in {"lens": lens, **others}.items():
            folder = tmp_path / "madeup" / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "README.md").write_text(f"# {name}\n")
            (folder / "declare.py").write_text(text)
        for module, functions in FUNCTIONS.items():
            path = tmp_path / "madeup/lens" / f"{module}.py"
            if not path.exists():
                path.write_text("\n".join(f"def {name}():\n    pass\n" for name in functions))
        return Registry(tmp_path / "madeup", "madeup")

    yield registry
    forget()


def forget() -> None:
    """Let what was imported of the package be imported anew."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "madeup"]:
        del sys.modules[name]


def test_the_declarations_are_right_and_so_is_the_made_up_one(made: Made) -> None:
    assert REGISTRY.problems == []
    assert made().problems == []


HERE = "src/madeup/lens/declare.py: "
NO_STEP = "is not a step (the first line of its module); allowed: "
# What is replaced, by what, and what the message says.
CASES: dict[str, tuple[str, str, str, str]] = {
    "question": (
        '"Where does the answer appear?"',
        '" "',
        "question is empty; it says what the folder asks",
        "",
    ),
    "analysis without a step": (
        '"lens": Analysis(',
        '"lense": Analysis(',
        'analyses.lense: no module of src/paradox begins with """Step ``lense``: ...',
        "",
    ),
    "need": (
        '"base", "corpus?"',
        '"bass", "corpus?"',
        "analyses.lens.needs = 'bass' is not a need; allowed: base, reference, samples",
        "Did you mean 'base'?",
    ),
    "kind of table": (
        "            config=Lens,",
        '            config=Lens, suffix="cvs",',
        "analyses.lens.suffix = 'cvs' is not a kind of table; allowed: csv, parquet.",
        "Did you mean 'csv'?",
    ),
    "lock": (
        "envs/cpu.lock",
        "envs/cpus.lock",
        "analyses.lens.locks = 'envs/cpus.lock' is not a file; allowed: envs/",
        "Did you mean 'envs/cpu.lock'?",
    ),
    "setting": (
        '"folds"),',
        '"fold"),',
        "analyses.lens.takes = 'fold' is not a setting; allowed: bootstrap",
        "Did you mean 'folds'?",
    ),
    "table that is kept": (
        'unread=("items",)',
        'unread=("items", "item")',
        "analyses.lens.unread = 'item' is not a table of analysis 'lens'; allowed: table, items.",
        "Did you mean 'items'?",
    ),
    "table on the page of an arm": (
        'on_arm_page={"table"',
        'on_arm_page={"tabel"',
        "analyses.lens.on_arm_page = 'tabel' is not a table of analysis 'lens'; allowed: table",
        "Did you mean 'table'?",
    ),
    "table that no summary reads": (
        'unread=("items",),',
        "",
        "analyses.lens.outputs = 'items': no summary reads this table; list it in unread if it is "
        "kept for single items",
        "",
    ),
    "table of an analysis": (
        '{"tables": ("lens", "table")}, outputs',
        '{"tables": ("lens", "tabel")}, outputs',
        "summaries.doses.files.tables = 'tabel' is not a table of analysis 'lens'; allowed: table",
        "Did you mean 'table'?",
    ),
    "analysis of a table": (
        '{"tables": ("lens", "table")}, outputs',
        '{"tables": ("lense", "table")}, outputs',
        "summaries.doses.files.tables = 'lense' is not an analysis; allowed: lens.",
        "Did you mean 'lens'?",
    ),
    "step of a summary": (
        '"dose_response"',
        '"dose_respons"',
        f"summaries.doses.step = 'dose_respons' {NO_STEP}",
        "Did you mean 'dose_response'?",
    ),
    "table of a summary": (
        '{"of": "doses:tests"}',
        '{"of": "dosis:tests"}',
        "summaries.last.tables.of = 'dosis' is not a summary; allowed: lens, doses, last, every.",
        "Did you mean 'doses'?",
    ),
    "role": (
        '{"of": "doses:tests"}',
        '{"of": "doses:test"}',
        "summaries.last.tables.of = 'test' is not a table of summary 'doses'; allowed: tests.",
        "Did you mean 'tests'?",
    ),
    "role of a summary of one table": (
        '{"of": "doses:tests"}',
        '{"of": "lens:tabel"}',
        "summaries.last.tables.of = 'tabel' is not a table of summary 'lens'; allowed: table.",
        "Did you mean 'table'?",
    ),
    "what is gathered": (
        'gathers="verdicts"',
        'gathers="verdict"',
        "summaries.every.gathers = 'verdict' is not something to gather; allowed: tested",
        "Did you mean 'verdicts'?",
    ),
    "summary that reads nothing": (
        'gathers="verdicts"',
        "",
        "summaries.every reads nothing; give files, runs, tables or gathers",
        "",
    ),
    "summary from itself": (
        '{"of": "doses:tests"}',
        '{"of": "last"}',
        "summaries.last.tables: it is made from itself",
        "",
    ),
    "title": (
        'Caption("Lens", "By block.")',
        'Caption("", "By block.")',
        "figures.lens.caption.title is empty",
        "",
    ),
    "caption": (
        'Caption("Lens", "By block.")',
        'Caption("Lens", " ")',
        "figures.lens.caption.text is empty",
        "",
    ),
    "rows of a figure": (
        ', Row("resid", "logp", "Log-probability")',
        "",
        "figures.lens.rows is empty; a figure over layers has a row per component",
        "",
    ),
    "table of a figure": (
        '            "lens", Caption',
        '            "lenz", Caption',
        "figures.lens.tables.table = 'lenz' is not a summary; allowed: lens",
        "Did you mean 'lens'?",
    ),
    "claim": (
        '"the answer emerges"',
        '""',
        "signatures.emergence.claim is empty",
        "",
    ),
    "null": ('"labels swapped"', '""', "signatures.emergence.null is empty", ""),
    "margin": ('"a tenth"', '"\\n"', "signatures.emergence.margin is empty", ""),
    "source": (
        '"yan2026"',
        '"yan2025"',
        "signatures.emergence.source = 'yan2025' is not a reference; allowed: this study, ",
        "Did you mean 'yan2026'?",
    ),
    "section": (
        'section="where"',
        'section="were"',
        "signatures.emergence.section = 'were' is not a section; allowed: ",
        "Did you mean 'where'?",
    ),
    "function of a signature": (
        '"emergence",',
        '"emergense",',
        "signatures.emergense.reads: 'emergense' is not a function of signature.py; "
        "allowed: emergence.",
        "Did you mean 'emergence'?",
    ),
    "function of a page": (
        'Read("shown"',
        'Read("show"',
        "analyses.lens.on_arm_page.table: 'show' is not a function of arm.py; allowed: shown.",
        "Did you mean 'shown'?",
    ),
    "function of a curve": (
        'as_contrast="turned"',
        'as_contrast="turn"',
        "gaps.lens.as_contrast: 'turn' is not a function of contrast.py; allowed: turned.",
        "Did you mean 'turned'?",
    ),
    "words of a curve": (
        'Gap("lens", "resid", "logp", ""',
        'Gap("lens", "resid", "logp", "a gap"',
        "gaps.lens.words = 'a gap'; what as_contrast turns is drawn only",
        "",
    ),
    "way of counting": (
        'how="own"',
        'how="layer"',
        "tested.lens.how = 'layer' is not a way of counting; allowed: layers, counted, own.",
        "Did you mean 'layers'?",
    ),
    "verdicts": (
        'Verdicts("doses:tests")',
        'Verdicts("doses:rates")',
        "verdicts.lens.table = 'rates' is not a table of summary 'doses'; allowed: tests.",
        "",
    ),
    "type": (
        'Gap("lens", "resid", "logp", "", "", "Lens", as_contrast="turned")',
        'Row("resid", "logp", "Log-probability")',
        "gaps.0 is of type Row; it must be of type Gap",
        "",
    ),
    "pair": (
        'Tested(("lens", "table"), how="own")',
        'Tested("lens", how="own")',
        "tested.lens.reads = 'lens'; it must be (analysis, table)",
        "",
    ),
    "section of the configuration": (
        "config=Lens,",
        'config={"folds": 3},',
        "analyses.lens.config = {'folds': 3} is no class that is derived from Section",
        "",
    ),
    "shared key": (
        "    gaps=(",
        '    config={"rewards": Lens},\n    gaps=(',
        "config.rewards: key 'rewards' is used twice; all analyses share it in section mechanisms",
        "",
    ),
    "import": (
        "Analysis, Caption",
        "Analyses, Caption",
        "cannot be imported (ImportError: cannot import name 'Analyses' from 'paradox.declare'",
        "",
    ),
    "no declaration": (
        "DECLARATION =",
        "DECLARATIONS =",
        "DECLARATION = nothing; it must be a Declaration",
        "",
    ),
    "other declaration": (
        "DECLARATION = Declaration(",
        'DECLARATION = dict(figure="lens"); OTHER = Declaration(',
        "DECLARATION = dict; it must be a Declaration",
        "",
    ),
}

# Without their analysis or its only summary, others have nothing to read.
FOLLOWED = {CASES["analysis without a step"][2]}


@pytest.mark.parametrize(("old", "new", "said", "meant"), CASES.values(), ids=CASES)
def test_a_mistake_is_named_with_file_and_key(
    made: Made, old: str, new: str, said: str, meant: str
) -> None:
    assert old in LENS
    problems = made(LENS.replace(old, new)).problems
    expected = [text for text in problems if text.startswith(HERE + said) and meant in text]
    assert len(expected) == 1, problems
    # Nothing else is said but what follows from it.
    assert (len(problems) > 1) == (said in FOLLOWED), problems


def test_a_missing_module_is_named(made: Made, tmp_path: Path) -> None:
    made()
    for name in FUNCTIONS:
        (tmp_path / f"madeup/lens/{name}.py").unlink()
    registry = Registry(tmp_path / "madeup", "madeup")
    assert {text.removeprefix(HERE) for text in registry.problems} == {
        "analyses.lens.on_arm_page.table: arm.py, with function 'shown', is missing in this folder",
        "signatures.emergence.reads: signature.py, with function 'emergence', is missing in this "
        "folder",
        "gaps.lens.as_contrast: contrast.py, with function 'turned', is missing in this folder",
        "tested.lens.how: rates.py, with function 'sides', is missing in this folder",
        "tested.lens.how: rates.py, with function 'test', is missing in this folder",
    }


def test_a_folder_has_a_guide_a_test_and_a_declaration(made: Made, tmp_path: Path) -> None:
    made(nothing="from paradox.declare import Declaration\nDECLARATION = Declaration('Why?')\n")
    (tmp_path / "madeup/nothing/README.md").unlink()
    (tmp_path / "madeup/empty").mkdir()
    (tmp_path / "madeup/silent").mkdir()
    (tmp_path / "madeup/silent/measure.py").touch()
    assert Registry(tmp_path / "madeup", "madeup").problems == [
        "src/madeup/silent/declare.py: no such file; a folder of madeup declares itself there",
        "src/madeup/nothing/declare.py: README.md is missing in this folder; it is the analysis' "
        "page of the guide",
        f"src/madeup/nothing/declare.py: no file tests/test_*.py imports madeup.{'nothing'}; an "
        "analysis has a test",
    ]


def test_a_name_is_used_once(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    # The second folder's full name: madeup.second.
    problems = made(second=LENS.replace("Where does", "Why does")).problems
    place = "src/madeup/second/declare.py"
    first = "src/madeup/lens/declare.py has it"
    kinds = ["analyses.lens", "figures.lens", "tested.lens", "verdicts.lens", "summaries.last"]
    for name in kinds:
        assert f"{place}: {name} is used twice; {first}" in problems
    named = [
        "signatures.emergence: signature 'emergence'",
        "analyses.lens.config: key 'lens'",
        "summaries.doses.outputs: file 'tests.csv'",
    ]
    for name in named:
        assert f"{place}: {name} is used twice; {first}" in problems


def test_a_step_is_declared_by_one_module(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    doubled = [("lens", "paradox.a"), *STEPS.items(), ("probes", "paradox.b")]
    monkeypatch.setattr(checks, "declared", lambda: doubled)
    assert made().problems == [
        f"src/{STEPS['lens'].replace('.', '/')}.py: step 'lens' is used twice; src/paradox/a.py "
        "has it",
        "src/paradox/b.py: step 'probes' is used twice; "
        f"src/{STEPS['probes'].replace('.', '/')}.py has it",
    ]


def test_everything_is_said_at_once_when_a_run_is_planned(
    made: Made, monkeypatch: pytest.MonkeyPatch, smoke_config: dict[str, Any]
) -> None:
    lens = LENS
    chosen = [
        *("question", "need", "lock", "setting", "table that is kept", "step of a summary"),
        *("role", "what is gathered", "caption", "claim", "null", "margin", "source", "section"),
        *("function of a page", "function of a curve", "way of counting", "shared key"),
    ]
    for name in chosen:
        lens = lens.replace(*CASES[name][:2])
    registry = made(lens, broken="import nowhere\n", bare="DECLARATION = 3\n")
    monkeypatch.setattr(registries, "REGISTRY", registry)
    with pytest.raises(ConfigError) as caught:
        Study.load(smoke_config, ROOT)
    title, *lines = str(caught.value).splitlines()
    assert title == "What is declared cannot be used:"
    said = [HERE + CASES[name][2] for name in chosen]
    said += ["src/madeup/broken/declare.py: cannot be imported (ModuleNotFoundError: No module"]
    said += ["src/madeup/bare/declare.py: DECLARATION = int; it must be a Declaration"]
    assert len(lines) == len(said) == 20
    for start in said:
        assert len([line for line in lines if line.startswith(f"  - {start}")]) == 1, start


# --- the files beside declarations ------------------------------------------------------------


def changed(root: Path, file: str, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change a file of the configuration in a copy of it."""
    if not (root / "config").exists():
        shutil.copytree(ROOT / "config", root / "config")
    content = yaml.safe_load((root / file).read_text())
    change(content)
    (root / file).write_text(yaml.safe_dump(content))


def test_a_declared_section_needs_sizes_in_a_scale(
    tmp_path: Path, smoke_config: dict[str, Any]
) -> None:
    def without(content: dict[str, Any]) -> None:
        del content["mechanisms"]["steering"], content["mechanisms"]["probes"]["folds"]

    changed(tmp_path, "config/scales/smoke.yaml", without)
    with pytest.raises(ConfigError) as caught:
        Study.load(smoke_config, tmp_path)
    file = "config/scales/smoke.yaml"
    said = str(caught.value).splitlines()
    assert f"  - {file}: key 'mechanisms.probes.folds' is missing" in said
    (told,) = [line for line in said if "mechanisms.steering" in line]
    assert told.startswith(f"  - {file}: key 'mechanisms.steering' is missing; it holds: neurons,")


def test_figures_of_grids_are_drawn_by_something(
    tmp_path: Path, smoke_config: dict[str, Any]
) -> None:
    # Whatever is drawn has a caption, so captions know all figures.
    assert set(captions.FIGURES) == {*BEHAVIOUR, *REGISTRY.figures, "clipping"}
    changed(tmp_path, "config/grids/default.yaml", lambda grid: grid["figures"].insert(1, "memry"))
    changed(tmp_path, "config/grids/rewards.yaml", lambda grid: grid["figures"].insert(0, "lense"))
    with pytest.raises(ConfigError) as caught:
        Study.load(merge(smoke_config, {"grid": "full"}), tmp_path)
    for place, meant in (
        ("default.yaml: figures[1] = 'memry'", "memory"),
        ("rewards.yaml: figures[0] = 'lense'", "lens"),
    ):
        (line,) = [text for text in str(caught.value).splitlines() if place in text]
        assert f"config/grids/{place} is not a figure; allowed: accuracy, " in line
        assert line.endswith(f"Did you mean {meant!r}?")
