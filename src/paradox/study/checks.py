"""What is wrong with the declarations of the analyses: names that are not there, missing words."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import yaml

from paradox.declare import (
    GATHERED,
    RUNS,
    SETTINGS,
    Analysis,
    Declaration,
    Figure,
    Gap,
    Read,
    Section,
    Signature,
    Summary,
    Tested,
    Untestable,
    Verdicts,
)
from paradox.errors import hint
from paradox.steps import PACKAGE, declared

if TYPE_CHECKING:
    from paradox.study.registry import Registry

ROOT = PACKAGE.parents[1]
NEEDS = ("base", "reference", "samples", "reference?", "corpus?")
SUFFIXES = ("csv", "parquet")
HOW = ("layers", "counted", "own")
# The source of what nobody has published.
UNPUBLISHED = "this study"
NAME = r"[a-z][a-z0-9_]*"
# The kinds of things in a declaration, by its fields.
KINDS: dict[str, type] = {
    "analyses": Analysis,
    "summaries": Summary,
    "figures": Figure,
    "signatures": Signature,
    "untestable": Untestable,
    "verdicts": Verdicts,
    "gaps": Gap,
    "tested": Tested,
}


def shape(declaration: Declaration) -> Iterator[str]:
    """Yield what stands in a declaration in place of what belongs there; it is checked first."""
    for kind, each in KINDS.items():
        things = getattr(declaration, kind)
        named = things.items() if isinstance(things, dict) else enumerate(things)
        for name, thing in named:
            if not isinstance(thing, each):
                got = type(thing).__name__
                yield f"{kind}.{name} is of type {got}; it must be of type {each.__name__}"
            elif kind == "analyses" and not re.fullmatch(NAME, str(name)):
                yield f"{kind}.{name}: letters, digits and _ make a name, a small letter first"
            elif kind in ("analyses", "tested", "summaries", "signatures"):
                yield from _pairs(f"{kind}.{getattr(thing, 'name', name)}", thing)
    sections = {f"config.{key}": given for key, given in declaration.config.items()}
    for name, analysis in declaration.analyses.items():
        given = getattr(analysis, "config", None)
        sections |= {f"analyses.{name}.config": given} if given is not None else {}
    for where, given in sections.items():
        if not (isinstance(given, type) and issubclass(given, Section)):
            yield f"{where} = {given!r} is no class that is derived from Section"


def _pairs(where: str, thing: Any) -> Iterator[str]:
    """Yield what should name an analysis and one of its tables, and does not."""
    reads = getattr(thing, "files", {}) or {"": getattr(thing, "reads", None)}
    for role, pair in reads.items():
        plain = isinstance(thing, Signature) and isinstance(pair, str)
        if pair is not None and not plain and not (isinstance(pair, tuple) and len(pair) == 2):
            place = f"files.{role}" if role else "reads"
            yield f"{where}.{place} = {pair!r}; it must be (analysis, table)"


class Checks:
    """What is wrong with declarations: names that are not there, words that are missing."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.declared = declared()
        self.steps = [step for step, _ in self.declared]

    def run(self) -> list[str]:
        """Return a line per problem, folder by folder."""
        modules: dict[str, list[str]] = {}
        for step, module in self.declared:
            modules.setdefault(step, []).append(f"src/{module.replace('.', '/')}.py")
        lines = [
            f"{places[-1]}: step {step!r} is used twice; {places[0]} has it"
            for step, places in modules.items()
            if len(places) > 1
        ]
        for folder, declaration in self.registry.declarations.items():
            where = self.registry.place(folder)
            lines += [f"{where}: {text}" for text in self._folder(folder, declaration)]
        return [*lines, *self._twice(), *self._unread(), *self._circles()]

    def _folder(self, folder: str, declaration: Declaration) -> Iterator[str]:
        yield from self._papers(folder, declaration)
        for name, analysis in declaration.analyses.items():
            yield from self._analysis(folder, name, analysis)
        for name, summary in declaration.summaries.items():
            yield from self._summary(f"summaries.{name}", folder, summary)
        for name, figure in declaration.figures.items():
            yield from self._figure(f"figures.{name}", folder, figure)
        for signature in declaration.signatures:
            yield from self._signature(f"signatures.{signature.name}", folder, signature)
        for each in declaration.untestable:
            yield from self._claim(f"untestable.{each.name}", each, ("claim", "why"))
        for name, verdicts in declaration.verdicts.items():
            yield from self._table(f"verdicts.{name}.table", verdicts.table)
        for gap in declaration.gaps:
            where = f"gaps.{gap.table}"
            yield from self._table(f"{where}.table", gap.table)
            yield from self._function(f"{where}.as_contrast", folder, "contrast", gap.as_contrast)
            if gap.as_contrast and gap.words:
                yield f"{where}.words = {gap.words!r}; what as_contrast turns is drawn only"
        for name, tested in declaration.tested.items():
            yield from self._file(f"tested.{name}.reads", tested.reads)
            yield from self._one_of(f"tested.{name}.how", tested.how, HOW, "a way of counting")
            if tested.how == "own":
                for function in ("sides", "test"):
                    yield from self._function(f"tested.{name}.how", folder, "rates", function)

    # --- a folder ------------------------------------------------------------------------

    def _papers(self, folder: str, declaration: Declaration) -> Iterator[str]:
        """Yield what is missing around the code: question, guide, test."""
        if not declaration.question.strip():
            yield "question is empty; it says what the folder asks"
        if not (self.registry.folder / folder / "README.md").exists():
            yield "README.md is missing in this folder; it is the analysis' page of the guide"
        tests = ROOT / "tests"
        module = f"{self.registry.package}.{folder}"
        named = re.compile(rf"\b{re.escape(module)}\b")
        # What is installed has no tests beside it.
        if tests.exists() and not any(
            named.search(file.read_text(encoding="utf-8")) for file in tests.glob("test_*.py")
        ):
            yield f"no file tests/test_*.py imports {module}; an analysis has a test"

    def _function(self, where: str, folder: str, module: str, name: str) -> Iterator[str]:
        """Yield that a function is not in a module of the folder."""
        if not name:
            return
        path = self.registry.folder / folder / f"{module}.py"
        if not path.exists():
            yield f"{where}: {module}.py, with function {name!r}, is missing in this folder"
            return
        body = ast.parse(path.read_text(encoding="utf-8")).body
        known = [node.name for node in body if isinstance(node, ast.FunctionDef)]
        if name not in known:
            yield f"{where}: {name!r} is not a function of {module}.py; {hint(name, known)}"

    # --- what it reads -------------------------------------------------------------------

    def _one_of(self, where: str, name: str, known: Iterable[str], kind: str) -> Iterator[str]:
        """Yield that a name is not among those that are allowed."""
        if name not in known:
            yield f"{where} = {name!r} is not {kind}; {hint(name, known)}"

    def _file(self, where: str, reads: tuple[str, str]) -> Iterator[str]:
        """Yield that an analysis has no such table, or does not exist."""
        analysis, output = reads
        yield from self._one_of(where, analysis, self.registry.analyses, "an analysis")
        if analysis in self.registry.analyses:
            outputs = self.registry.analyses[analysis].outputs
            yield from self._one_of(where, output, outputs, f"a table of analysis {analysis!r}")

    def _table(self, where: str, name: str) -> Iterator[str]:
        """Yield that a summary, or the role of a table of it, does not exist."""
        summary, colon, role = name.partition(":")
        yield from self._one_of(where, summary, self.registry.summaries, "a summary")
        if colon and summary in self.registry.summaries:
            roles = self.registry.summaries[summary].outputs or ("table",)
            yield from self._one_of(where, role, roles, f"a table of summary {summary!r}")

    # --- analyses, summaries, figures, signatures ----------------------------------------

    def _analysis(self, folder: str, name: str, analysis: Analysis) -> Iterator[str]:
        where = f"analyses.{name}"
        if name not in self.steps:
            yield f'{where}: no module of src/paradox begins with """Step ``{name}``: ...'
        for need in analysis.needs:
            yield from self._one_of(f"{where}.needs", need, NEEDS, "a need")
        if not analysis.outputs:
            yield f"{where}.outputs is empty; an analysis writes a table"
        yield from self._one_of(f"{where}.suffix", analysis.suffix, SUFFIXES, "a kind of table")
        yield from self._takes(where, folder, analysis.takes)
        for key in ("unread", "on_arm_page"):
            for output in getattr(analysis, key):
                text = f"a table of analysis {name!r}"
                yield from self._one_of(f"{where}.{key}", output, analysis.outputs, text)
        for output, shown in analysis.on_arm_page.items():
            if isinstance(shown, Read):
                function = f"{where}.on_arm_page.{output}"
                yield from self._function(function, folder, "arm", shown.function)
        for lock in analysis.locks:
            if not (ROOT / lock).exists():
                locks = sorted(f"envs/{path.name}" for path in (ROOT / "envs").glob("*.lock"))
                yield f"{where}.locks = {lock!r} is not a file; {hint(lock, locks)}"

    def _takes(self, where: str, folder: str, takes: tuple[str, ...]) -> Iterator[str]:
        analyses = self.registry.declarations[folder].analyses.values()
        keys = [key for each in analyses if each.config for key in each.config.model_fields]
        for name in takes:
            yield from self._one_of(f"{where}.takes", name, [*SETTINGS, *keys], "a setting")

    def _made(self, where: str, folder: str, made: Summary | Figure) -> Iterator[str]:
        steps = "a step (the first line of its module)"
        yield from self._one_of(f"{where}.step", made.step, self.steps, steps)
        for role, table in made.tables.items():
            yield from self._table(f"{where}.tables.{role}", table)
        yield from self._takes(where, folder, made.takes)
        if made.gathers:
            gathered = "something to gather"
            yield from self._one_of(f"{where}.gathers", made.gathers, GATHERED, gathered)

    def _summary(self, where: str, folder: str, summary: Summary) -> Iterator[str]:
        yield from self._made(where, folder, summary)
        for role, reads in summary.files.items():
            yield from self._file(f"{where}.files.{role}", reads)
        for role, file in summary.runs.items():
            yield from self._one_of(f"{where}.runs.{role}", file, RUNS, "a file of every arm")
        if not (summary.files or summary.runs or summary.tables or summary.gathers):
            yield f"{where} reads nothing; give files, runs, tables or gathers"

    def _figure(self, where: str, folder: str, figure: Figure) -> Iterator[str]:
        yield from self._made(where, folder, figure)
        for name in figure.beside:
            yield from self._table(f"{where}.beside", name)
        for part in ("title", "text"):
            if not getattr(figure.caption, part).strip():
                yield f"{where}.caption.{part} is empty"
        if figure.step == "layer_figure" and not figure.rows:
            yield f"{where}.rows is empty; a figure over layers has a row per component"

    def _signature(self, where: str, folder: str, signature: Signature) -> Iterator[str]:
        yield from self._claim(where, signature, ("claim", "null", "margin"))
        if signature.section:
            yield from self._one_of(f"{where}.section", signature.section, sections(), "a section")
            if signature.source == UNPUBLISHED:
                section = f"{where}.section = {signature.section!r}"
                yield f"{section}: the paper judges published claims only"
        if signature.reads:
            if isinstance(signature.reads, tuple):
                yield from self._file(f"{where}.reads", signature.reads)
            else:
                yield from self._table(f"{where}.reads", signature.reads)
            yield from self._function(f"{where}.reads", folder, "signature", signature.name)
        elif signature.section and not self.registry.declarations[folder].verdicts:
            yield f"{where}.section: neither reads nor the folder's verdicts give it rows to judge"

    def _claim(
        self, where: str, claim: Signature | Untestable, parts: tuple[str, ...]
    ) -> Iterator[str]:
        for part in parts:
            if not getattr(claim, part).strip():
                yield f"{where}.{part} is empty"
        yield from self._one_of(f"{where}.source", claim.source, references(), "a reference")

    # --- over all folders ----------------------------------------------------------------

    def _twice(self) -> Iterator[str]:
        """Yield signatures, keys and files of which there may be one only."""
        registry = self.registry
        shared = "all analyses share it in section mechanisms of the configuration"
        homes = {("key", key): shared for key in registry.shared_keys()}
        for folder, declaration in registry.declarations.items():
            place = registry.place(folder)
            for kind, where, name in _single(declaration):
                if (kind, name) in homes:
                    text = f"{place}: {where}: {kind} {name!r} is used twice"
                    yield f"{text}; {homes[kind, name]}"
                homes.setdefault((kind, name), f"{place} has it")

    def _unread(self) -> Iterator[str]:
        """Yield tables of analyses that no summary reads."""
        read = {pair for each in self.registry.summaries.values() for pair in each.files.values()}
        for folder, declaration in self.registry.declarations.items():
            for name, analysis in declaration.analyses.items():
                for output in analysis.outputs:
                    if (name, output) not in read and output not in analysis.unread:
                        yield (
                            f"{self.registry.place(folder)}: analyses.{name}.outputs = "
                            f"{output!r}: no summary reads this table; list it in unread if it is "
                            "kept for single items"
                        )

    def _circles(self) -> Iterator[str]:
        """Yield summaries that are made from themselves."""
        reads = {
            name: {table.partition(":")[0] for table in each.tables.values()}
            for name, each in self.registry.summaries.items()
        }
        for name in reads:
            behind, waiting = set(), list(reads[name])
            while waiting:
                if (other := waiting.pop()) not in behind:
                    behind.add(other)
                    waiting += reads.get(other, ())
            if name in behind:
                place = self.registry.place(self.registry.home("summaries", name))
                yield f"{place}: summaries.{name}.tables: it is made from itself"


def _single(declaration: Declaration) -> Iterator[tuple[str, str, str]]:
    """Yield kind, place and name of what a declaration may not share with another."""
    for kind in ("signatures", "untestable"):
        for claim in getattr(declaration, kind):
            yield "signature", f"{kind}.{claim.name}", claim.name
    for key in declaration.config:
        yield "key", f"config.{key}", key
    for name, analysis in declaration.analyses.items():
        if analysis.config:
            yield "key", f"analyses.{name}.config", name
    for name, summary in declaration.summaries.items():
        for file in (summary.outputs or {"table": f"{name}.csv"}).values():
            yield "file", f"summaries.{name}.outputs", file


def references() -> list[str]:
    """Return the keys of the paper's references, and what stands for no publication."""
    path = ROOT / "paper/references.yml"
    known = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else ()
    return [UNPUBLISHED, *known]


def sections() -> list[str]:
    """Return the sections of the paper."""
    return sorted(path.stem for path in (ROOT / "paper/sections").glob("*.typ"))
