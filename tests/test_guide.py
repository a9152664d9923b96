"""The reading guide: pages have all parts, symbols are columns, quoted messages are real."""

from __future__ import annotations

import functools
import json
import re
import shlex
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from conftest import ROOT
from test_docs import TEXTS, _agrees, prose

from paradox.__main__ import main
from paradox.errors import DataError, ParadoxError
from paradox.files import atomic_path, read_table, require_disk_space, write_table
from paradox.models import load_model
from paradox.pages.guide import PARTS
from paradox.progress import Progress
from paradox.provenance.manifest import read_manifest
from paradox.report.guide import BEGIN, END, FILE, index
from paradox.restore import configured
from paradox.study.registry import FOLDER, REGISTRY
from paradox.tasks.api import ITEM_COLUMNS

GUIDE = ROOT / "docs/guide"
FOLDERS = {folder: FOLDER / folder / "README.md" for folder in REGISTRY.declarations}
PAGES = list(FOLDERS.values())
TABLES = [ROOT / "reference/tiny/tables", ROOT / "reference/tiny/grids/clipping/tables"]
TABLES += [ROOT / "reference/tiny/grids/methods/tables"]
UP = re.escape("../../../../")
LINES = 92  # a screen and a half, about


@pytest.mark.parametrize("path", PAGES, ids=FOLDERS)
def test_a_page_has_all_parts_a_figure_and_its_place(path: Path) -> None:
    text = path.read_text()
    heads = re.findall(r"^## (.*)$", text, re.M)
    assert [head for head in heads for part in PARTS if head.startswith(part)] == heads
    assert len(heads) == len(PARTS)
    shown = re.findall(rf"^!\[[^\]]+\]\({UP}reference/tiny/[\w/]*?(\w+)\.png\)$", text, re.M)
    declared = REGISTRY.declarations[path.parent.name]
    # Of a grid that is not recorded, a page names the figure that a run makes.
    elsewhere = re.findall(r"`results/<scale>/grids/(\w+)/figures/\w+\.svg`", text)
    assert not any((ROOT / "reference/tiny/grids" / grid).exists() for grid in elsewhere)
    assert (shown or elsewhere) and set(declared.figures) <= set(shown)
    assert "```math\n" in text and text.count("\n") <= LINES
    assert text.split("\n")[2] == f"*{declared.question}*"


@pytest.mark.parametrize("path", PAGES, ids=FOLDERS)
def test_a_page_names_the_claims_of_its_analysis(path: Path) -> None:
    text = path.read_text()
    for signature in REGISTRY.declarations[path.parent.name].signatures:
        assert f"`{signature.name.partition(': ')[2] or signature.name}`" in text, signature.name


def test_the_index_is_what_the_declarations_say() -> None:
    text = (GUIDE / "README.md").read_text()
    assert text.partition(f"{BEGIN}\n")[2].partition(END)[0] == index(), "run `make schema`"
    listed = re.findall(r"^\| \[[^\]]+\]\(\.\./\.\./(\S+)\) \| \S", text, re.M)
    assert [ROOT / address for address in listed] == PAGES


def test_the_command_writes_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / FILE).read_text()
    copy = tmp_path / FILE
    copy.parent.mkdir(parents=True)
    copy.write_text(text.replace(index(), "| nothing |\n"))
    monkeypatch.chdir(tmp_path)
    assert main(["guide"]) == 0 and copy.read_text() == text
    copy.write_text("no marks")
    assert main(["guide"]) == 1


def test_a_folder_without_a_page_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lens").mkdir()
    registry: Any = SimpleNamespace(folder=tmp_path, declarations={"lens": None}, package="p")
    for text in (None, "No title.\n"):
        if text:
            (tmp_path / "lens/README.md").write_text(text)
        with pytest.raises(DataError, match=r"lens/README\.md: a page of the guide begins with"):
            index(registry)


@functools.cache
def _words(table: Path) -> frozenset[str]:
    """Return a table's columns and, of those that are text, its values."""
    if table.suffix == ".parquet":
        found = pq.read_table(table).to_pandas()
    else:
        found = pd.read_csv(table)
    texts = [
        found[name].dropna() for name in found if not pd.api.types.is_numeric_dtype(found[name])
    ]
    return frozenset(found) | {str(value) for column in texts for value in column.unique()}


@pytest.mark.parametrize("path", PAGES, ids=FOLDERS)
def test_symbols_are_columns_of_recorded_tables(path: Path) -> None:
    rows = [line for line in path.read_text().splitlines() if line.startswith("|")]
    named = 0
    for line in rows:
        for column, table, values in re.findall(
            r"`(\w+)` of `(\w+)`((?:[:,] `\w+`(?! of))*)", line
        ):
            files = [file for folder in TABLES for file in folder.glob(f"{table}.*")]
            files = [file for file in files if file.suffix in (".csv", ".parquet")]
            named += 1
            if not files:
                pytest.skip(f"the reference has no table {table} yet")
            for name in [column, *re.findall(r"\w+", values)]:
                # A table of one grid may be empty where that of another is not.
                assert any(name in _words(file) for file in files), f"{table} has no {name}"
    assert named > 3


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_and_sections_exist(path: Path) -> None:
    text = prose(path)
    for name in re.findall(r"`(?:python -m )?paradox\.([\w.]+)`", text):
        parts = name.split(".")
        file = ROOT / "src/paradox" / "/".join(parts)
        found = file.with_suffix(".py").exists() or (file / "__init__.py").exists()
        within = [file.parent.with_suffix(".py"), file.parent / "__init__.py"]
        found = found or any(one.exists() and parts[-1] in one.read_text() for one in within)
        assert found, f"{path.name} names {name}"
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", text):
        if "://" not in target:
            other = path.parent / target if target else path
            heads = re.findall(r"^#+ (.*)$", other.read_text(), re.M)
            slugs = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
            assert anchor in slugs, f"{path.name}: {target}#{anchor}"


