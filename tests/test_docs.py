"""Texts: every path and command in them exists, every number comes from the reference."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT

from paradox.__main__ import _parser
from paradox.figures.blocks import BEGIN, arms_block, blocks, with_block

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


def test_texts_quote_the_reference() -> None:
    found = blocks(ROOT / "reference/tiny")
    assert {"README.md"} <= set(found)
    for file, block in found.items():
        text = (ROOT / file).read_text()
        assert with_block(text, block, file) == text, file
    marked = {str(path.relative_to(ROOT)) for path in TEXTS if BEGIN in path.read_text()}
    assert marked == set(found), "a table that nothing writes"


def test_a_table_of_arms_says_what_did_says() -> None:
    columns = ["base", "method", "reward", "seed", "did", "did_low", "did_high"]
    rows = pd.DataFrame(
        [
            ["clean", "grpo", "format", "all", 0.021, -0.01, 0.049],
            ["contaminated", "grpo", "format", "all", 0.324, 0.296, 0.351],
            ["contaminated", "grpo", "format", "0", 0.9, 0.8, 1.0],
        ],
        columns=columns,
    )
    for name in ("exposed_gain", "twin_gain"):
        rows[[name, f"{name}_low", f"{name}_high"]] = [[-0.1, -0.2, 0.0]] * 3
    lines = arms_block(rows).splitlines()
    gains = "-0.10 [-0.20, +0.00] | -0.10 [-0.20, +0.00]"
    assert lines[2:] == [
        f"| Format | contaminated | {gains} | +0.32 [+0.30, +0.35] |",
        f"| Format | clean | {gains} | +0.02 [-0.01, +0.05] |",
    ]


def test_the_conda_environment_is_the_lock() -> None:
    lock = re.findall(r"^([\w.-]+==[^\s;\\]+)", (ROOT / "envs/cpu.lock").read_text(), re.M)
    conda = re.findall(r"- ([\w.-]+==\S+)", (ROOT / "envs/conda.yaml").read_text())
    assert conda == lock
