"""Step ``lineage``: one page that shows how each figure came about, record by record."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

from paradox.errors import DataError, ProvenanceError, problems
from paradox.files import canonical_json, sha256, text_sha256, write_text
from paradox.pages import page
from paradox.progress import Progress
from paradox.provenance.records import SUFFIX, Record, files_of, read_record, relative
from paradox.steps import STEPS

# The output that `paradox trace` is shown for, when there are several.
TRACED = ["svg", "html", "pdf", "manifest", "summary"]
COPIED = ["step", "seeds", "parameters", "threads", "device", "determinism", "derivation"]
COPIED += ["environment", "outputs"]


def main(
    spec: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Path], progress: Progress
) -> None:
    """Fill the page's ``template`` (HTML) with all ``records`` and ``figures`` (svg) of the run.

    The page loads nothing from elsewhere. Equal inputs give equal bytes. A record that is missing,
    or not the one that another record names, is a `ProvenanceError`.
    """
    data = chains(inputs["records"], f"results/{spec['scale']}/")
    title = f"Lineage of the results: scale {spec['scale']}"
    text = fill(
        inputs["template"],
        head=page.head(title),
        title=html.escape(title),
        targets=_targets(data["records"], inputs["figures"]),
        records=script_json(data),
    )
    write_text(outputs["html"], text)
    progress.say(f"linked {len(data['records'])} records")


def chains(paths: list[Path], folder: str) -> dict[str, Any]:
    """Return what the page shows of the records, each code closure once.

    A record's ``id`` is its path below `folder` without the suffix; an input's ``from`` is the
    id of the record that made it.
    """
    read = {relative(path): (read_record(path), sha256(path)) for path in paths}
    names = {path: path.removeprefix(folder).removesuffix(SUFFIX) for path in read}
    closures = {_closure(record): record["code"] for record, _ in read.values()}
    records, wrong = [], []
    for path, (record, digest) in read.items():
        made_from = []
        for role, entry in ((r, e) for r in sorted(record["inputs"]) for e in record["inputs"][r]):
            link = entry["record"] or {"path": "", "sha256": None}
            if link["sha256"] != read.get(link["path"], (None, None))[1]:
                wrong.append(f"{path}: made with another {link['path']} than there is now")
            file = {"path": entry["path"], "sha256": entry["sha256"]}
            made_from.append({"role": role, "from": names.get(link["path"]), **file})
        about = {"id": names[path], "path": path, "sha256": digest, "inputs": made_from}
        about |= _arm(names[path], record["step"]) | {"trace": _traced(record)}
        records.append({key: record[key] for key in COPIED} | about | {"code": _closure(record)})
    if wrong:
        raise ProvenanceError(problems("The records do not fit together:", sorted(set(wrong))))
    return {"steps": list(STEPS), "records": records, "closures": closures}


def _closure(record: Record) -> str:
    return text_sha256(canonical_json(record["code"]))


def _arm(name: str, step: str) -> dict[str, str]:
    """Return the arm of a record, and the base whose arms it stands beside."""
    parts = name.split("/")
    if parts[0] == "runs":
        return {"arm": "/".join(parts[1:-1]), "base": parts[1]}
    if step == "samples":
        return {"arm": "", "base": parts[-2]}
    return {"arm": "", "base": parts[-1] if step in ("corpus", "votes") else ""}


def _traced(record: Record) -> str:
    """Return the output that a reader would trace."""
    outputs = record["outputs"]
    role = next((role for role in TRACED if role in outputs), min(outputs))
    return outputs[role][0]["path"]


def _targets(records: list[dict[str, Any]], figures: list[Path]) -> str:
    """Return links to the chains: a thumbnail per figure, then what no other record uses."""
    maker = {entry["path"]: r["id"] for r in records for entry in files_of(r["outputs"])}
    items = []
    for path in figures:
        name = html.escape(path.stem)
        picture = page.picture(path, f"Figure {path.stem}")
        items.append((maker[relative(path)], f"{picture}<span>Figure {name}</span>"))
    shown = {name for name, _ in items}
    used = {entry["from"] for r in records for entry in r["inputs"]}
    ends = [r["id"] for r in records if r["id"] not in used | shown]
    items += [(name, f"<span>{html.escape(name.split('/')[-1].title())}</span>") for name in ends]
    return "\n".join(
        f'<li><a href="#{html.escape(name)}">{content}</a></li>' for name, content in items
    )


def script_json(value: Any) -> str:
    """Return JSON that cannot end the script element that holds it.

    >>> "<" in script_json("</script>")
    False
    """
    return canonical_json(value).replace("<", "\\u003c")


def fill(template: Path, **parts: str) -> str:
    """Return the template with each ``<!-- fill NAME -->`` replaced by the part of that name.

    A place that is missing or there twice is a `DataError`.
    """
    try:
        text = Path(template).read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{template}: cannot be read ({error.strerror}).") from None
    marks = {name: f"<!-- fill {name} -->" for name in parts}
    wrong = [
        f"{mark}: found {text.count(mark)} times, wanted once"
        for mark in marks.values()
        if text.count(mark) != 1
    ]
    if wrong:
        raise DataError(problems(f"{template}: not the page's template", wrong))
    # One pass: a part may hold what looks like a mark.
    return re.sub(r"<!-- fill (\w+) -->", lambda m: parts[m.group(1)], text)