def test_the_tolerances_are_those_of_the_tests() -> None:
    text = (GUIDE / "numerics.md").read_text()
    rows = re.findall(r"\| `(tests/\w+\.py)`, `(test_\w+)` \| `(.*?)` \|", text)
    assert len(rows) > 5
    for file, name, tolerance in rows:
        body = re.search(
            rf"^def {name}\(.*?(?=^def |^@|\Z)", (ROOT / file).read_text(), re.M | re.S
        )
        assert body and tolerance in body.group(), f"{file}: {name} has no {tolerance}"
    written = "".join(file.read_text() for file in (ROOT / "tests").glob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", text))
    assert [name for name in named if f"def {name}(" not in written] == []


# --- messages -------------------------------------------------------------------------------

ERRORS = (GUIDE / "errors.md").read_text()
BLOCKS = re.findall(r"```console\n(?:\$ (.*?)\n)?(.*?)```", ERRORS, re.S)
GIVEN = [
    (command, said)
    for command, said in BLOCKS
    if command.startswith("paradox plan --config") and "KEY=VALUE" not in said
]


@pytest.mark.parametrize(("command", "said"), GIVEN, ids=[command for command, _ in GIVEN])
def test_the_messages_of_a_configuration(command: str, said: str) -> None:
    with pytest.raises(ParadoxError) as error:
        configured(ROOT, shlex.split(command)[3:])
    lines = [line for line in said.splitlines() if line not in ("", "...")]
    lines = [line for line in lines if not line.startswith("ERROR: WorkflowError")]
    # Only what Snakemake hands over as text is said to come from the command line.
    told = str(error.value)
    assert lines and [line for line in lines if not _agrees(line, told)] == []


def _quoted(start: str) -> str:
    """Return the block of the page that says so."""
    (found,) = [said for _, said in BLOCKS if start in said]
    return found


def _table(folder: Path, _: Path) -> None:
    table = pd.DataFrame({name: ["1"] for name in ITEM_COLUMNS})
    write_table(
        folder / "items.csv", table.rename(columns={"exposure": "exposre", "answer": "anwser"})
    )
    read_table(folder / "items.csv", ITEM_COLUMNS)


def _corrupt(_: Path, arm: Path) -> None:
    file = arm / "step-0/model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    read_manifest(arm / "manifest.json")


def _pickled(_: Path, arm: Path) -> None:
    manifest = json.loads((arm / "manifest.json").read_text())
    extra = {"path": "pytorch_model.bin", "bytes": 1, "sha256": "0"}
    manifest["checkpoints"][0]["files"] = [extra]
    (arm / "manifest.json").write_text(json.dumps(manifest))
    read_manifest(arm / "manifest.json")


def _full(folder: Path, _: Path) -> None:
    with atomic_path(folder / "items.csv"):
        raise OSError(28, "No space left on device")


def _diverged(*_: Path) -> None:
    from paradox.train.callbacks import Watch

    state: Any = SimpleNamespace(global_step=12, max_steps=80, log_history=[])
    watch = Watch(Progress("train contaminated/grpo/format/s0"))
    watch.on_log(None, state, None, logs={"loss": float("nan")})  # type: ignore[arg-type]


def _few(*_: Path) -> None:
    import numpy as np

    from paradox.mechanisms.clipping.drift import blocks

    blocks(np.zeros((3, 4)), 8)


# What provokes a message that is quoted, and words by which its block is found.
PROVOKED: dict[str, Callable[[Path, Path], Any]] = {
    "malformed table": _table,
    "corrupt: found sha256": _corrupt,
    "pickled files": _pickled,
    "no checkpoint there": lambda folder, _: load_model(folder / "mine"),
    "no disk space left: found": lambda folder, _: require_disk_space(folder, 1e12),
    "no disk space left while": _full,
    "is not finite": _diverged,
    "8 seeds need": _few,
}


@pytest.mark.parametrize("start", PROVOKED)
def test_the_messages_of_steps(start: str, tmp_path: Path, tiny_checkpoint: Path) -> None:
    arm = Path(shutil.copytree(tiny_checkpoint, tmp_path / "arm"))
    with pytest.raises(ParadoxError) as error:
        PROVOKED[start](tmp_path, arm)
    said = str(error.value)
    for line in _quoted(start).splitlines():
        # Names of files, sizes and hashes are those of the run that was quoted.
        words = re.sub(
            r"\[data\] ERROR: |[\w./-]*/[\w./-]+|\b[0-9a-f]{12}\b|\b\d{4,}\b", "...", line
        )
        assert _agrees(words, said), f"{line}\n{said}"


# --- citation -------------------------------------------------------------------------------


def test_the_citation_is_of_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    assert str(cited["version"]) == project["version"] and cited["type"] == "software"
    based = re.findall(r"\b(\d{4}\.\d{5})\b", (ROOT / "README.md").read_text())
    assert sorted(re.findall(r"abs/(\S+)'", str(cited["references"]))) == sorted(set(based))
    assert cited["license"] == project["license"] == "Apache-2.0"
    assert (
        "Apache License\n                           Version 2.0" in (ROOT / "LICENSE").read_text()
    )
