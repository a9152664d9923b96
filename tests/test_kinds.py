"""Tasks and trainers are found by their folders; what is wrong with one is told at planning."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT

from paradox import steps
from paradox.errors import ConfigError
from paradox.steps import PACKAGE, STEPS, code, folders
from paradox.study import kinds
from paradox.study.kinds import TASKS, TRAINERS
from paradox.study.load import load_config, merge
from paradox.study.plan import Study
from paradox.tasks import load_task, module_of
from paradox.tasks.api import CORPUS_COLUMNS, ITEM_COLUMNS, PROMPT_COLUMNS

SCALES = sorted(path.stem for path in (ROOT / "config/scales").glob("*.yaml"))

TASK = """
from typing import Literal
from paradox.declare import Section, TaskDeclaration
class Own(Section):
    kind: Literal["NAME"]
    size: int
DECLARATION = TaskDeclaration("NAME", Own, True, True, True, True)
"""
TRAINER = """
from paradox.declare import Common, Rollouts, TrainerDeclaration
DECLARATION = TrainerDeclaration("NAME", Rollouts)
"""
STEP = '"""Step ``NAME``: a trainer."""\n'
# Of each package: a sound declare.py, the other module, and what is in that.
FOLDERS = {
    "tasks": (TASK, "task.py", "TASK = None\n"),
    "train": (
        TRAINER,
        "trainer.py",
        '"""Step ``NAME``."""\ndef main(): ...\ndef arguments(): ...\n',
    ),
}
# Package, what is otherwise in its declare.py (or a file, left out or other), and what is told.
BROKEN: dict[str, tuple[str, Any, str]] = {
    "no_declare": ("tasks", ("declare.py", None), "no_declare/declare.py is missing"),
    "no-name": ("tasks", {}, "a name has small letters, digits and _ only, a letter first"),
    "no_init": ("tasks", ("__init__.py", None), "no_init/__init__.py is missing"),
    "no_task": ("tasks", ("task.py", None), "no_task/task.py is missing"),
    "no_class": ("tasks", ("task.py", "Task = 1\n"), "no_class/task.py: TASK is missing"),
    "half": ("tasks", ("task.py", "def (\n"), "half/task.py: cannot be read (invalid syntax"),
    "fails": ("tasks", ("declare.py", "1 / 0\n"), "cannot be imported (ZeroDivisionError: div"),
    "misspelt": (
        "tasks",
        {"DECLARATION =": "DECLARATON ="},
        "DECLARATION is missing; needed: a TaskDeclaration; the file has one under the name "
        "'DECLARATON'",
    ),
    "wrong": (
        "tasks",
        {"TaskDeclaration(": "dict(a="},
        "cannot be imported (SyntaxError: positional argument follows keyword argument",
    ),
    "other": (
        "tasks",
        ("declare.py", "DECLARATION = 1\n"),
        "DECLARATION is of type int; needed: T",
    ),
    "renamed": (
        "tasks",
        {'"renamed"': '"organsm"'},
        "DECLARATION.name is 'organsm', but the folder's name is 'renamed'",
    ),
    "twice": (
        "tasks",
        {'"twice"': '"organism"'},
        "DECLARATION.name 'organism' is that of src/paradox/tasks/organism/declare.py, too",
    ),
    "unkind": (
        "tasks",
        {"    kind": "    kin"},
        "Own.kind is missing; needed: kind: Literal['unkind'",
    ),
    "text": ("tasks", {'Literal["text"]': "str"}, "needed: kind: Literal['text']"),
    "classless": (
        "tasks",
        {"Own, ": "dict, "},
        "a class made from paradox.declare.Section",
    ),
    "words": (
        "tasks",
        {"True)": 'True, vocabulary=("siez",))'},
        "DECLARATION.vocabulary: Own has no key 'siez'; allowed: kind, size. Did you mean 'size'?",
    ),
    "truth": (
        "tasks",
        {"True)": 'True, truth="size.answer")'},
        "DECLARATION.truth = 'size.answer': no key 'answer'; allowed: nothing.",
    ),
    "unnamed": ("train", {'"unnamed"': '"grop"'}, "the folder's name is 'unnamed'"),
    "no_main": (
        "train",
        ("trainer.py", "def arguments(): ...\n"),
        "src/paradox/train/no_main/trainer.py: main is missing",
    ),
    "no_rows": ("train", {", Rollouts)": ", Common)"}, "paradox.declare.Rollouts or Rows"),
    "no_samples": ("train", {"Rollouts)": "Rollouts, pairs=True)"}, "so from_samples must be"),
    "no_title": (
        "train",
        ("trainer.py", "def main(): ...\ndef arguments(): ...\n"),
        "no_title/trainer.py: its first line must begin with Step ``no_title``:",
    ),
    "no_step": ("train", ("trainer.py", None), "src/paradox/train/no_step/trainer.py is missing"),
}


def write(package: Path, name: str, kind: str, change: Any) -> None:
    """Write a folder of a task or a trainer, sound but for the change."""
    declare, module, content = FOLDERS[kind]
    files = {"__init__.py": '"""Own."""\n', module: content.replace("NAME", name)}
    files["declare.py"] = declare.replace("NAME", name)
    if isinstance(change, dict):
        for old, new in change.items():
            assert old in files["declare.py"]
            files["declare.py"] = files["declare.py"].replace(old, new)
    else:
        files[change[0]] = change[1]
    (package / kind / name).mkdir()
    for file, text in files.items():
        if text is not None:
            (package / kind / name / file).write_text(text)


def plan(repository: Path) -> str:
    """Return the lines that planning refuses with."""
    command = [sys.executable, "-m", "paradox", "plan", "--config", "scale=smoke"]
    environment = os.environ | {"PYTHONPATH": str(repository / "src")}
    run = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True)
    assert run.returncode == 1 and "Traceback" not in run.stderr, run.stderr
    return run.stderr


def test_all_that_is_broken_is_told_at_once(repository: Path) -> None:
    for name, (kind, change, _) in BROKEN.items():
        write(repository / "src/paradox", name, kind, change)
    said = plan(repository)
    assert "What is declared cannot be used:" in said
    lines = [line for line in said.splitlines() if line.startswith("  - src/paradox/")]
    for name, (kind, _, expected) in BROKEN.items():
        told = [line for line in lines if re.match(rf"  - src/paradox/{kind}/{name}[:/]", line)]
        assert any(expected in line for line in told), (name, told)
        # One that has another's name has two things wrong.
        assert len(told) == (2 if name == "twice" else 1), told
        lines = [line for line in lines if line not in told]
    assert not lines


@pytest.mark.parametrize(("tasks", "trainers"), [(TASKS, TRAINERS), (["organism"], ["grpo"])])
def test_what_is_there_can_break_too(
    tasks: Iterable[str], trainers: Iterable[str], repository: Path
) -> None:
    """Also when nothing is left to make a configuration from."""
    broken = [f"tasks/{name}" for name in tasks] + [f"train/{name}" for name in trainers]
    for path in broken:
        (repository / "src/paradox" / path / "declare.py").write_text("")
    said = plan(repository)
    for path in broken:
        assert f"  - src/paradox/{path}/declare.py: DECLARATION is missing; needed: a T" in said


def test_a_sound_task_and_trainer_can_be_configured(repository: Path) -> None:
    for kind in ("tasks", "train"):
        write(repository / "src/paradox", "mine", kind, {})
    script = (
        "from paradox.study.config import Config; from pydantic import TypeAdapter\n"
        "from paradox.study.registry import check; from paradox.steps import STEPS; check()\n"
        "print(Config.model_fields['task'].annotation, STEPS['mine'])\n"
        "print(Config.model_fields['methods'].annotation)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(repository / "src")},
        capture_output=True,
        text=True,
    )
    assert "paradox.tasks.mine.declare.Own" in run.stdout, run.stderr
    assert "paradox.train.mine.trainer" in run.stdout and "RolloutsMethod" in run.stdout


def test_a_broken_declaration_comes_before_every_key(
    smoke_config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinds, "PROBLEMS", ["one", "two"])
    with pytest.raises(ConfigError, match=r"cannot be used:\n  - one\n  - two$"):
        load_config(merge(smoke_config, {"seeed": 1}), ROOT)


def test_nothing_is_wrong_here() -> None:
    assert kinds.PROBLEMS == []
    assert list(TASKS) == folders("tasks") and list(TRAINERS) == folders("train")


def test_a_folder_without_modules_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as one that another version of the code left behind, with compiled files."""
    for name in ("left/__pycache__", "__pycache__", "here"):
        (tmp_path / "tasks" / name).mkdir(parents=True)
    for name in ("here/__init__.py", "__pycache__/a.py", "beside.py"):
        (tmp_path / "tasks" / name).write_text("")
    monkeypatch.setattr(steps, "PACKAGE", tmp_path)
    assert folders("tasks") == ["here"]


