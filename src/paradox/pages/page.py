"""Self-contained HTML: no script, no font and no image comes from elsewhere."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from paradox.errors import DataError
from paradox.files import read_json
from paradox.provenance.identity import mark

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
       max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; }
img { max-width: 100%; height: auto; }
figure { margin: 1.5rem 0; }
figcaption { color: #444; font-size: .92rem; }
code { overflow-wrap: anywhere; }
nav ul { columns: 18rem; padding-left: 1.2rem; }
pre { overflow-x: auto; font-size: .85rem; }
pre code { overflow-wrap: normal; }
summary { cursor: pointer; }
.wide { overflow-x: auto; margin: 1rem 0; }
.wide:focus-visible { outline: 3px solid #0b57a4; }
caption { text-align: left; padding: .25rem 0; color: #444; }
table { border-collapse: collapse; font-size: .88rem; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #ddd; text-align: left;
         vertical-align: top; }
td { font-variant-numeric: tabular-nums; }
.number { white-space: nowrap; }
td code { white-space: pre-wrap; }
"""
# A value with its interval, which stays on one line.
INTERVAL = re.compile(r"[-+\d.]+ \[[-+\d., ]+\]")
# A browser loads nothing for such a page, whatever stands in it.
POLICY = (
    '<meta http-equiv="Content-Security-Policy"\n'
    " content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
)


def document(title: str, body: str) -> str:
    """Return a whole HTML page around `body` (HTML), with the running step's derivation id."""
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{POLICY}\n{head(title)}\n</head>\n'
        f"<body>\n{body.strip()}\n</body>\n</html>\n"
    )


def head(title: str) -> str:
    """Return what stands in every page's head (HTML), the derivation id among it."""
    known = f'<meta name="identifier" content="{mark()}">\n' if mark() else ""
    return (
        '<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"{known}<title>{html.escape(title)}</title>\n<style>{STYLE}</style>"
    )


def paragraphs(sentences: Sequence[str]) -> str:
    """Return sentences as an HTML list; their text is escaped."""
    return "<ul>" + "".join(f"<li>{html.escape(text)}</li>" for text in sentences) + "</ul>"


def sentences(text: str) -> list[str]:
    """Return the sentences of a paragraph.

    >>> sentences("It moves (p = .01). In the clean base it stays at .5 nats.")
    ['It moves (p = .01).', 'In the clean base it stays at .5 nats.']
    """
    return re.split(r"(?<=\.) (?=[A-Z])", text)


def image(path: Path, caption: str, below: str = "") -> str:
    """Return an svg file as an embedded image with its caption (text), and HTML `below` it."""
    return _figure(picture(path, caption), caption, below)


def chart(svg: str, caption: str) -> str:
    """Return svg text as an embedded image with its caption (text)."""
    return _figure(_embedded(svg.encode(), caption), caption)


def _figure(picture: str, caption: str, below: str = "") -> str:
    text = html.escape(caption)
    return f"<figure>{picture}<figcaption>{text}{below}</figcaption></figure>"


def picture(path: Path, alt: str) -> str:
    """Return an svg file as an embedded image; `alt` is its text for those who cannot see it."""
    try:
        return _embedded(Path(path).read_bytes(), alt)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from None


def _embedded(svg: bytes, alt: str) -> str:
    data = base64.b64encode(svg).decode("ascii")
    return f'<img alt="{html.escape(alt)}" src="data:image/svg+xml;base64,{data}">'


def origin(path: Path, up: str = "") -> str:
    """Return the line under a figure that says what it was made from (HTML).

    Empty when no record lies beside the figure: it was drawn outside the workflow. `up` leads from
    the page to the folder of the lineage page.
    """
    source = Path(path).with_suffix(".record.json")
    if not source.exists():
        return ""
    # Not checked here: the runner has compared the figure with this record.
    record = read_json(source)
    tables = sorted({e["path"].split("/")[-1] for part in record["inputs"].values() for e in part})
    drawn = record["outputs"]["svg"][0]["path"]
    return (
        f"<br><small>Derivation <code>{html.escape(record['derivation'][:12])}</code>, made from "
        f"{html.escape(', '.join(tables))} ({link(chain(record['path'], up), 'its whole chain')}); "
        f"to trace it: <code>paradox trace {html.escape(drawn)}</code></small>"
    )


def chain(record: str, up: str = "") -> str:
    """Return the place in the lineage page that shows a record's chain.

    >>> chain("results/tiny/runs/clean/base/none/s0/train.record.json", "../")
    '../lineage.html#runs/clean/base/none/s0/train'
    """
    return f"{up}lineage.html#{record.split('/', 2)[2].removesuffix('.record.json')}"


