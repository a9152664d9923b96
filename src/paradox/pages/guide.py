"""A page of the reading guide (README.md of an analysis' folder) as parts of an HTML page.

It stands alone: figures and the addresses of links are left out.
"""

from __future__ import annotations

import html
import re
from pathlib import Path

from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from paradox.errors import DataError
from paradox.pages import page

PARTS = ("What it measures", "Formula", "How to read", "What misleads", "Cost", "Known failure")


def parts(path: Path) -> dict[str, tuple[str, str]]:
    """Return the parts of a page of the guide: name -> its heading and its HTML.

    The page is Markdown whose second-level headings begin with `PARTS`; a file that cannot be read
    or lacks a part is a `DataError`.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from None
    sections = dict(re.findall(r"^## (.+)\n((?:(?!## ).*\n?)*)", text, re.MULTILINE))
    named = {part: [head for head in sections if head.startswith(part)] for part in PARTS}
    if missing := [part for part, heads in named.items() if not heads]:
        raise DataError(
            f"{path}: no part {', '.join(map(repr, missing))}; found: {', '.join(sections)}. "
            "A page of the guide has all of them as headings (## ...)."
        )
    return {part: (head, as_html(sections[head], head)) for part, (head, *_) in named.items()}


def as_html(text: str, about: str) -> str:
    r"""Return Markdown as HTML that loads nothing and leads nowhere; its tables are `about` this.

    >>> as_html("[a](b.md) $x_1$, *c* < d\n\n![figure](e.png)\n", "")
    '<p>a <code>x_1</code>, <em>c</em> &lt; d</p>\n'
    """
    return MarkdownWithMath(_Renderer(about)).render(text)


class _Renderer(IPythonRenderer):
    """Writes tables as `page.table` does, formulas as code, and neither links nor images."""

    def __init__(self, about: str) -> None:
        super().__init__(escape=True)
        self.about = about

    def paragraph(self, text: str) -> str:
        """Leave out paragraphs that only held an image."""
        return super().paragraph(text) if text.strip() else ""

    def image(self, text: str, url: str, title: str | None = None) -> str:
        """Leave an image out."""
        return ""

    def link(self, text: str, url: str, title: str | None = None) -> str:
        """Keep a link's text."""
        return text

    def block_code(self, code: str, info: str | None = None) -> str:
        """Show code, and formulas between fences, as written."""
        return f"<pre><code>{html.escape(code)}</code></pre>\n"

    def block_math(self, body: str) -> str:
        """Show a displayed formula as written."""
        return self.block_code(body.strip())

    def inline_math(self, body: str) -> str:
        """Show a formula in a line as written."""
        return f"<code>{html.escape(' '.join(body.split()))}</code>"

    def table(self, text: str) -> str:
        """Return a table with its caption in a box that scrolls."""
        return page.boxed(text, self.about)

    def table_cell(self, text: str, align: str | None = None, head: bool = False) -> str:
        """Return a cell; heads say that they are of columns."""
        return f'<th scope="col">{text}</th>' if head else f"<td>{text}</td>"
