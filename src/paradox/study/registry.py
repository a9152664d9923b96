"""The analyses of the study: found in the folders of `paradox.mechanisms`, checked, put together.

A folder with a ``declare.py`` is an analysis. `problems` stop the plan, whichever grid is run.
"""

from __future__ import annotations

import importlib
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field, create_model

from paradox.declare import (
    Analysis,
    Bases,
    Declaration,
    Dtype,
    Figure,
    Gap,
    Name,
    Positive,
    Section,
    Signature,
    Summary,
    Tested,
    Untestable,
    Verdicts,
)
from paradox.errors import ConfigError, problems
from paradox.steps import PACKAGE
from paradox.study import kinds
from paradox.study.checks import Checks, shape

FOLDER = PACKAGE / "mechanisms"
# What all analyses share is no analysis.
SHARED = ("model", "tables")


class Registry:
    """All declarations, by folder, in their order in lists.

    `folder` is where the folders of the analyses are, `package` its dotted name.
    """

    def __init__(self, folder: Path = FOLDER, package: str = "paradox.mechanisms") -> None:
        self.folder, self.package = folder, package
        self.problems: list[str] = []
        folders = (path for path in sorted(folder.iterdir()) if path.is_dir())
        paths = [path for path in folders if path.name not in (*SHARED, "__pycache__")]
        read = [(path.name, self._read(path)) for path in paths]
        declared = [(name, declaration) for name, declaration in read if declaration is not None]
        self.declarations: dict[str, Declaration] = dict(
            sorted(declared, key=lambda pair: (pair[1].place, pair[0]))
        )
        self.analyses: dict[str, Analysis] = self._merged("analyses")
        declared_figures: dict[str, Figure] = self._merged("figures")
        self.tested: dict[str, Tested] = self._merged("tested")
        self.verdicts: dict[str, Verdicts] = self._merged("verdicts")
        declared_summaries: dict[str, Summary] = self._merged("summaries")
        self.summaries = {n: self._gathered(each) for n, each in declared_summaries.items()}
        self.figures = {n: self._gathered(each) for n, each in declared_figures.items()}
        self.problems += Checks(self).run()

    def _read(self, path: Path) -> Declaration | None:
        where = self.place(path.name)
        if not (path / "declare.py").exists():
            if any(path.glob("*.py")):
                self.problems.append(
                    f"{where}: no such file; a folder of {self.folder.name} declares itself there"
                )
            return None
        try:
            module = importlib.import_module(f"{self.package}.{path.name}.declare")
        except Exception as error:  # a declaration can fail in any way
            self.problems.append(f"{where}: cannot be imported ({type(error).__name__}: {error})")
            return None
        declaration = getattr(module, "DECLARATION", None)
        if not isinstance(declaration, Declaration):
            got = "nothing" if declaration is None else type(declaration).__name__
            self.problems.append(f"{where}: DECLARATION = {got}; it must be a Declaration")
            return None
        malformed = [f"{where}: {text}" for text in shape(declaration)]
        self.problems += malformed
        return None if malformed else declaration

    def place(self, folder: str) -> str:
        """Return the file of a folder's declaration, as messages name it."""
        return f"src/{self.package.replace('.', '/')}/{folder}/declare.py"

    def _merged(self, kind: str) -> dict[str, Any]:
        """Return what all folders declare of a kind; a name used twice is a problem."""
        merged: dict[str, Any] = {}
        homes: dict[str, str] = {}
        for folder, declaration in self.declarations.items():
            for name, value in getattr(declaration, kind).items():
                if name in homes:
                    first = self.place(homes[name])
                    self.problems.append(
                        f"{self.place(folder)}: {kind}.{name} is used twice; {first} has it"
                    )
                merged[name], homes[name] = value, folder
        return merged

    def home(self, kind: str, name: str) -> str:
        """Return the folder that declares an analysis, a summary, a figure or a verdict."""
        return next(
            folder
            for folder, declaration in self.declarations.items()
            if name in getattr(declaration, kind)
        )

    @property
    def gaps(self) -> list[tuple[str, Gap]]:
        """The curves over layers with their folders, the truth first."""
        every = [(folder, gap) for folder, each in self.declarations.items() for gap in each.gaps]
        return sorted(every, key=lambda pair: (not pair[1].truth, pair[1].place))

    @property
    def signatures(self) -> list[tuple[str, Signature]]:
        """All signatures with their folders."""
        declared = self.declarations.items()
        return [
            (folder, each) for folder, declaration in declared for each in declaration.signatures
        ]

    @property
    def untestable(self) -> list[tuple[str, Untestable]]:
        """All claims that cannot be tested here, with their folders."""
        declared = self.declarations.items()
        return [
            (folder, each) for folder, declaration in declared for each in declaration.untestable
        ]

    def _gathered(self, made: Any) -> Any:
        """Return a summary or figure with what it reads of all analyses."""
        files, tables = {}, {}
        if made.gathers == "tested":
            files = {name: each.reads for name, each in self.tested.items()}
        if made.gathers == "signatures":
            reads = {each.name: each.reads for _, each in self.signatures if each.reads}
            files = {name: table for name, table in reads.items() if isinstance(table, tuple)}
            tables = {f"{name}+": table for name, table in reads.items() if name not in files}
        if made.gathers == "gaps":
            said = [gap for _, gap in self.gaps if gap.words or isinstance(made, Figure)]
            tables = {gap.table.replace(":", "_"): gap.table for gap in said}
        if made.gathers == "verdicts":
            tables = {name: each.table for name, each in self.verdicts.items()}
        if files:
            made = replace(made, files=made.files | files)
        return replace(made, tables=tables | made.tables) if tables else made

    def shared_keys(self) -> dict[str, Any]:
        """Return the keys of section ``mechanisms`` that all analyses share, with their types."""
        listed = {
            name: (list[str], Field(description=analysis.methods))
            for name, analysis in self.analyses.items()
            if analysis.methods
        }
        methods_of = create_model(
            "MethodsOf", __base__=Section, __doc__="Methods that an analysis compares.", **listed
        )
        keys = {
            "bases": (Bases, "bases whose trained arms are analysed; untrained, all are"),
            "methods": (list[str], "methods of a grid whose arms are analysed"),
            "methods_of": (methods_of, "those of single analyses, in place of methods"),
            "rewards": (list[str], "reward conditions of a grid whose arms are analysed"),
            "reference": (
                Name | None,
                "clean base that analyses compare with; null: no such tests",
            ),
            "permutations": (Positive, "relabellings behind every p-value of layers"),
            "batch_size": (Positive, "items at a time"),
        }
        fields = {name: (kind, Field(description=said)) for name, (kind, said) in keys.items()}
        return fields | {"dtype": (Dtype, ...)}

    @cached_property
    def section(self) -> type[Section]:
        """The section ``mechanisms`` of the configuration: its own keys and those declared."""
        fields = self.shared_keys()
        for each in self.declarations.values():
            fields |= {name: (kind, ...) for name, kind in each.config.items()}
            sections = {name: analysis.config for name, analysis in each.analyses.items()}
            fields |= {name: (section, ...) for name, section in sections.items() if section}
        about = "Where and how memory is looked for inside the models (docs/mechanisms.md)."
        return create_model("Mechanisms", __base__=Section, __doc__=about, **fields)


REGISTRY = Registry()


def check() -> None:
    """Raise a `ConfigError` on what is wrong with folders of tasks, trainers and analyses."""
    if wrong := [*kinds.PROBLEMS, *REGISTRY.problems]:
        raise ConfigError(problems("What is declared cannot be used:", wrong))