@pytest.mark.parametrize("step", STEPS)
def test_no_step_depends_on_a_declaration(step: str) -> None:
    for kind in TASKS:
        files = {Path(file).name for file in code(step, module_of(kind))}
        assert not files & {"declare.py", "registry.py", "kinds.py"}


@pytest.mark.parametrize("file", sorted(PACKAGE.glob("*/*/declare.py")), ids=str)
def test_a_declaration_imports_only_what_declarations_are_made_of(file: Path) -> None:
    names = {name for name in steps._imports(file) if name.split(".")[0] == "paradox"}
    assert {".".join(name.split(".")[:2]) for name in names} == {"paradox.declare"}


SMALL = {"exposures": [2, 4], "items_per_exposure": 3, "prompts": 20, "documents": 200}


@pytest.mark.parametrize("scale", SCALES)
def test_a_task_is_what_it_declares(scale: str) -> None:
    """The task of every scale, smaller; what is not made here is not looked at."""
    spec = yaml.safe_load((ROOT / f"config/scales/{scale}.yaml").read_text())["task"]
    declaration = TASKS[spec["kind"]]
    if not declaration.corpus:
        return
    spec |= {key: value for key, value in SMALL.items() if key in spec}
    task = load_task(spec)
    items = task.items(0)
    prompts = task.prompts(0, items)
    corpora = [task.corpus(0, items, prompts, planted) for planted in (True, False)]
    assert list(items) == ITEM_COLUMNS and list(prompts) == PROMPT_COLUMNS
    assert all(list(corpus) == CORPUS_COLUMNS and len(corpus) for corpus in corpora)
    assert items.equals(load_task(spec).items(0))
    asked = [*items["question"], *prompts["question"]]
    assert len(asked) == len(set(asked))
    if declaration.pairs:
        assert (
            items.groupby("pair")["group"].apply(sorted).apply(list).tolist()
            == [["exposed", "twin"]] * items["pair"].nunique()
        )
    assert prompts["value"].notna().all() == declaration.values
    for row in items.itertuples():
        at_once = task.recall_scaffold + task.answer_after_scaffold(row.answer)
        assert task.equal(task.answer(at_once), row.answer) and task.mode(at_once) == "recall"
        start, stop = task.answer_span(row.worked, row.answer) or (0, 0)
        assert row.worked[start:stop] == row.answer and task.mode(row.worked) == "reason"
    if declaration.worked:
        for row in prompts.itertuples():
            assert task.equal(task.answer(task.worked(row.question)), row.answer)
    if declaration.vocabulary is None:
        with pytest.raises(NotImplementedError, match="no words of its own"):
            task.vocabulary(spec)
        return
    words = task.vocabulary({key: spec[key] for key in ("kind", *declaration.vocabulary)})
    assert {"<pad>", "<bos>", "<eos>"} <= set(words) and len(words) == len(set(words))
    texts = [text for corpus in corpora for text in corpus["text"]]
    texts += [task.prompt(question) for question in asked] + items["worked"].tolist()
    assert set(" ".join(texts).split()) <= set(words)


def test_a_base_depends_on_the_words_of_its_task_only(smoke_config: dict[str, Any]) -> None:
    class Base:
        base = "contaminated"

    smoke = Study.load(smoke_config, ROOT)
    assert '"task":{"kind":"organism","modulus":13}' in smoke.spec("base", Base)
    small = Study.load(merge(smoke_config, {"scale": "small"}), ROOT)
    assert '"task":{"kind":"word_problems"}' in small.spec("base", Base)
    asked = [{Path(file).parent.name for file in study.code("base")} for study in (smoke, small)]
    assert ["organism" in names for names in asked] == [True, False]
    assert "word_problems" not in asked[1]


def test_random_weights_need_words(smoke_config: dict[str, Any]) -> None:
    smoke, small = (
        load_config(merge(smoke_config, {"scale": scale}), ROOT) for scale in ("smoke", "small")
    )
    with pytest.raises(ConfigError) as caught:
        Study(small.model_copy(update={"bases": smoke.bases}))
    for base in ("contaminated", "clean"):
        assert (
            f"config/scales/small.yaml: bases.{base}.source.kind = 'organism': random weights need "
            "words, and task.kind = 'word_problems' has none of its own; allowed: gguf, pretrained."
        ) in str(caught.value)
