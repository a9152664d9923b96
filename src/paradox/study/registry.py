"""The analyses of the study: found in the folders of `paradox.mechanisms`, checked, put together.

A folder with a ``declare.py`` is an analysis. What a declaration gets wrong is kept in `PROBLEMS`
and stops the plan: all of it at once, whichever grid is run.
"""

from __future__ import annotations

import ast
import importlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field, create_model

from paradox.declare import (
    GATHERED,
    SETTINGS,
    Analysis,
    Bases,
    Declaration,
    Dtype,
    Figure,
    Gap,
    Name,
    Positive,
    Read,
    Section,
    Signature,
    Summary,
    Tested,
    Verdicts,
)
from paradox.errors import ConfigError, hint, problems
from paradox.steps import PACKAGE, declared
from paradox.study import kinds

FOLDER = PACKAGE / "mechanisms"
# What all analyses share is no analysis.
SHARED = ("model", "tables")
NEEDS = ("base", "reference", "samples", "reference?", "corpus?")
SUFFIXES = ("csv", "parquet")
# The source of what nobody has published.
UNPUBLISHED = "this study"


class Registry:
    """All declarations, by folder, in their order in lists.

    Parameters
    ----------
    folder
        Where the folders of the analyses are.
    package
        Its dotted name.
    """

    def __init__(self, folder: Path = FOLDER, package: str = "paradox.mechanisms") -> None:
        self.folder, self.package = folder, package
        self.problems: list[str] = []
        found = {path.name: self._read(path) for path in self._folders()}
        kept = {name: own for name, own in found.items() if own is not None}
        self.declarations: dict[str, Declaration] = dict(
            sorted(kept.items(), key=lambda pair: (pair[1].place, pair[0]))
        )
        self.analyses: dict[str, Analysis] = self._merged("analyses")
        self.figures: dict[str, Figure] = self._merged("figures")
        self.tested: dict[str, Tested] = self._merged("tested")
        self.verdicts: dict[str, Verdicts] = self._merged("verdicts")
        declared_summaries: dict[str, Summary] = self._merged("summaries")
        self.summaries = {name: self._gathered(own) for name, own in declared_summaries.items()}
        self.figures = {name: self._gathered(own) for name, own in self.figures.items()}
        self.problems += Checks(self).run()

    def _folders(self) -> list[Path]:
        folders = (path for path in sorted(self.folder.iterdir()) if path.is_dir())
        return [path for path in folders if path.name not in (*SHARED, "__pycache__")]

    def _read(self, path: Path) -> Declaration | None:
        where = f"{self.place(path.name)}"
        if not (path / "declare.py").exists():
            if any(path.glob("*.py")):
                self.problems.append(
                    f"{where}: no such file; a folder of {self.folder.name} declares itself there"
                )
            return None
        try:
            module = importlib.import_module(f"{self.package}.{path.name}.declare")
        except Exception as error:  # a declaration can fail in any way
            text = f"{type(error).__name__}: {error}"
            self.problems.append(f"{where}: cannot be imported ({text})")
            return None
        own = getattr(module, "DECLARATION", None)
        if not isinstance(own, Declaration):
            got = "nothing" if own is None else type(own).__name__
            self.problems.append(f"{where}: DECLARATION = {got}; it must be a Declaration")
            return None
        return own

    def place(self, folder: str) -> str:
        """Return the file of a folder's declaration, as messages name it."""
        return f"src/{self.package.replace('.', '/')}/{folder}/declare.py"

    def _merged(self, kind: str) -> dict[str, Any]:
        """Return what all folders declare of a kind; a name used twice is a problem."""
        merged: dict[str, Any] = {}
        homes: dict[str, str] = {}
        for folder, own in self.declarations.items():
            for name, value in getattr(own, kind).items():
                if name in homes:
                    first = self.place(homes[name])
                    self.problems.append(
                        f"{self.place(folder)}: {kind}: {name!r} is used twice; {first} has it"
                    )
                merged[name], homes[name] = value, folder
        return merged

    def home(self, kind: str, name: str) -> str:
        """Return the folder that declares an analysis, a summary, a figure or a verdict."""
        return next(
            folder for folder, own in self.declarations.items() if name in getattr(own, kind)
        )

    # --- what is gathered ----------------------------------------------------------------

    @property
    def gaps(self) -> list[tuple[str, Gap]]:
        """The curves over layers with their folders, the truth first."""
        every = [(folder, gap) for folder, own in self.declarations.items() for gap in own.gaps]
        return sorted(every, key=lambda pair: (not pair[1].truth, pair[1].place))

    @property
    def signatures(self) -> list[tuple[str, Signature]]:
        """All signatures with their folders."""
        return [(home, each) for home, own in self.declarations.items() for each in own.signatures]

    def _gathered(self, own: Any) -> Any:
        """Return a summary or figure with what it reads of all analyses."""
        files, tables = {}, {}
        if own.gathers == "tested":
            files = {name: each.reads for name, each in self.tested.items()}
        if own.gathers == "signatures":
            for _, each in self.signatures:
                if isinstance(each.reads, tuple):
                    files[each.name] = each.reads
                elif each.reads:
                    tables[f"{each.name}+"] = each.reads
        if own.gathers == "gaps":
            said = [gap for _, gap in self.gaps if gap.words or isinstance(own, Figure)]
            tables = {gap.table.replace(":", "_"): gap.table for gap in said}
        if own.gathers == "verdicts":
            tables = {name: each.table for name, each in self.verdicts.items()}
        if files:
            own = replace(own, files=own.files | files)
        return replace(own, tables=tables | own.tables) if tables else own

    # --- the configuration ---------------------------------------------------------------

    @cached_property
    def section(self) -> type[Section]:
        """The section ``mechanisms`` of the configuration: its own keys and those declared."""
        listed = {
            name: (list[str], Field(description=own.methods))
            for name, own in self.analyses.items()
            if own.methods
        }
        methods_of = create_model(
            "MethodsOf", __base__=Section, __doc__="Methods that an analysis compares.", **listed
        )
        fields: dict[str, Any] = {
            "bases": (
                Bases,
                Field(description="bases whose trained arms are analysed; untrained, all are"),
            ),
            "methods": (
                list[str],
                Field(description="methods of a grid whose arms are analysed"),
            ),
            "methods_of": (
                methods_of,
                Field(description="those of single analyses, in place of methods"),
            ),
            "rewards": (
                list[str],
                Field(description="reward conditions of a grid whose arms are analysed"),
            ),
            "reference": (
                Name | None,
                Field(description="clean base that analyses compare with; null: no such tests"),
            ),
            "permutations": (
                Positive,
                Field(description="relabellings behind every p-value of layers"),
            ),
            "batch_size": (Positive, Field(description="items at a time")),
            "dtype": (Dtype, ...),
        }
        for own in self.declarations.values():
            fields |= {name: (each, ...) for name, each in own.config.items()}
            fields |= {n: (each.config, ...) for n, each in own.analyses.items() if each.config}
        about = "Where and how memory is looked for inside the models (docs/mechanisms.md)."
        return create_model("Mechanisms", __base__=Section, __doc__=about, **fields)