def link(address: str, text: str) -> str:
    """Return a link (HTML) to a page or to a place in one; both parts are escaped."""
    return f'<a href="{html.escape(address)}">{html.escape(text)}</a>'


def links(texts: dict[str, str]) -> str:
    """Return a line of links (HTML): address -> text."""
    return "<p>" + " · ".join(link(*pair) for pair in texts.items()) + "</p>"


def with_contents(body: str) -> str:
    """Return HTML with a name for each second heading and, under the title, links to them."""
    titles: list[str] = []

    def named(match: re.Match[str]) -> str:
        titles.append(match.group(1))
        return f'<h2 id="part-{len(titles)}">{match.group(1)}</h2>'

    body = re.sub(r"<h2[^>]*>(.*?)</h2>", named, body, flags=re.DOTALL)
    items = "".join(
        f'<li><a href="#part-{place}">{re.sub("<[^>]+>", "", title)}</a></li>'
        for place, title in enumerate(titles, start=1)
    )
    contents = f'<nav aria-label="Contents"><ul>{items}</ul></nav>' if titles else ""
    return body.replace("</h1>", f"</h1>\n{contents}", 1)


def table(
    rows: pd.DataFrame, code: Sequence[str] = (), caption: str = "", raw: Sequence[str] = ()
) -> str:
    """Return a table as HTML that scrolls in a box of its own.

    Columns in `code` keep their spaces; those in `raw` hold HTML, every other cell is escaped.
    """
    head = "".join(f'<th scope="col">{html.escape(str(name))}</th>' for name in rows.columns)
    lines = []
    for row in rows.to_dict("records"):
        cells = []
        for name, value in row.items():
            text = "" if value is None or value is pd.NA or value != value else str(value)
            kind = ' class="number"' if INTERVAL.fullmatch(text) else ""
            text = text if name in raw else html.escape(text)
            text = f"<code>{text}</code>" if name in code else text
            cells.append(f"<td{kind}>{text}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    body = "\n".join(lines)
    return boxed(f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody>", caption)


def boxed(content: str, caption: str = "") -> str:
    """Return head and body of a table (HTML), with its caption (text), in a box that scrolls."""
    said = html.escape(caption)
    content = (f"<caption>{said}</caption>" if caption else "") + content
    # Who has no mouse scrolls a box by giving it the focus.
    box = f'<div class="wide" tabindex="0" role="region" aria-label="{said or "Table"}">'
    return f"{box}<table>{content}</table></div>"


def excerpt(rows: pd.DataFrame, path: Path, caption: str, most: int = 60) -> str:
    """Return the first rows of a table, folded in, with the path of the whole file.

    Columns that say the same in every row are said once, in the caption.
    """
    same = [name for name in rows if len(rows) > 1 and rows[name].nunique(dropna=False) == 1]
    said = "; ".join(f"{name} {rows[name].iloc[0]}" for name in same if rows[name].notna().all())
    first = rows.drop(columns=same).head(most)
    for name in first.select_dtypes("float"):
        first[name] = [f"{value:.4g}" if np.isfinite(value) else "" for value in first[name]]
    shown = f"{len(first)} of {len(rows)} rows" if len(first) < len(rows) else f"{len(rows)} rows"
    about = f"{caption} In every row: {said}." if said else caption
    return (
        f"<details><summary>The numbers ({shown})</summary>"
        f"<p>The whole table: <code>{html.escape(str(path))}</code></p>"
        f"{table(first, caption=about)}</details>"
    )


def folded(title: str, content: str) -> str:
    """Return HTML folded in under its title (text)."""
    return f"<details><summary>{html.escape(title)}</summary>{content}</details>"


def estimates(rows: pd.DataFrame, columns: dict[str, str], scale: float = 100) -> pd.DataFrame:
    """Return printable estimates: ``value [low, high]``, times `scale`, empty where there is none.

    `columns` gives a heading to each; ``{column}_low`` and ``{column}_high`` hold the interval.
    """
    printed = pd.DataFrame(index=rows.index)
    for name, heading in columns.items():
        if rows[name].notna().any():
            parts = [scale * rows[f"{name}{end}"].astype(float) for end in ("", "_low", "_high")]
            printed[heading] = [
                f"{value:.1f} [{low:.1f}, {high:.1f}]" if np.isfinite(value) else ""
                for value, low, high in zip(*parts, strict=True)
            ]
    return printed
