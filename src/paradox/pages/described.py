"""What a module's own text says of it, read without loading the module."""

from __future__ import annotations

import ast
import html
import re
from pathlib import Path

from paradox.errors import DataError

HOW = "How to read"


def parts(path: Path) -> tuple[str, str, str]:
    """Return what a module measures, how its result is read, and its whole text.

    What it measures is the first line without the step's name and the first paragraph, with the
    list that it introduces. How it is read, and what misleads, is the rest from "How to read" on;
    empty where there is none.

    Raises
    ------
    DataError
        When the module has no text.
    """
    text = ast.get_docstring(ast.parse(Path(path).read_text(encoding="utf-8")))
    if not text:
        raise DataError(f"{path}: the module has no docstring to show.")
    first, _, rest = text.partition("\n")
    start = rest.find(HOW)
    before, after = (rest, "") if start < 0 else (rest[:start], rest[start:])
    title = first.partition(": ")[2] or first
    blocks = before.strip().split("\n\n")
    measured = blocks[: 2 if blocks[0].endswith(":") else 1]
    return "\n\n".join([title[0].upper() + title[1:], *measured]), after.strip(), text


def as_html(text: str) -> str:
    r"""Return paragraphs and lists of a docstring as HTML, with its names as code.

    >>> as_html("a ``b``\nc\n\n- *d*")
    '<p>a <code>b</code> c</p><ul><li><em>d</em></li></ul>'
    """
    found = []
    for block in re.split(r"\n\s*\n", text):
        lines = block.strip("\n").split("\n")
        if lines[0].startswith("- "):
            items = re.split(r"\n?^- ", "\n".join(lines), flags=re.M)[1:]
            found.append("<ul>" + "".join(f"<li>{_inline(item)}</li>" for item in items) + "</ul>")
        elif lines[0].startswith("==="):
            found.append(f"<pre>{html.escape(block)}</pre>")
        else:
            found.append(f"<p>{_inline(block)}</p>")
    return "".join(found)


def sentences(text: str) -> list[str]:
    """Return the sentences of a paragraph.

    >>> sentences("It moves (p = .01). In the clean base it stays at .5 nats.")
    ['It moves (p = .01).', 'In the clean base it stays at .5 nats.']
    """
    return re.split(r"(?<=\.) (?=[A-Z])", text)


def _inline(text: str) -> str:
    text = html.escape(" ".join(text.split()), quote=False)
    text = re.sub(r"``(.+?)``|`(.+?)`", lambda m: f"<code>{m[1] or m[2]}</code>", text)
    return re.sub(r"(?<!\w)\*(\S[^*]*?)\*(?!\w)", r"<em>\1</em>", text)
