"""Why a result would be made again: on a made-up chain, and beside Snakemake on a real one."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import ROOT, SMOKE
from test_docs import _agrees
from test_workflow import changed

from paradox import steps
from paradox.__main__ import main
from paradox.errors import ConfigError, ProvenanceError
from paradox.files import write_json, write_text
from paradox.jobs import Job, Work, planned
from paradox.provenance import records, why
from paradox.provenance.records import check_inputs, draft
from paradox.restore import configured
from paradox.study.mechanisms import Mechanisms
from paradox.study.pages import Pages
from paradox.study.plan import environment_lock

RESULTS = "results/smoke"
ARM, BASE = "contaminated/grpo/format/s0", "contaminated/base/none/s0"
CONFIG = ["arms={bases: [contaminated], rewards: [format], seeds: [0]}"]
FIGURE = f"{RESULTS}/figures/accuracy.svg"
BOOTSTRAP, LOCK = "src/paradox/stats/bootstrap.py", environment_lock()


class Run:
    """Writes the records of a small run as the runner would."""

    def __init__(self) -> None:
        self.study = configured(Path(), ["scale=smoke", *CONFIG])

    def step(self, step: str, name: str, spec: str, outputs: list[str], **inputs: Any) -> None:
        """Write a step's outputs and its record ``NAME.record.json``."""
        for path in outputs:
            write_text(Path(f"{RESULTS}/{path}"), f"made by {name}\n")
        read = {role: [Path(path) for path in paths] for role, paths in inputs.items()}
        made = check_inputs(read, Path(RESULTS).rglob("*.record.json"))
        code = [Path(file) for file in self.study.code(step)]
        path = Path(f"{RESULTS}/{name}.record.json")
        record = draft(step, json.loads(spec), 1, path, made, code, [Path(LOCK)])
        files = [Path(f"{RESULTS}/{path}") for path in outputs]
        entries = [
            {"path": str(file), "sha256": records.sha256(file), "bytes": 1} for file in files
        ]
        write_json(path, record | {"outputs": {"made": entries}})

    def arm(self, key: str, trainer: str, **inputs: Any) -> None:
        """Write the records of an arm's training and evaluation."""
        base, method, reward, seed = key.split("/")
        w = SimpleNamespace(base=base, method=method, reward=reward, seed=seed[1:])
        manifest = f"checkpoints/{key}/manifest.json"
        spec = self.study.spec(trainer, w)
        self.step(trainer, f"runs/{key}/train", spec, [manifest], **inputs)
        items, spec = f"runs/{key}/items.csv", self.study.spec("evaluate", w)
        read = {"manifest": [f"{RESULTS}/{manifest}"], "items": [f"{RESULTS}/data/items.csv"]}
        self.step("evaluate", f"runs/{key}/evaluate", spec, [items], **read)


