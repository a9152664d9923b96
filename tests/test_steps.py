"""Which source files a step's result depends on."""

from __future__ import annotations

from pathlib import Path

import pytest

from paradox import steps


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a package whose only step is ``paradox.outer.inner.step``."""
    folder = tmp_path / "paradox"
    (folder / "outer/inner").mkdir(parents=True)
    for name in ("", "outer/", "outer/inner/"):
        (folder / f"{name}__init__.py").write_text("")
    (folder / "outer/inner/step.py").write_text("")
    monkeypatch.setattr(steps, "PACKAGE", folder)
    monkeypatch.setattr(steps, "STEPS", {"step": "paradox.outer.inner.step"})
    monkeypatch.chdir(tmp_path)
    return folder


def test_every_package_above_a_module_belongs_to_its_code(package: Path) -> None:
    (package / "outer/__init__.py").write_text("import paradox.loaded_above\n")
    (package / "loaded_above.py").write_text("")
    assert steps.code("step") == [
        "paradox/__init__.py",
        "paradox/loaded_above.py",
        "paradox/outer/__init__.py",
        "paradox/outer/inner/__init__.py",
        "paradox/outer/inner/step.py",
    ]


@pytest.mark.parametrize(
    "line, file",
    [
        ("from . import beside", "outer/inner/beside.py"),
        ("from .beside import name", "outer/inner/beside.py"),
        ("from .. import above", "outer/above.py"),
        ("from ...top import name", "top.py"),
    ],
)
def test_relative_imports_belong_to_a_steps_code(package: Path, line: str, file: str) -> None:
    (package / file).write_text("name = 1\n")
    (package / "outer/inner/step.py").write_text(f"def late():\n    {line}\n")
    assert f"paradox/{file}" in steps.code("step")


def test_a_relative_import_in_a_package_is_of_that_package(package: Path) -> None:
    (package / "outer/inner/__init__.py").write_text("from . import beside\n")
    (package / "outer/inner/beside.py").write_text("")
    assert "paradox/outer/inner/beside.py" in steps.code("step")


def test_the_shortest_chain_of_imports_is_named(package: Path) -> None:
    step = "paradox.outer.inner.step"
    (package / "outer/inner/step.py").write_text("import paradox.a, paradox.b\n")
    for name, imported in (("a", "c"), ("b", "d"), ("d", "c"), ("loaded", "e")):
        (package / f"{name}.py").write_text(f"import paradox.{imported}\n")
    for name in ("c", "e"):
        (package / f"{name}.py").write_text("")
    importers = steps.imports_of("step", "paradox.loaded")
    assert sorted(importers) == steps.code("step", "paradox.loaded")

    def chain(file: str) -> list[str]:
        return steps.chain_of_imports(f"paradox/{file}", importers)

    assert chain("outer/inner/step.py") == [step]
    assert chain("c.py") == [step, "paradox.a", "paradox.c"]
    assert chain("d.py") == [step, "paradox.b", "paradox.d"]
    assert chain("e.py") == ["paradox.loaded", "paradox.e"]
    assert chain("outer/__init__.py") == [step, "paradox.outer"]
