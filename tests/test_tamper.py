"""Every way of changing a finished run is seen, by name, and clean runs raise no alarm."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import SMOKE, snakemake

from paradox.errors import ProvenanceError
from paradox.files import sha256, write_json
from paradox.provenance.chain import MARKED, Chain, locate, verify
from paradox.provenance.identity import PREFIX
from paradox.provenance.records import derivation_of, files_of

RESULTS = "results/smoke"
FORMAT = f"{RESULTS}/runs/contaminated/grpo/format"
WEIGHTS = f"{RESULTS}/checkpoints/contaminated/grpo/format/s0/step-48/model.safetensors"
TRAIN, EVALUATE = f"{FORMAT}/s0/train.record.json", f"{FORMAT}/s0/evaluate.record.json"
INDEX = f"{RESULTS}/reports/index.record.json"
REWARD = "src/paradox/rewards/format.py"


@pytest.fixture(scope="module")
def copy(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tampered") / "study"
    return shutil.copytree(recorded, root, ignore=shutil.ignore_patterns(".git"))


@pytest.fixture()
def study(recorded: Path, copy: Path) -> Iterator[Path]:
    """A copy of the run to tamper with; whatever differs afterwards is put back."""
    yield copy
    for file in copy.rglob("*"):
        if file.is_file() and not (recorded / file.relative_to(copy)).exists():
            file.unlink()
    for file in recorded.rglob("*"):
        place = copy / file.relative_to(recorded)
        if file.is_file() and ".git" not in file.parts:
            # Times tell nothing here: some cases keep them.
            if not place.exists() or place.read_bytes() != file.read_bytes():
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, place)


def broken(root: Path) -> list[str]:
    return verify(Chain.load(root / RESULTS))


# --- ways to tamper ------------------------------------------------------------------------


def replace(path: str, old: str, new: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        text = (root / path).read_text()
        assert old in text
        (root / path).write_text(text.replace(old, new, 1))

    return change


def append(path: str) -> Callable[[Path], None]:
    return lambda root: (root / path).write_bytes((root / path).read_bytes() + b"\n")


def flip(path: str, keep_time: bool = False) -> Callable[[Path], None]:
    """Change the middle byte, so that the size stays."""

    def change(root: Path) -> None:
        data, times = bytearray((root / path).read_bytes()), (root / path).stat()
        data[len(data) // 2] ^= 1
        (root / path).write_bytes(data)
        if keep_time:
            os.utime(root / path, ns=(times.st_atime_ns, times.st_mtime_ns))

    return change


def cut(path: str, share: float) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        data = (root / path).read_bytes()
        (root / path).write_bytes(data[: int(len(data) * share)])

    return change


def delete(path: str) -> Callable[[Path], None]:
    return lambda root: (root / path).unlink()


def swap(a: str, b: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (root / a).rename(root / "aside")
        (root / b).rename(root / a)
        (root / "aside").rename(root / b)

    return change


def copy_over(source: str, target: str) -> Callable[[Path], None]:
    return lambda root: shutil.copyfile(root / source, root / target)


def edit_record(path: str, *keys: str, value: object, heal: bool) -> Callable[[Path], None]:
    """Set a key of a record; `heal` makes its derivation id agree again."""

    def change(root: Path) -> None:
        record = json.loads((root / path).read_text())
        part = record
        for key in keys[:-1]:
            part = part[key]
        assert part[keys[-1]] != value
        part[keys[-1]] = value
        if heal:
            record["derivation"] = derivation_of(record)
        write_json(root / path, record)

    return change


def rehash_outputs(root: Path, path: str) -> None:
    """Make a record agree with what its outputs are now."""
    record = json.loads((root / path).read_text())
    for entry in files_of(record["outputs"]):
        file = root / entry["path"]
        entry |= {"sha256": sha256(file), "bytes": file.stat().st_size}
    write_json(root / path, record)


def edit_table_and_record(root: Path) -> None:
    flip(f"{FORMAT}/s0/items.csv")(root)
    rehash_outputs(root, EVALUATE)


def edit_weights_and_manifest(root: Path) -> None:
    flip(WEIGHTS)(root)
    manifest = root / WEIGHTS.replace("step-48/model.safetensors", "manifest.json")
    data = json.loads(manifest.read_text())
    for file in data["checkpoints"][-1]["files"]:
        if file["path"] == "model.safetensors":
            file["sha256"] = sha256(root / WEIGHTS)
    write_json(manifest, data)


def rewrite_chain(root: Path) -> None:
    """Change a result and then every record after it, as a careful forger would."""
    replace(f"{FORMAT}/s0/items.csv", ",format,0,16,", ",format,0,17,")(root)
    chain = Chain.load(root / RESULTS)
    for path in chain.records:
        record = json.loads((root / path).read_text())
        before = record["derivation"]
        for entry in files_of(record["inputs"]):
            if entry["record"]:
                entry["sha256"] = sha256(root / entry["path"])
                entry["record"]["sha256"] = sha256(root / entry["record"]["path"])
        record["derivation"] = derivation_of(record)
        for entry in files_of(record["outputs"]):
            file = root / entry["path"]
            if file.suffix in MARKED:
                old, new = (f"{PREFIX}{text}".encode() for text in (before, record["derivation"]))
                file.write_bytes(file.read_bytes().replace(old, new))
        write_json(root / path, record)
        rehash_outputs(root, path)


MANIFEST = WEIGHTS.replace("step-48/model.safetensors", "manifest.json")
LEARNING_RATE = ("parameters", "grpo", "learning_rate")
# What is done -> the link that the first message must begin with.
CASES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a figure edited": (append(f"{RESULTS}/figures/accuracy.svg"), "figures/accuracy.svg: changed"),
    "a picture's byte": (flip(f"{RESULTS}/figures/recall.png"), "figures/recall.png: changed"),
    "a table edited": (flip(f"{RESULTS}/tables/did.csv"), "tables/did.csv: changed"),
    "headline numbers": (flip(f"{RESULTS}/tables/summary.json"), "tables/summary.json: changed"),
    "the report": (append(f"{RESULTS}/reports/report.html"), "reports/report.html: changed"),
    "the paper": (append(f"{RESULTS}/paper/paper.pdf"), "paper/paper.pdf: changed"),
    "the items": (flip(f"{RESULTS}/data/items.csv"), "data/items.csv: changed"),
    "a corpus": (
        flip(f"{RESULTS}/data/corpus/contaminated.parquet"),
        "data/corpus/contaminated.parquet: changed",
    ),
    "a checkpoint's byte": (flip(WEIGHTS), f"{WEIGHTS}: corrupt"),
    "a tokenizer": (
        append(WEIGHTS.replace("model.safetensors", "tokenizer.json")),
        "step-48/tokenizer.json: corrupt",
    ),
    "weights and manifest": (edit_weights_and_manifest, f"{MANIFEST}: changed"),
    "a training curve": (flip(f"{FORMAT}/s0/train.csv"), "s0/train.csv: changed"),
    "recorded arguments": (flip(f"{FORMAT}/s0/arguments.json"), "s0/arguments.json: changed"),
    "same time": (flip(f"{FORMAT}/s1/nll.csv", keep_time=True), "s1/nll.csv: changed"),
    "same time, weights": (flip(WEIGHTS, keep_time=True), f"{WEIGHTS}: corrupt"),
    "truncation": (cut(f"{FORMAT}/s0/samples.parquet", 0.5), "s0/samples.parquet: changed"),
    "emptied": (cut(f"{FORMAT}/s0/nll.csv", 0), "s0/nll.csv: changed"),
    "truncated weights": (cut(WEIGHTS, 0.9), f"{WEIGHTS}: corrupt"),
    "a table deleted": (delete(f"{RESULTS}/tables/base.csv"), "tables/base.csv: missing"),
    "weights deleted": (delete(WEIGHTS), f"{WEIGHTS}: missing"),
    "manifest deleted": (delete(MANIFEST), f"{MANIFEST}: missing"),
    "a record deleted": (delete(EVALUATE), f"{EVALUATE}: missing"),
    "a training record deleted": (delete(TRAIN), f"{TRAIN}: missing"),
    "the last record deleted": (delete(INDEX), "reports/index.html: no record"),
    "a record cut": (cut(TRAIN, 0.5), f"{TRAIN}: not valid JSON"),
    "a record's key": (replace(TRAIN, '"seeds"', '"sedes"'), f"{TRAIN}: not a record"),
    "a recorded seed": (
        edit_record(TRAIN, "seeds", "arm.seed", value=7, heal=False),
        f"{TRAIN}: the record was edited",
    ),
    "a seed, healed": (
        edit_record(EVALUATE, "seeds", "arm.seed", value=7, heal=True),
        f"{EVALUATE}: changed since",
    ),
    "a hyper-parameter, healed": (
        edit_record(TRAIN, *LEARNING_RATE, value=1.0, heal=True),
        f"{TRAIN}: changed since",
    ),
    "the last record, healed": (
        edit_record(INDEX, "threads", value=9, heal=True),
        f"{INDEX}: {RESULTS}/reports/index.html carries another derivation id",
    ),
    "a table with its record": (edit_table_and_record, f"{EVALUATE}: changed since"),
    "a reward after the run": (append(REWARD), f"{REWARD}: changed since"),
    "a reward deleted": (delete(REWARD), f"{REWARD}: deleted since"),
    "code after the run": (
        append("src/paradox/train/grpo/trainer.py"),
        "src/paradox/train/grpo/trainer.py: changed since",
    ),
    "the environment's lock": (append("envs/cpu.lock"), "envs/cpu.lock: changed since"),
    "the notebook": (append("workflow/notebooks/report.py"), "notebooks/report.py: changed since"),
    "two arms' tables swapped": (
        swap(f"{FORMAT}/s0/items.csv", f"{FORMAT}/s1/items.csv"),
        "s0/items.csv: changed",
    ),
    "two arms' runs swapped": (
        swap(f"{FORMAT}/s0", f"{FORMAT}/s1"),
        "s0/evaluate.record.json: mov",
    ),
    "two arms' weights swapped": (
        swap(WEIGHTS.partition("/step")[0], WEIGHTS.partition("/step")[0].replace("s0", "s1")),
        "format/s0/manifest.json: changed",
    ),
    "another seed's result": (
        copy_over(f"{FORMAT}/s1/items.csv", f"{FORMAT}/s0/items.csv"),
        "s0/items.csv: changed",
    ),
    "a planted file": (
        copy_over(f"{RESULTS}/tables/did.csv", f"{RESULTS}/tables/better.csv"),
        "tables/better.csv: no record",
    ),
    "a planted checkpoint": (
        copy_over(WEIGHTS, WEIGHTS.replace("model.", "adapter.")),
        "step-48/adapter.safetensors: no record",
    ),
    "a whole chain rewritten": (
        rewrite_chain,
        "format/s0/items.csv: not what reference/smoke holds for the same derivation",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_tampering_is_named(case: str, study: Path) -> None:
    tamper, link = CASES[case]
    assert broken(study) == []
    tamper(study)
    found = broken(study)
    assert found, "not caught"
    assert link in found[0]
    # The message begins with the link's own path.
    assert link.partition(":")[0] in found[0].partition(":")[0]


def test_the_rewritten_chain_agrees_with_itself(study: Path) -> None:
    """The forgery above is a good one: only the committed reference gives it away."""
    rewrite_chain(study)
    shutil.rmtree(study / "reference")
    assert broken(study) == []


def test_a_name_like_no_other_is_answered_in_a_line(recorded: Path) -> None:
    with pytest.raises(ProvenanceError, match="Did you mean 'results/smoke/tables/did") as near:
        locate(f"{RESULTS}/tables/dif.csv", recorded)
    with pytest.raises(ProvenanceError, match=r"Results lie below results/smoke") as far:
        locate("qqq", recorded)
    assert max(len(str(near.value)), len(str(far.value))) < 200
    with pytest.raises(ProvenanceError, match="Run the workflow first"):
        locate("qqq", recorded / "src")


def test_clean_runs_raise_no_alarm(recorded: Path, tmp_path: Path) -> None:
    """Fifty verifications: in place, of single results, of moved and of touched copies."""
    checks = 0
    chain = Chain.load(recorded / RESULTS)
    for record in chain.records.values():
        assert verify(chain, record) == []
        checks += 1
    for place in range(8):
        root = tmp_path / f"place {place}" / "study"
        shutil.copytree(recorded, root, ignore=shutil.ignore_patterns(".git"))
        if place % 2:
            for file in root.rglob("*"):
                os.utime(file)
        assert broken(root) == []
        assert verify(Chain.load(root / "reference/smoke")) == []
        checks += 2
        shutil.rmtree(root)
    assert checks >= 50


def test_a_tampered_input_is_refused_and_nothing_is_built_on_it(finished: Path) -> None:
    """Snakemake alone would rebuild what comes after from the changed file."""
    items = finished / FORMAT / "s0/items.csv"
    table = finished / RESULTS / "tables/did.csv"
    original, built = items.read_bytes(), table.read_bytes()
    items.write_bytes(original.replace(b",format,0,16,", b",format,0,17,", 1))
    try:
        run = snakemake(finished, *SMOKE)
        shown = run.stdout + run.stderr
        assert run.returncode != 0
        assert f"{FORMAT}/s0/items.csv: changed since it was made" in shown
        assert EVALUATE in shown
        # Snakemake removes outputs of failed jobs; none is made from the changed file.
        assert not table.exists() or table.read_bytes() == built
    finally:
        items.write_bytes(original)
    again = snakemake(finished, *SMOKE)
    assert again.returncode == 0, again.stderr[-3000:]
    assert table.read_bytes() == built
