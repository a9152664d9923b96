"""The committed reference of a scale: record it, rebuild the scale and compare with it.

``reference/<scale>`` mirrors ``results/<scale>``: all records, tables and figures, and how far
repeated runs were apart. It is recorded only from a clean tree, so that a commit says what made it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from paradox.errors import DataError, ProvenanceError, problems
from paradox.files import read_json, write_json, write_text
from paradox.provenance.chain import MARKED, Chain, held, inside, verify
from paradox.provenance.compare import held_tables, summary
from paradox.provenance.identity import without_mark
from paradox.provenance.records import Record, hashes_of, host_file
from paradox.report.blocks import DOCUMENTS, blocks, with_block
from paradox.restore import configured
from paradox.stats.gaps import table_gaps
from paradox.study.grids import grid_of

TOLERANCES = "tolerances.json"
# Recording writes the documents itself.
WRITTEN = [":!reference", *(f":!{file}" for file in DOCUMENTS)]
# Other machines round differently; a few repeated runs do not show the largest difference.
FACTOR = 3


def record(scale: str, root: Path, repeats: list[Path]) -> None:
    """Copy records, tables and figures of ``results/<scale>`` and rewrite the README's numbers.

    `repeats` are ``results/<scale>`` folders of repeated runs of the same commit and configuration.
    Those on another device class give the tolerance of each column: `FACTOR` times the largest
    difference that was seen. A `ParadoxError` tells of changes that are not committed, of a run
    that is not finished, and of a broken link in its chain.
    """
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--", ".", *WRITTEN],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    if changed:
        raise DataError(
            "reference: only recorded from a clean tree, so that a commit says what made the "
            f"numbers; commit or drop these changes first:\n{changed.rstrip()}"
        )
    chain, target = Chain.load(root / "results" / scale), root / "reference" / scale
    last = chain.maker(f"results/{scale}/reports/lineage.html")
    if last is None:
        raise DataError(f"{chain.folder}: no finished run; run the workflow first.")
    ends = [entry for path, entry in chain.records.items() if grid_of(path)]
    if broken := [text for entry in ends for text in verify(chain, entry)]:
        raise ProvenanceError(
            problems(f"{chain.folder}: not recorded:", list(dict.fromkeys(broken)))
        )
    # Arms that no grid asks for any more may still lie beside the others.
    chain.records = upstream_of(chain, ends)
    found = tolerances(chain, [Chain.load(folder) for folder in repeats])
    shutil.rmtree(target, ignore_errors=True)
    for path, entry in chain.records.items():
        _copy(chain, path, target)
        _copy(chain, host_file(Path(path)).as_posix(), target)
        for output in filter(held, hashes_of(entry["outputs"])):
            _copy(chain, output, target)
    write_json(target / TOLERANCES, found)
    if scale == "tiny":
        for file, block in blocks(target).items():
            text = (root / file).read_text(encoding="utf-8")
            write_text(root / file, with_block(text, block, file))


def upstream_of(chain: Chain, ends: list[Record]) -> dict[str, Record]:
    """Return what some records were made from, and themselves, producers first."""
    wanted = {entry["path"] for end in ends for entry in chain.upstream(end)}
    return {path: entry for path, entry in chain.records.items() if path in wanted}


def _copy(chain: Chain, path: str, target: Path) -> None:
    to = target / chain.where(path).relative_to(chain.folder)
    to.parent.mkdir(parents=True, exist_ok=True)
    # With their times: Snakemake takes a file that is as it was for unchanged.
    shutil.copy2(chain.where(path), to)


def tolerances(chain: Chain, repeats: list[Chain]) -> dict[str, Any]:
    """Measure how far repeated runs are apart.

    ``steps`` has the determinism class of each step on the device class it ran on; ``repeats``, per
    repeated run, its device classes and in how many records all bytes are equal; ``columns``, by
    table and column, the ``largest`` difference over the runs on other device classes and what is
    ``allowed`` (null: texts or missing values differed, so the column is not compared). Where a
    table has rows over all seeds, only those count: rounding can send the training of one seed
    another way.
    """
    columns: dict[str, dict[str, Any]] = {}
    runs = []
    for other in repeats:
        equal = [path for path in chain.records if not unequal(chain, other, path)]
        devices = sorted(_devices(other))
        runs.append({"devices": devices, "records": len(chain.records), "equal": len(equal)})
        if _devices(other) == _devices(chain):
            continue
        for path in held_tables(chain):
            if not other.where(path).exists():
                continue  # a grid that was not run again
            table = columns.setdefault(inside(path), {})
            gaps = table_gaps(chain.where(path), other.where(path), single_seeds=False)
            for column, gap in gaps.items():
                largest = max(gap, table.get(column, {}).get("largest") or 0.0)
                known = largest != float("inf")
                table[column] = {
                    "largest": largest if known else None,
                    "allowed": FACTOR * largest if known else None,
                }
    steps = {entry["step"]: entry["determinism"] for entry in chain.records.values()}
    return {"factor": FACTOR, "steps": steps, "repeats": runs, "columns": columns}


def _devices(chain: Chain) -> set[str]:
    return {entry["device"] for entry in chain.records.values()}


def unequal(reference: Chain, other: Chain, path: str) -> list[str]:
    """Return the outputs of a record that are not the same in another chain, byte by byte.

    Figures are compared without their derivation id where both chains hold the file; pages are
    left out when they were made from something else, because ids stand in them.
    """
    mine, its = reference.records[path], other.records.get(path)
    if its is None:
        return [f"{path}: not made"]
    its_hashes = hashes_of(its["outputs"])
    return [
        output
        for output, digest in hashes_of(mine["outputs"]).items()
        if its_hashes.get(output) != digest and not _same_drawing(reference, other, mine, output)
    ]


def _same_drawing(reference: Chain, other: Chain, record: Record, path: str) -> bool:
    files = reference.where(path), other.where(path)
    if files[0].suffix not in MARKED or not all(file.exists() for file in files):
        same_origin = other.records[record["path"]]["derivation"] == record["derivation"]
        return files[0].suffix in (".html", ".pdf") and not same_origin
    return without_mark(files[0]) == without_mark(files[1])


def replay(root: Path, scale: str, folder: Path | None, cores: str, overrides: list[str]) -> bool:
    """Rebuild a scale in a folder of its own and say whether it agrees with the reference.

    On the reference's device class every output of a bitwise step must have equal bytes; on another
    one, each column of each table must be within its measured tolerance. What was compared, and the
    first cause of a difference, is printed. `folder` is kept, and an interrupted replay goes on
    there; without one it is temporary, and kept only when the comparison fails.
    """
    recorded = root / "reference" / scale
    if not (recorded / TOLERANCES).exists():
        raise ProvenanceError(f"{recorded}: no recorded run, so there is nothing to compare with.")
    reference = Chain.load(recorded)
    grid = configured(root, [*overrides, f"scale={scale}"]).config.grid
    ends = [entry for path, entry in reference.records.items() if grid_of(path) == grid]
    if not ends:
        raise ProvenanceError(f"{recorded}: no recorded run of the grid {grid}.")
    reference.records = upstream_of(reference, ends)
    scratch = (folder or Path(tempfile.mkdtemp(prefix=f"paradox-replay-{scale}-"))).resolve()
    print(f"rebuilding {scale} in {scratch}", flush=True)
    _rebuild(root, scratch, scale, cores, overrides)
    again = Chain.load(scratch / "results" / scale)
    wrong, sentences = compare(reference, again)
    for text in sentences:
        print(text)
    if not wrong:
        print(f"replay of {scale}: agrees with {reference.name}")
        if folder is None:
            shutil.rmtree(scratch)
        return True
    print(problems(f"replay of {scale}: FAILED", wrong[:20]))
    if len(wrong) > 20:
        print(f"  and {len(wrong) - 20} more")
    print(summary(reference, again))
    print(f"kept for a closer look: {scratch}")
    return False


def compare(reference: Chain, again: Chain) -> tuple[list[str], list[str]]:
    """Return what is wrong in a rebuilt chain, and sentences on what was compared."""
    if _devices(reference) == _devices(again):
        bitwise = [p for p, r in reference.records.items() if r["determinism"] == "bitwise"]
        wrong = [text for path in bitwise for text in unequal(reference, again, path)]
        if len(bitwise) == len(reference.records):
            return wrong, [f"same device class: {len(bitwise)} records compared byte by byte"]
    else:
        wrong = [f"{p}: not made" for p in reference.records if p not in again.records]
    allowed = read_json(reference.folder / TOLERANCES)["columns"]
    if not allowed:
        return [*wrong, "no tolerance was measured for another device class"], []
    compared = 0
    for path in held_tables(reference):
        if not again.where(path).exists():
            continue
        name = inside(path)
        gaps = table_gaps(reference.where(path), again.where(path), single_seeds=False)
        for column, gap in gaps.items():
            limit = allowed.get(name, {}).get(column, {}).get("allowed")
            compared += limit is not None
            if limit is not None and gap > limit:
                wrong.append(f"{name}: {column} differs by {gap:.3g}, allowed {limit:.3g}")
    return wrong, [f"another device class: {compared} columns compared by measured tolerances"]


def _rebuild(root: Path, scratch: Path, scale: str, cores: str, overrides: list[str]) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        check=True,
    ).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (root / name).is_file():
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, scratch / name)
    command = [sys.executable, "-m", "snakemake", "--cores", cores, "--config", f"scale={scale}"]
    # The copy's package, not the installed one.
    environment = os.environ | {"PYTHONPATH": str(scratch / "src")}
    done = subprocess.run([*command, *overrides], cwd=scratch, env=environment)
    if done.returncode:
        raise ProvenanceError(f"{scratch}: the rebuild failed; its messages are above.")
