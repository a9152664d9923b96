r"""Real benchmarks, whose contamination nobody controls.

Group *exposed* here means suspected: published before the model's training data ended. *twin*
means published after, so it cannot have been seen. How often an item was seen is unknown, and
its exposure is left empty.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from paradox.errors import ConfigError, DataError, hint, problems
from paradox.tasks.api import ITEM_COLUMNS, PROMPT_COLUMNS, Mode, Task
from paradox.tasks.benchmarks.questions import Rows, label, read_source
from paradox.tasks.math_answers import equal_answers, response_mode, stated_answer

GROUPS = ("exposed", "twin")


class Benchmarks(Task):
    """Benchmarks from a hub or from files; `spec` is the section ``task`` of a scale."""

    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__(spec)
        wrong = []
        for index, source in enumerate(spec["items"]):
            where = f"task.items[{index}]"
            wrong += _source_problems(where, source)
            if source["group"] not in GROUPS:
                group = source["group"]
                wrong.append(f"{where}.group = {group!r} is unknown; {hint(group, GROUPS)}")
            if not source.get("answer_column"):
                wrong.append(f"{where}.answer_column is empty; items need an answer")
        names = [source["name"] for source in spec["items"]]
        wrong += [f"task.items: the name {n!r} is used twice" for n in _repeated(names)]
        wrong += _source_problems("task.prompts", spec["prompts"])
        if wrong:
            raise ConfigError(problems("configuration of the benchmarks:", wrong))

    def prompt(self, question: str) -> str:
        """See `Task.prompt`."""
        return f"Question: {question}\nAnswer:"

    @property
    def recall_scaffold(self) -> str:
        """See `Task.recall_scaffold`."""
        return " The answer is \\boxed{"

    def answer_after_scaffold(self, answer: str) -> str:
        """Return the answer alone: a closing brace would be scored as part of it."""
        return answer

    def answer_span(self, worked: str, answer: str) -> tuple[int, int] | None:
        r"""Return where `worked` states its answer: in its last ``\boxed{}`` if it is there."""
        box = worked.rfind(f"{{{answer}}}")
        if box >= 0:
            return (box + 1, box + 1 + len(answer))
        return super().answer_span(worked, answer)

    def answer(self, response: str) -> str | None:
        """See `math_answers.stated_answer`."""
        return stated_answer(response)

    def equal(self, found: str | None, truth: str) -> bool:
        """See `math_answers.equal_answers`."""
        return equal_answers(found, truth)

    def mode(self, response: str) -> Mode:
        """See `math_answers.response_mode`."""
        return response_mode(response)

    def items(self, seed: int) -> pd.DataFrame:
        """Return every benchmark's items; they are given, so `seed` changes nothing.

        Raises
        ------
        DataError
            When a source is missing or malformed; the message lists every problem of every
            source.
        """
        wrong: list[str] = []
        rows: list[list[Any]] = []
        groups: dict[str, tuple[str, str]] = {}
        for source in self.spec["items"]:
            read = read_source(source)
            wrong += read.problems
            for place, question, answer, solution in read.rows:
                name, group = f"{source['name']}-{place:04d}", source["group"]
                other, where = groups.setdefault(_key(question), (group, name))
                if other != group:
                    wrong.append(f"{name} ({group}) asks the same question as {where} ({other})")
                worked = self._worked(solution, answer)
                rows.append([name, group, None, 0, None, question, answer, worked, source["name"]])
        if wrong:
            raise DataError(problems("malformed benchmarks:", wrong))
        table = pd.DataFrame(rows, columns=ITEM_COLUMNS)
        table["exposure"] = table["exposure"].astype("Int64")
        return table

    def _worked(self, solution: str | None, answer: str) -> str | None:
        """Return the solution as a response that states `answer` as it is written in the table."""
        if solution is None:
            return None
        text = f" {solution.strip()}"
        stated = answer in text and self.equal(self.answer(text), answer)
        return text if stated else f"{text}{self.recall_scaffold}{answer}}}."

    def prompts(self, seed: int, items: pd.DataFrame) -> pd.DataFrame:
        """Return the training prompts in their order, without items and without repetitions.

        Raises
        ------
        DataError
            When the source is missing or malformed, or holds nothing but items.
        """
        source = self.spec["prompts"]
        read: Rows = read_source(source)
        if read.problems:
            raise DataError(problems("malformed training prompts:", read.problems))
        used = {_key(question) for question in items["question"]}
        rows = []
        for place, question, answer, _ in read.rows:
            if _key(question) in used:
                continue
            used.add(_key(question))
            # What a question is worth is not known.
            rows.append([f"f{place:05d}", question, answer, None])
        if not rows:
            raise DataError(f"{label(source)}: every training prompt is an item; none is left.")
        return pd.DataFrame(rows, columns=PROMPT_COLUMNS)


TASK = Benchmarks


def _key(question: str) -> str:
    """Return a question's text without the differences that copies of it have."""
    return " ".join(question.split()).casefold()


def _repeated(names: list[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})


def _source_problems(where: str, source: dict[str, Any]) -> list[str]:
    """Return what is wrong about where a source comes from."""
    repo, path = source.get("repo"), source.get("path")
    if bool(repo) == bool(path):
        return [
            f"{where}: exactly one of repo and path is needed; found repo = {repo!r}, "
            f"path = {path!r}"
        ]
    hub = ("split", "revision")
    if repo:
        return [f"{where}.{key} is needed with repo" for key in hub if not source.get(key)]
    keys = [key for key in ("config", *hub) if source.get(key)]
    return [f"{where}.{key} = {source[key]!r} has no meaning with path" for key in keys]
