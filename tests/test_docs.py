"""Texts: every path and command in them exists, every number comes from the reference."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import ROOT

from paradox.__main__ import _parser
from paradox.figures.words import Numbers
from paradox.reference import readme_block, with_block

TEXTS = [ROOT / "README.md", ROOT / "config/README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Folders that a run makes; everything else that looks like a path must be in the tree.
MADE = ("results/", "logs/", ".venv", "src/paradox/rewards/short.py")
# Columns of a table are named like paths.
MADE += ("share/", "logged/")


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_paths_exist(path: Path) -> None:
    text = path.read_text()
    quoted = re.findall(r"`([\w.-]+/[\w./-]*)`", text)
    linked = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    for name in [*quoted, *linked]:
        if not name.startswith(MADE):
            found = (ROOT / name).exists() or (path.parent / name).exists()
            assert found, f"{path.name} names {name}"


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_make_targets_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for target in re.findall(r"(?<!\w)make ([a-z][a-z-]+)(?:`|\n|$| )", path.read_text()):
        assert target in targets, f"{path.name} names make {target}"


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_commands_exist(path: Path) -> None:
    called = re.findall(r"(?:^|[`/] ?|^ +|-m )paradox ([a-z]+)", path.read_text(), re.MULTILINE)
    known = set(re.findall(r"^    ([a-z]+)(?: |$)", _parser().format_help(), re.MULTILINE))
    assert {"trace", "run"} <= known
    assert set(called) <= known, f"{path.name} names another command"


def test_the_readme_quotes_the_reference() -> None:
    text = (ROOT / "README.md").read_text()
    numbers = Numbers.read(ROOT / "reference/tiny/tables/summary.json")
    assert with_block(text, readme_block(numbers)) == text


def test_the_conda_environment_is_the_lock() -> None:
    lock = re.findall(r"^([\w.-]+==[^\s;\\]+)", (ROOT / "envs/cpu.lock").read_text(), re.M)
    conda = re.findall(r"- ([\w.-]+==\S+)", (ROOT / "envs/conda.yaml").read_text())
    assert conda == lock