@pytest.fixture
def run(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a finished run, of which Snakemake is not asked."""
    monkeypatch.chdir(repository)
    for module in (steps, records):
        monkeypatch.setattr(module, "PACKAGE", repository / "src/paradox")
    monkeypatch.setattr(why, "planned", lambda *_: ([], 0.0))
    made, prompts = Run(), f"{RESULTS}/data/prompts.csv"
    study = made.study
    made.step("data", "data/data", study.spec("data"), ["data/items.csv", "data/prompts.csv"])
    made.arm(BASE, "base")
    base, reward = f"{RESULTS}/checkpoints/{BASE}/manifest.json", "src/paradox/rewards/format.py"
    made.arm(ARM, "grpo", base=[base], prompts=[prompts], reward=[reward])
    items = [f"{RESULTS}/runs/{key}/items.csv" for key in (BASE, ARM)]
    read = {"evaluations": items, "items": [f"{RESULTS}/data/items.csv"]}
    made.step("tables", "tables/tables", study.spec("tables"), ["tables/did.csv"], **read)
    spec = study.spec("figure", SimpleNamespace(figure="accuracy"))
    read = {"did": [f"{RESULTS}/tables/did.csv"]}
    made.step("figure", "figures/accuracy", spec, ["figures/accuracy.svg"], **read)
    spec = Pages(study, Mechanisms(study)).report_spec()
    read |= {"notebook": ["workflow/notebooks/report.py"], "figures": [FIGURE]}
    made.step("report", "reports/report", spec, ["reports/report.html"], **read)
    return repository


@pytest.fixture
def said(run: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """What the command says of a target, by lines; it exits with 1 when it is made again."""

    def call(target: str = FIGURE, *config: str, code: int = 1) -> list[str]:
        assert main(["why", target, "--config", *CONFIG, *config]) == code
        captured = capsys.readouterr()
        return (captured.out or captured.err).splitlines()

    return call


Said = Callable[..., list[str]]


def edit(path: str, text: str = "# edited\n") -> None:
    with Path(path).open("a") as file:
        file.write(text)


# --- causes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "count"),
    [(FIGURE, 7), (f"{RESULTS}/tables/tables.record.json", 6), (RESULTS, 8)],
)
def test_what_nothing_has_changed_for_is_up_to_date(target: str, count: int, said: Said) -> None:
    line = f"{target} is up to date: nothing that its {count} records name has changed"
    assert said(target, code=0) == [line]


def test_a_changed_file_is_named_with_its_imports(run: Path, said: Said) -> None:
    then = records.sha256(Path(BOOTSTRAP))[:12]
    edit(BOOTSTRAP)
    now = records.sha256(Path(BOOTSTRAP))[:12]
    tables = f"{RESULTS}/tables/tables.record.json"
    assert said() == [
        f"{FIGURE} would be made again: 2 of 7 records",
        "",
        f"{BOOTSTRAP} changed since {tables} was written: {then} -> {now}",
        "  tables: paradox.evaluate.tables -> paradox.stats.bootstrap",
        "what follows: figure accuracy",
    ]
    # A copy is told by its id or its content.
    copy = run / "copy.csv"
    copy.write_bytes((run / f"{RESULTS}/tables/did.csv").read_bytes())
    assert said(str(copy))[0] == f"{RESULTS}/tables/did.csv would be made again: 1 of 6 records"


def test_the_most_upstream_cause_comes_first(said: Said) -> None:
    sampling, grpo = "src/paradox/evaluate/sampling.py", "src/paradox/train/grpo/trainer.py"
    for path in (BOOTSTRAP, grpo, sampling):
        edit(path)
    lines = said()
    causes = [line.split()[0] for line in lines if " changed since " in line]
    # The base is evaluated before an arm is trained.
    assert causes == [sampling, grpo, BOOTSTRAP]
    assert f"  grpo {ARM}: paradox.train.grpo.trainer" in lines
    assert f"  evaluate {BASE} and 1 more: paradox.evaluate.sampling" in lines
    assert lines[0].endswith("5 of 7 records") and lines[-1] == "what follows: figure accuracy"


def test_what_is_loaded_by_name_is_explained(said: Said) -> None:
    edit("src/paradox/tasks/organism/task.py")
    edit("src/paradox/rewards/format.py")
    lines = said()
    assert "  data: loaded for task organism: paradox.tasks.organism.task" in lines
    assert f"  grpo {ARM}: loaded for reward format" in lines
    # The notebook's own file is an input; what it imports is code.
    edit("workflow/notebooks/report.py", "\nimport paradox.added\n")
    write_text(Path("src/paradox/added.py"), '"""New."""\n')
    lines = said(f"{RESULTS}/reports/report.html")
    assert "  report: input notebook" in lines
    assert "  report: workflow/notebooks/report.py -> paradox.added" in lines


def test_a_changed_parameter(said: Said) -> None:
    lines = said(FIGURE, "statistics={equivalence_margin: 0.9}")
    tables = f"{RESULTS}/tables/tables.record.json"
    assert lines[2:4] == [
        f"parameter equivalence_margin: recorded 0.1, configured 0.9 ({tables})",
        "  tables",
    ]
    # That scale stands in the path; the configuration's own is another.
    assert "tiny" in (ROOT / "config/config.yaml").read_text().split("scale: ")[1][:4]


def test_a_changed_lock_is_a_cause_for_all(said: Said) -> None:
    edit(LOCK)
    lines = said()
    assert lines[0].endswith("7 of 7 records")
    assert lines[2].startswith(f"{LOCK} changed since {RESULTS}/data/data.record.json and 6 more")
    assert not [line for line in lines if line.startswith("what follows")]


def test_another_lock(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(why, "environment_lock", lambda: "envs/other.lock")
    assert said()[2].startswith(f"environment {LOCK}: recorded, here it is envs/other.lock (")


def test_imports_that_come_and_go(said: Said) -> None:
    write_text(Path("src/paradox/added.py"), '"""New."""\n')
    edit(BOOTSTRAP, "import paradox.added\n")
    lines = said()
    chain = "paradox.evaluate.tables -> paradox.stats.bootstrap -> paradox.added"
    place = lines.index(f"  tables: {chain}")
    assert re.match(r"src/paradox/added.py newly imported since .*: nothing -> ", lines[place - 1])
    tables = Path("src/paradox/evaluate/tables.py")
    imported = "from paradox.stats.bootstrap import"
    assert tables.read_text().count(imported) == 1
    tables.write_text(tables.read_text().replace(imported, "from elsewhere import"))
    text = "\n".join(said())
    assert re.search(rf"^{BOOTSTRAP} no longer imported since .*-> nothing$", text, re.M)
    Path(BOOTSTRAP).unlink()
    assert re.search(rf"^{BOOTSTRAP} deleted since ", "\n".join(said()), re.M)


def test_an_edited_input_is_named_for_those_that_read_it(said: Said) -> None:
    edit(f"{RESULTS}/data/items.csv")
    lines = said()
    assert lines[2].startswith(f"{RESULTS}/data/items.csv changed since {RESULTS}/runs/")
    assert {"  tables: input items", f"  evaluate {BASE} and 1 more: input items"} <= set(lines)
    assert lines[-1] == "what follows: figure accuracy"


def test_other_arms_are_named(said: Said) -> None:
    lines = said(FIGURE, "arms={bases: [contaminated], rewards: [random], seeds: [0]}")
    folder = f"{RESULTS}/runs/contaminated/grpo"
    assert any(x.startswith(f"arms asked for, not recorded: {folder}/random/s0 (") for x in lines)
    assert any(x.startswith(f"arms recorded, not asked for: {folder}/format/s0 (") for x in lines)


@pytest.mark.parametrize(
    ("old", "new"), [("/grpo/", "/gone/"), ("/format/", "/gone/"), ("contaminated", "gone")]
)
def test_what_the_configuration_no_longer_names(old: str, new: str, run: Path, said: Said) -> None:
    made = Run()
    key = (BASE if new == "gone" else ARM).replace(old, new)
    base, method, reward, _ = key.split("/")
    spec = {"arm": {"base": base, "method": method, "reward": reward, "seed": 0}}
    step = "base" if new == "gone" else "grpo"
    given = json.dumps({"base": base} if step == "base" else spec)
    made.step(step, f"runs/{key}/train", given, [f"runs/{key}/train.csv"])
    kind = {"/grpo/": "methods", "/format/": "rewards", "contaminated": "bases"}[old]
    assert said(f"{RESULTS}/runs/{key}/train.csv")[2].startswith(
        f"parameter {kind}.gone: recorded, not configured ("
    )


def test_a_step_that_is_no_more(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {name: module for name, module in steps.STEPS.items() if name != "tables"}
    monkeypatch.setattr(why, "STEPS", known)
    assert said()[2].startswith("there is no step 'tables' any more (")


# --- what is not there -----------------------------------------------------------------------


def test_what_is_gone_is_made_again_when_it_is_needed(run: Path, said: Said) -> None:
    items, train = f"{RESULTS}/runs/{ARM}/items.csv", f"{RESULTS}/runs/{ARM}/train.record.json"
    Path(items).unlink()
    Path(train).unlink()
    assert said(code=0)
    Path(FIGURE).unlink()
    assert said()[2:] == [
        f"{FIGURE} is gone ({RESULTS}/figures/accuracy.record.json)",
        "  figure accuracy",
    ]
    edit(BOOTSTRAP)
    lines = said()
    assert f"{items} is gone ({RESULTS}/runs/{ARM}/evaluate.record.json)" in lines
    assert f"{train} is gone" in lines


def test_what_was_never_made(run: Path, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def plan(root: Path, targets: list[str], overrides: list[str], cores: str) -> Any:
        asked.append((targets, overrides[-1]))
        return [Job("r", "figure", Work("figure", {}), 1, 0, 0, frozenset())], 0.0

    monkeypatch.setattr(why, "planned", plan)
    # What is recorded of another run does not stand in for what is not here.
    Path("reference").mkdir()
    os.rename("results/smoke", "reference/smoke")
    for target, targets in ((FIGURE, [FIGURE]), (RESULTS, [])):
        line = f"{target} was never made; Snakemake would run 1 job to make it"
        assert said(target) == [line]
        assert asked.pop() == (targets, "grid=default" if targets else "scale=smoke")
    other = FIGURE.replace("smoke/", "smoke/grids/seeds/")
    assert said(other) and asked.pop() == ([other], "grid=seeds")
    assert "is up to date" in said(FIGURE.replace("results", "reference"), code=0)[0]
    edit(BOOTSTRAP)
    assert (
        f"{FIGURE.replace('results', 'reference')} would"
        in said("reference/smoke/figures/accuracy.svg")[0]
    )


def test_a_typo_is_told_what_is_close(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise ConfigError("MissingRuleException")

    monkeypatch.setattr(why, "planned", refuse)
    (line,) = said(f"{RESULTS}/figures/accurcy.svg")
    assert line.startswith("ERROR: ") and f"Did you mean '{FIGURE}'?" in line
    (line,) = said("results/smokey/figures/accuracy.svg")
    assert "scale = 'smokey' is not a scale" in line and "Did you mean 'smoke'?" in line
    with pytest.raises(ProvenanceError, match="nothing here made it"):
        why.why("src", CONFIG)


def test_what_only_snakemake_sees_is_said(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = {"tables": "Params " * 50, "figure": f"{why.FOLLOWS}: did.csv"}
    jobs = [
        Job(f"{rule}.record.json", rule, Work(rule, {}), 1, 0, 0, frozenset(), reason)
        for rule, reason in reasons.items()
    ]
    monkeypatch.setattr(why, "planned", lambda *_: (jobs, 0.0))
    first, cause, more = said()
    assert first.endswith("has changed, but Snakemake would run 2 jobs:")
    assert cause.startswith("  tables (tables.record.json): Params Params") and len(cause) < 200
    assert more == "  and 1 more"
    # Of what is recorded elsewhere it knows nothing.
    Path("reference").mkdir()
    os.rename("results/smoke", "reference/smoke")
    assert "is up to date" in said("reference/smoke", code=0)[0]


# --- on a real run ---------------------------------------------------------------------------


def on(folder: Path, *words: str) -> tuple[int, str]:
    """Run the command in a repository, with that repository's package."""
    done = subprocess.run(
        [sys.executable, "-m", "paradox", "why", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder / "src")},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("path", "config"),
    [
        ("", []),
        (BOOTSTRAP, []),
        ("src/paradox/rewards/format.py", []),
        ("src/paradox/tasks/organism/task.py", []),
        ("src/paradox/pages/arm_tables.py", []),
        ("workflow/report/lineage.html", []),
        (LOCK, []),
        ("results/smoke/data/items.csv", []),
        ("", ["grpo={learning_rate: 1.0e-5}"]),
        ("", ["resources={summary: {disk_mb: 7}}"]),
    ],
)
def test_snakemake_agrees(
    path: str, config: list[str], finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(finished / "src"))
    target, given = f"{RESULTS}/reports/index.html", [*SMOKE[1:], *config]
    # Nothing depends on that text.
    file = finished / (path or "config/README.md")
    with changed(file, file.read_text() + "\n"):
        code, text = on(finished, target, "--config", *given)
        jobs, _ = planned(finished, [target], given, "2")
    again = re.search(r"again: (\d+) of |would run (\d+) job", text)
    assert int((again[1] or again[2]) if again else 0) == len(jobs), text
    assert code == bool(jobs)
    assert bool(path or config) == bool(jobs)


def test_the_documented_example_is_what_it_prints(finished: Path) -> None:
    text = (ROOT / "docs/provenance.md").read_text()
    shown = re.findall(r"```console\n\$ paradox why (.*?)\n(.*?)```", text, re.DOTALL)
    assert len(shown) == 2
    for command, output in shown:
        edited = finished / BOOTSTRAP
        more = "" if "equivalence_margin" in command else "# edited\n"
        with changed(edited, edited.read_text() + more):
            code, printed = on(finished, *shlex.split(command))
        assert code == 1
        lines = iter(printed.splitlines())
        for quoted in output.splitlines():
            assert any(_agrees(quoted, line) for line in lines), f"{quoted}\n{printed}"
