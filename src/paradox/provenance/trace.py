"""Print where a result comes from: a tree from a figure down to data, code and seeds."""

from __future__ import annotations

import textwrap
from pathlib import Path

from paradox.files import canonical_json, read_json, sha256
from paradox.provenance.chain import Chain
from paradox.provenance.records import SUFFIX, Record, files_of, host_file


def trace(chain: Chain, record: Record, path: str) -> str:
    """Return the tree of what `path` was made from, then the steps with their code.

    Each record is unfolded once; later mentions say ``above``.
    """
    entry = next((e for e in files_of(record["outputs"]) if e["path"] == path), None)
    lines = [f"{path}  {_state(chain, path, entry['sha256'] if entry else None)}"]
    seen: set[str] = set()
    lines += _made_by(chain, record["path"], "", seen)
    lines += ["", "Steps, with the code and environment that each result depends on:"]
    return "\n".join(
        lines + _steps(chain, [r for name, r in chain.records.items() if name in seen])
    )


def _state(chain: Chain, path: str, recorded: str | None) -> str:
    file = chain.where(path)
    if recorded is None:
        return "(named by its manifest)"
    if not file.exists():
        return f"sha256 {recorded[:12]} (the file itself is not here)"
    same = sha256(file) == recorded
    return f"sha256 {recorded[:12]} " + ("(as recorded)" if same else "(CHANGED since recorded)")


def _made_by(chain: Chain, name: str, indent: str, seen: set[str]) -> list[str]:
    if name not in chain.records:
        return [f"{indent}made by {name}, which is missing"]
    record = chain.records[name]
    seen.add(name)
    seeds = ", ".join(f"{key} = {value}" for key, value in record["seeds"].items())
    derivation = f"derivation {record['derivation'][:12]}"
    lines = [f"{indent}made by {title(record)}  [{', '.join(filter(None, [seeds, derivation]))}]"]
    inputs = [(role, entry) for role in record["inputs"] for entry in record["inputs"][role]]
    for number, (role, entry) in enumerate(inputs, start=1):
        last = number == len(inputs)
        tip, bar = ("└─ ", "   ") if last else ("├─ ", "│  ")
        maker = entry["record"]["path"] if entry["record"] else None
        known = f" (made by {title(chain.records[maker])}, above)" if maker in seen else ""
        lines.append(f"{indent}{tip}{role}: {entry['path']}  {entry['sha256'][:12]}{known}")
        if maker and not known:
            lines += _made_by(chain, maker, indent + bar, seen)
    return lines


def title(record: Record) -> str:
    """Return the step with the arm, base or figure it was run for."""
    arm = record["parameters"].get("arm")
    stem = Path(record["path"]).name.removesuffix(SUFFIX)
    about = "{base}/{method}/{reward}/s{seed}".format(**arm) if arm else stem
    if record["step"] == "base":
        about = record["parameters"]["base"]
    return record["step"] if about == record["step"] else f"{record['step']} {about}"


def _steps(chain: Chain, records: list[Record]) -> list[str]:
    """Return one paragraph per step: its code, environment and where it ran."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        kind = canonical_json([record[key] for key in ("step", "code", "environment", "device")])
        groups.setdefault(kind, []).append(record)
    lines = []
    for group in groups.values():
        first = group[0]
        # A no-break space keeps a file and its hash on one line.
        code = [f"{path}\xa0{digest[:12]}" for path, digest in first["code"].items()]
        lock = [f"{path}\xa0{digest[:12]}" for path, digest in first["environment"].items()]
        ran = [*lock, first["device"], first["determinism"], *_host(chain, group)]
        count = f" ({len(group)} records)" if len(group) > 1 else ""
        lines += [first["step"] + count, *_wrapped("; ".join(ran)), *_wrapped(", ".join(code))]
    return lines


def _wrapped(text: str) -> list[str]:
    lines = textwrap.wrap(text, 100, initial_indent="   ", subsequent_indent="     ")
    return [line.replace("\xa0", " ") for line in lines]


def _host(chain: Chain, records: list[Record]) -> list[str]:
    """Return commits and times of some records, from the facts beside them."""
    files = [host_file(chain.where(record["path"])) for record in records]
    facts = [read_json(file) for file in files if file.exists()]
    if not facts:
        return []
    commits = sorted({str(fact["commit"])[:12] for fact in facts})
    dirty = sorted({name for fact in facts for name in fact["uncommitted"] or []})
    changed = f" with uncommitted changes in {', '.join(dirty)}" if dirty else ""
    seconds = sum(fact["seconds"] for fact in facts)
    first = min(fact["started"] for fact in facts)
    return [f"commit {', '.join(commits)}{changed}", f"from {first}, {seconds:.0f} s in all"]
