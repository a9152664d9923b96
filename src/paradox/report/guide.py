"""The reading guide's index: a row per analysis, from declarations and the pages' titles."""

from __future__ import annotations

import re
from pathlib import Path

from paradox.errors import DataError
from paradox.files import write_text
from paradox.report.blocks import with_block
from paradox.study.registry import REGISTRY, Registry

FILE = "docs/guide/README.md"
BEGIN = "<!-- pages: begin (written by `python -m paradox guide`) -->"
END = "<!-- pages: end -->"
UP = "../../src"


def index(registry: Registry = REGISTRY) -> str:
    """Return the table of pages: title, question and shown figures of every analysis.

    A folder without a page, or a page without a title, is a `DataError`.
    """
    lines = ["| page | question | figures |", "|---|---|---|"]
    for folder, declaration in registry.declarations.items():
        path = registry.folder / folder / "README.md"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        title = re.match(r"# (.+)\n", text)
        if title is None:
            raise DataError(f"{path}: a page of the guide begins with its title (# Title).")
        address = f"{UP}/{registry.package.replace('.', '/')}/{folder}/README.md"
        # Those of the figures on behaviour, too, which no analysis declares.
        figures = ", ".join(f"`{name}`" for name in re.findall(r"/figures/(\w+)\.png\)", text))
        lines.append(f"| [{title[1]}]({address}) | {declaration.question} | {figures} |")
    return "\n".join(lines) + "\n"


def write_index(root: Path) -> None:
    """Write the index into the guide below `root`."""
    path = root / FILE
    text = with_block(path.read_text(encoding="utf-8"), index(), FILE, (BEGIN, END))
    write_text(path, text)
