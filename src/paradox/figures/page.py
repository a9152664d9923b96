"""Self-contained HTML: no script, no font and no image comes from elsewhere."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from paradox.errors import DataError
from paradox.figures.style import label
from paradox.files import read_json, read_table
from paradox.provenance.identity import mark

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
       max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; }
img { max-width: 100%; height: auto; }
figure { margin: 1.5rem 0; }
figcaption { color: #444; font-size: .92rem; }
figcaption code { overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #ddd; text-align: left;
         vertical-align: top; }
td code { white-space: pre-wrap; overflow-wrap: anywhere; }
"""
SAMPLE_COLUMNS = ["base", "method", "reward", "seed", "step", "item", "sample", "response"]
SHOWN = ["arm", "item", "response", "answer", "correct", "mode"]


def document(title: str, body: str) -> str:
    """Return a whole HTML page around `body` (HTML), with the running step's derivation id."""
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head(title)}\n</head>\n'
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


def image(path: Path, caption: str, below: str = "") -> str:
    """Return an svg file as an embedded image with its caption (text), and HTML `below` it."""
    text = html.escape(caption)
    return f"<figure>{picture(path, caption)}<figcaption>{text}{below}</figcaption></figure>"


def picture(path: Path, alt: str) -> str:
    """Return an svg file as an embedded image; `alt` is its text for those who cannot see it."""
    try:
        data = base64.b64encode(Path(path).read_bytes()).decode("ascii")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from None
    return f'<img alt="{html.escape(alt)}" src="data:image/svg+xml;base64,{data}">'


def origin(path: Path) -> str:
    """Return the line under a figure that says what it was made from (HTML).

    Empty when no record lies beside the figure: it was drawn outside the workflow.
    """
    source = Path(path).with_suffix(".record.json")
    if not source.exists():
        return ""
    # Not checked here: the runner has compared the figure with this record.
    record = read_json(source)
    tables = sorted({e["path"].split("/")[-1] for part in record["inputs"].values() for e in part})
    drawn = record["outputs"]["svg"][0]["path"]
    chain = f"lineage.html#figures/{Path(path).stem}"
    return (
        f"<br><small>Derivation <code>{html.escape(record['derivation'][:12])}</code>, made from "
        f'{html.escape(", ".join(tables))} (<a href="{html.escape(chain)}">its whole chain</a>); '
        f"to trace it: <code>paradox trace {html.escape(drawn)}</code></small>"
    )


def table(rows: pd.DataFrame, code: Sequence[str] = ()) -> str:
    """Return a table as HTML; every cell is escaped, `code` columns keep their spaces."""
    head = "".join(f"<th>{html.escape(str(name))}</th>" for name in rows.columns)
    lines = []
    for row in rows.to_dict("records"):
        cells = []
        for name, value in row.items():
            text = "" if value is None or value is pd.NA or value != value else str(value)
            text = html.escape(text)
            cells.append(f"<td><code>{text}</code></td>" if name in code else f"<td>{text}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    body = "\n".join(lines)
    content = f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody>"
    return f'<div class="wide"><table>{content}</table></div>'


def estimates(rows: pd.DataFrame, columns: dict[str, str], scale: float = 100) -> pd.DataFrame:
    """Return printable estimates: ``value [low, high]`` per column, empty where there is none.

    Parameters
    ----------
    columns
        Column of `rows` -> heading; ``{column}_low`` and ``{column}_high`` hold the interval.
    scale
        Factor before printing; 100 gives percentage points.
    """
    found = pd.DataFrame(index=rows.index)
    for name, heading in columns.items():
        if rows[name].notna().any():
            parts = [scale * rows[f"{name}{end}"].astype(float) for end in ("", "_low", "_high")]
            found[heading] = [
                f"{value:.1f} [{low:.1f}, {high:.1f}]" if np.isfinite(value) else ""
                for value, low, high in zip(*parts, strict=True)
            ]
    return found


def sample_responses(
    paths: Sequence[Path], arms: int = 6, each: int = 2, characters: int = 400
) -> pd.DataFrame:
    """Return a few sampled responses of the first arms, spread over the items.

    Parameters
    ----------
    paths
        Parquet tables of responses, one per arm.
    arms, each
        How many arms, and how many responses of each.
    characters
        Longer responses are cut.
    """
    found = []
    for path in list(paths)[:arms]:
        rows = read_table(Path(path), [*SAMPLE_COLUMNS, "answer", "correct", "mode"])
        rows = rows[rows["sample"] == 0].sort_values("item", kind="stable")
        places = np.unique(np.linspace(0, len(rows) - 1, each).round().astype(int))
        rows = rows.iloc[places] if len(rows) else rows
        names = rows["base"].astype(str) + " / " + rows["reward"].map(label)
        cut = rows["response"].str.len() > characters
        short = rows["response"].str.slice(0, characters) + "…"
        rows = rows.assign(
            arm=names + " / seed " + rows["seed"].astype(str),
            response=rows["response"].where(~cut, short),
        )
        found.append(rows[SHOWN])
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=SHOWN)
