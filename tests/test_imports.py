"""What may import what: read from the syntax trees, so that a step's code is what it computes."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from conftest import ROOT
from told_fixture import mechanisms

from paradox import steps
from paradox.steps import PACKAGE, STEPS, code, folders
from paradox.study.mechanisms import FIGURES, SUMMARIES
from paradox.study.pages import Pages
from paradox.study.registry import REGISTRY
from paradox.tasks import module_of

FOLDER = PACKAGE / "mechanisms"
MODULES = [path for path in sorted(FOLDER.rglob("*.py")) if path.name != "__init__.py"]
# What modules of analyses may import beside the model, the tables and figures: it knows of none.
LEAVES = {
    "arms",
    "errors",
    "files",
    "models",
    "progress",
    "seeds",
    "tokenizer",
    "provenance.manifest",
}
LEAVES |= {"evaluate.arms", "figures.names", "pages.page", "tasks.api"}
# Packages whose __init__.py is more than a docstring, and why.
MORE = {
    "paradox": "the version, which tools look for there",
    "paradox.rewards": "the contract of reward files, which stand beside it by name",
    "paradox.tasks": "what loads a task by the name of its kind",
}


@cache
def imports(path: Path) -> frozenset[str]:
    """Return the names of all modules that a file imports, anywhere in it."""
    return frozenset(steps._imports(path))


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Let each file be read once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "_imports", cache(steps._imports))
        yield


def name_of(path: Path) -> str:
    """Return a file's dotted name."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> set[str]:
    """Return the modules of the package that a file imports, packages left out."""
    files = (steps._file(name) for name in imports(path))
    return {name_of(file) for file in files if file and file.name != "__init__.py"}


@cache
def closures() -> dict[str, tuple[str, frozenset[str]]]:
    """Return the step and the code of all that is made: steps alone, and with what they load."""
    tasks = [module_of(kind) for kind in folders("tasks")]
    made = {step: (step, code(step, *tasks)) for step in STEPS}
    for kind, declared in (("table", SUMMARIES), ("figure", FIGURES)):
        for name, each in declared.items():
            made[f"{kind} {name}"] = each.step, mechanisms().code(each)
    pages = Pages(mechanisms().study, mechanisms())
    made["arm_page with readers"] = "arm_page", code("arm_page", *pages.arm_modules())
    return {
        name: (step, frozenset(str(ROOT / file) for file in files))
        for name, (step, files) in made.items()
    }


def closure(module: str) -> list[str]:
    """Return the files behind a module that is no step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STEPS, "any", module)
        return [str(ROOT / file) for file in code("any")]


# --- registration -----------------------------------------------------------------------------


def test_declarations_import_nothing_but_their_words() -> None:
    own = {name for name in imports(PACKAGE / "declare.py") if name.split(".")[0] == "paradox"}
    assert own == set()
    files = [path for path in PACKAGE.rglob("declare.py") if path.parent != PACKAGE]
    every = [*REGISTRY.declarations, *folders("tasks"), *folders("train")]
    assert sorted(path.parent.name for path in files) == sorted(every) and len(files) > 20
    outside = {*sys.stdlib_module_names, "pydantic"}
    for path in files:
        wrong = [
            name
            for name in imports(path)
            if name.split(".")[0] not in outside and not f"{name}.".startswith("paradox.declare.")
        ]
        assert wrong == [], path


def test_no_step_holds_a_declaration_or_the_plan() -> None:
    assert len(closures()) > len(STEPS) > 50
    for name, (_, files) in closures().items():
        wrong = [file for file in files if file.endswith("/declare.py") or "/study/" in file]
        assert wrong == [], name


# --- packages ---------------------------------------------------------------------------------


def test_a_package_is_a_docstring() -> None:
    for path in sorted(PACKAGE.rglob("__init__.py")):
        body = ast.parse(path.read_text()).body
        assert isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant), path
        assert len(body) == 1 or name_of(path) in MORE, path


def test_imports_are_absolute() -> None:
    folders = [ROOT / name for name in ("src", "tests", "benchmarks", "workflow")]
    files = [path for folder in folders for path in folder.rglob("*.py")]
    assert len(files) > 250
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            assert not isinstance(node, ast.ImportFrom) or node.level == 0, (path, node.lineno)


# --- the folders of mechanisms ----------------------------------------------------------------


def test_tables_are_read_without_torch() -> None:
    for path in sorted((FOLDER / "tables").glob("*.py")):
        files = closure(name_of(path))
        wrong = [file for file in files if steps.TORCH.search(Path(file).read_text())]
        assert wrong == [], path
        assert {name for name in imported(path) if name.startswith("paradox.mechanisms.")} <= {
            name_of(other) for other in (FOLDER / "tables").glob("*.py")
        }


def test_the_model_knows_of_tables_only_their_pairs() -> None:
    for path in (FOLDER / "model").glob("*.py"):
        inside = {name for name in imported(path) if name.startswith("paradox.mechanisms.")}
        others = {name for name in inside if not name.startswith("paradox.mechanisms.model.")}
        assert others <= {"paradox.mechanisms.tables.pairs"}, path


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_an_analysis_imports_what_is_shared_and_itself(path: Path) -> None:
    folder = path.relative_to(FOLDER).parts[0]
    inside = ("model", "tables") if folder in ("model", "tables") else ("model", "tables", folder)
    allowed = [f"paradox.mechanisms.{name}." for name in inside]
    allowed += ["paradox.stats.", "paradox.declare"]
    if path.name.endswith("figure.py"):
        allowed = ["paradox.mechanisms.tables.", f"paradox.mechanisms.{folder}."]
        allowed += ["paradox.figures."]
    wrong = {name for name in imported(path) if not name.startswith(tuple(allowed))}
    assert wrong <= {f"paradox.{name}" for name in LEAVES}


def test_a_figure_holds_no_other_step() -> None:
    modules = set(STEPS.values())
    drawing = [path for path in MODULES if path.name.endswith("figure.py")]
    assert len(drawing) > 10
    for path in drawing:
        assert name_of(path) in modules
        held = {name_of(Path(file)) for file in closure(name_of(path))}
        assert held & modules == {name_of(path)}, path


# --- one analysis edited ----------------------------------------------------------------------

ANALYSES = [name for name in REGISTRY.declarations if name != "overview"]
# By what a module says of its folder: the step that loads it by name.
LOADED = {"signature": "signatures", "contrast": "memory_figure", "rates": "error_rates"}
LOADED |= {"arm": "arm_page"}
EDITED = [path for path in MODULES if path.parent.name in ANALYSES and path.name != "declare.py"]


@pytest.mark.parametrize("path", EDITED, ids=lambda path: str(path.relative_to(FOLDER)))
def test_an_edit_reaches_its_analysis_and_what_loads_it(path: Path) -> None:
    """A comment in a file is an edit: what holds the file runs again, and nothing else does."""
    folder = path.parent.name
    before = f"paradox.mechanisms.{folder}."
    reached = {step for step, files in closures().values() if str(path) in files}
    others = {step for step in reached if not STEPS[step].startswith(before)}
    assert reached
    if path.stem in LOADED:
        assert LOADED[path.stem] in others
    overview = {step for step in others if STEPS[step].startswith("paradox.mechanisms.overview.")}
    allowed = {"arm_page"} if path.stem == "arm" else set()
    # The paper says how little there was to clip from the limit that this reading has.
    allowed |= {"paper"} if folder == "clipping" else set()
    assert others - overview <= allowed
    assert overview <= {LOADED.get(path.stem)}