class Checks:
    """What is wrong with declarations: names that are not there, words that are missing."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.steps = [step for step, _ in declared()]

    def run(self) -> list[str]:
        """Return a line per problem, folder by folder."""
        lines = [
            f"src/paradox: step {step!r} is declared by {count} modules; a name is used once"
            for step, count in Counter(self.steps).items()
            if count > 1
        ]
        for folder, own in self.registry.declarations.items():
            where = self.registry.place(folder)
            lines += [f"{where}: {text}" for text in self._folder(folder, own)]
        return [*lines, *self._unread()]

    def _folder(self, folder: str, own: Declaration) -> Iterator[str]:
        yield from self._papers(folder, own)
        for name, analysis in own.analyses.items():
            yield from self._analysis(folder, name, analysis)
        for name, summary in own.summaries.items():
            yield from self._summary(f"summaries.{name}", folder, summary)
        for name, figure in own.figures.items():
            yield from self._figure(f"figures.{name}", folder, figure)
        for signature in own.signatures:
            yield from self._signature(f"signatures.{signature.name}", folder, signature)
        for name, verdicts in own.verdicts.items():
            yield from self._table(f"verdicts.{name}.table", verdicts.table)
        for gap in own.gaps:
            where = f"gaps.{gap.table}"
            yield from self._table(f"{where}.table", gap.table)
            yield from self._function(f"{where}.as_contrast", folder, "contrast", gap.as_contrast)
        for name, tested in own.tested.items():
            yield from self._file(f"tested.{name}.reads", tested.reads)
            if tested.how == "own":
                for function in ("sides", "test"):
                    yield from self._function(f"tested.{name}", folder, "rates", function)

    # --- a folder ------------------------------------------------------------------------

    def _papers(self, folder: str, own: Declaration) -> Iterator[str]:
        """Yield what is missing around the code: question, guide, test."""
        if not own.question.strip():
            yield "question is empty; it says what the folder asks"
        if not (self.registry.folder / folder / "README.md").exists():
            yield "README.md is missing in this folder; it is the analysis' page of the guide"
        tests = PACKAGE.parents[1] / "tests"
        module = f"{self.registry.package}.{folder}"
        if tests.exists() and not any(
            module in file.read_text(encoding="utf-8") for file in sorted(tests.glob("test_*.py"))
        ):
            yield f"no file tests/test_*.py imports {module}; an analysis has a test"

    def _function(self, where: str, folder: str, module: str, name: str) -> Iterator[str]:
        """Yield the problem of a function that is not in a module of the folder."""
        if not name:
            return
        path = self.registry.folder / folder / f"{module}.py"
        if not path.exists():
            yield f"{where} = {name!r}: {module}.py is missing in this folder"
            return
        body = ast.parse(path.read_text(encoding="utf-8")).body
        known = [node.name for node in body if isinstance(node, ast.FunctionDef)]
        if name not in known:
            yield f"{where} = {name!r} is not a function of {module}.py; {hint(name, known)}"

    # --- what it reads -------------------------------------------------------------------

    def _one_of(self, where: str, name: str, known: Iterable[str], kind: str) -> Iterator[str]:
        if name not in known:
            yield f"{where} = {name!r} is not {kind}; {hint(name, known)}"

    def _file(self, where: str, reads: tuple[str, str]) -> Iterator[str]:
        analysis, output = reads
        if analysis not in self.registry.analyses:
            yield f"{where} = {analysis!r} is not an analysis; " + hint(
                analysis, self.registry.analyses
            )
            return
        outputs = self.registry.analyses[analysis].outputs
        yield from self._one_of(where, output, outputs, f"a table of {analysis}")

    def _table(self, where: str, name: str) -> Iterator[str]:
        summary, _, role = name.partition(":")
        if summary not in self.registry.summaries:
            yield f"{where} = {name!r} is not a summary; {hint(summary, self.registry.summaries)}"
        elif role:
            roles = self.registry.summaries[summary].outputs
            yield from self._one_of(where, role, roles, f"a table of {summary}")

    # --- analyses, summaries, figures, signatures ----------------------------------------

    def _analysis(self, folder: str, name: str, own: Analysis) -> Iterator[str]:
        where = f"analyses.{name}"
        if name not in self.steps:
            yield f'{where}: no module of src/paradox begins with """Step ``{name}``: ...'
        for need in own.needs:
            yield from self._one_of(f"{where}.needs", need, NEEDS, "something that is there")
        yield from self._one_of(f"{where}.suffix", own.suffix, SUFFIXES, "a kind of table")
        yield from self._takes(where, folder, own.takes)
        for output in (*own.unread, *own.on_arm_page):
            yield from self._one_of(where, output, own.outputs, f"a table of {name}")
        for output, shown in own.on_arm_page.items():
            if isinstance(shown, Read):
                function = f"{where}.on_arm_page.{output}"
                yield from self._function(function, folder, "arm", shown.function)
        for lock in own.locks:
            if not (PACKAGE.parents[1] / lock).exists():
                yield f"{where}.locks = {lock!r}: no such file"

    def _takes(self, where: str, folder: str, takes: tuple[str, ...]) -> Iterator[str]:
        own = [
            key
            for each in self.registry.declarations[folder].analyses.values()
            for key in (each.config.model_fields if each.config else ())
        ]
        for name in takes:
            yield from self._one_of(f"{where}.takes", name, [*SETTINGS, *own], "a setting")

    def _made(self, where: str, folder: str, own: Summary | Figure) -> Iterator[str]:
        yield from self._one_of(f"{where}.step", own.step, self.steps, "a step")
        for role, table in own.tables.items():
            yield from self._table(f"{where}.tables.{role}", table)
        yield from self._takes(where, folder, own.takes)
        if own.gathers:
            yield from self._one_of(f"{where}.gathers", own.gathers, GATHERED, "gathered")

    def _summary(self, where: str, folder: str, own: Summary) -> Iterator[str]:
        yield from self._made(where, folder, own)
        for role, reads in own.files.items():
            yield from self._file(f"{where}.files.{role}", reads)
        if not (own.files or own.tables or own.gathers):
            yield f"{where} reads no table"

    def _figure(self, where: str, folder: str, own: Figure) -> Iterator[str]:
        yield from self._made(where, folder, own)
        for name in own.beside:
            yield from self._table(f"{where}.beside", name)
        for part in ("title", "text"):
            if not getattr(own.caption, part).strip():
                yield f"{where}.caption.{part} is empty"
        if own.step == "layer_figure" and not own.rows:
            yield f"{where}.rows is empty; a figure over layers has a row per component"

    def _signature(self, where: str, folder: str, own: Signature) -> Iterator[str]:
        for part in ("claim", "null", "margin"):
            if not getattr(own, part).strip():
                yield f"{where}.{part} is empty"
        yield from self._one_of(f"{where}.source", own.source, references(), "a reference")
        if own.section:
            yield from self._one_of(f"{where}.section", own.section, sections(), "a section")
            if own.source == UNPUBLISHED:
                yield f"{where}.section = {own.section!r}: the paper judges published claims only"
        if own.reads:
            if isinstance(own.reads, tuple):
                yield from self._file(f"{where}.reads", own.reads)
            else:
                yield from self._table(f"{where}.reads", own.reads)
            yield from self._function(where, folder, "signature", own.name)
        elif own.section and not self.registry.declarations[folder].verdicts:
            yield f"{where}: neither reads nor the folder's verdicts say where its rows come from"

    def _unread(self) -> Iterator[str]:
        """Yield tables of analyses that no summary reads."""
        read = {each for own in self.registry.summaries.values() for each in own.files.values()}
        for folder, own in self.registry.declarations.items():
            for name, analysis in own.analyses.items():
                for output in analysis.outputs:
                    if (name, output) not in read and output not in analysis.unread:
                        yield (
                            f"{self.registry.place(folder)}: analyses.{name}.outputs = "
                            f"{output!r}: no summary reads this table; list it in unread if it is "
                            "kept for single items"
                        )


def references() -> list[str]:
    """Return the keys of the paper's references, and what stands for no publication."""
    import yaml

    path = PACKAGE.parents[1] / "paper/references.yml"
    return [
        UNPUBLISHED,
        *(yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else ()),
    ]


def sections() -> list[str]:
    """Return the sections of the paper."""
    return sorted(path.stem for path in (PACKAGE.parents[1] / "paper/sections").glob("*.typ"))


REGISTRY = Registry()


def check() -> None:
    """Refuse declarations that cannot be used.

    Raises
    ------
    ConfigError
        Listing everything that is wrong with the folders of tasks, trainers and analyses.
    """
    if wrong := [*kinds.PROBLEMS, *REGISTRY.problems]:
        raise ConfigError(problems("What is declared cannot be used:", wrong))
