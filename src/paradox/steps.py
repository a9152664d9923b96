"""The steps of the study: which module runs each, and which files its result depends on."""

from __future__ import annotations

import ast
import re
from collections import deque
from collections.abc import Mapping
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent


def folders(package: str) -> list[str]:
    """Return the names of the folders of modules inside a package of this one, sorted."""
    paths = [path for path in (PACKAGE / package).iterdir() if path.name[0] not in "._"]
    return sorted(path.name for path in paths if any(path.glob("*.py")))


# A trainer is a step of its own, so that editing one leaves the others' arms alone.
TRAINERS = {name: f"paradox.train.{name}.trainer" for name in folders("train")}
# Pages that are notebooks; what a notebook imports belongs to its page's code.
NOTEBOOKS = {
    "report": "workflow/notebooks/report.py",
    "mechanism_page": "workflow/notebooks/mechanism.py",
    "arm_page": "workflow/notebooks/arm.py",
    "index_page": "workflow/notebooks/index.py",
}
# The first line of a step's module says so.
TORCH = re.compile(r"^(import|from) torch\b", re.MULTILINE)
DETERMINISM = re.compile(r'^DETERMINISM = "(\w+)"', re.MULTILINE)
TITLE = re.compile(r'^"""Steps? (``\w+``(?:, ``\w+``)*)')


def declared() -> list[tuple[str, str]]:
    """Return every step with its module, as the first lines of the package's modules say."""
    steps = []
    for file in sorted(PACKAGE.rglob("*.py")):
        with open(file, encoding="utf-8") as opened:
            title = TITLE.match(opened.readline())
        if title:
            module = ".".join((PACKAGE.name, *file.relative_to(PACKAGE).with_suffix("").parts))
            steps += [(name, module) for name in re.findall(r"\w+", title[1])]
    return steps


STEPS = dict(declared())


@cache
def numeric(step: str) -> bool:
    """Say whether a step computes with PyTorch; the others start in a fraction of a second."""
    return any(TORCH.search(Path(file).read_text(encoding="utf-8")) for file in code(step))


@cache
def loads_task(step: str) -> bool:
    """Say whether a step loads the module of the scale's task, by its kind."""
    names = (name for file in code(step) for name in _imports(Path(file)))
    return any(name.endswith((".load_task", ".task_class")) for name in names)


def determinism(step: str, device: str) -> str:
    """Return how far a step's result repeats on one device class.

    ``bitwise``: equal bytes. ``tolerance``: equal up to rounding. ``statistical``: rounding
    decides what is sampled, so only estimates agree. A module that does not sample says
    ``DETERMINISM = "tolerance"``.
    """
    if not numeric(step) or device.startswith("cpu"):
        return "bitwise"
    module = _file(STEPS[step])
    match = DETERMINISM.search(module.read_text(encoding="utf-8")) if module else None
    return match[1] if match else "statistical"


def code(step: str, *loaded: str) -> list[str]:
    """Return the package's files that a step's module or notebook imports, directly or not, sorted.

    Paths are relative to the working directory when they lie below it. `loaded` names modules
    that the step loads by name. The reward files of an arm are not among them: the workflow
    lists them as inputs of their own.
    """
    return sorted(imports_of(step, *loaded))


def imports_of(step: str, *loaded: str) -> dict[str, str | None]:
    """Return each file of a step's code -> the file that imports it, on one of the shortest ways.

    None stands for the step's own module and those that it loads by name. The file of a notebook
    imports, but does not belong to the code: it is an input of its page.
    """
    waiting = deque[tuple[Path | None, Path | None]]()
    waiting.extend((_file(module), None) for module in (STEPS[step], *loaded))
    if step in NOTEBOOKS:
        notebook = PACKAGE.parents[1] / NOTEBOOKS[step]
        waiting.extend((_file(module), notebook) for module in sorted(_imports(notebook)))
    importers: dict[Path, Path | None] = {}
    while waiting:
        file, importer = waiting.popleft()
        if file is None or file in importers or not file.exists():
            continue
        importers[file] = importer
        waiting.extend((_file(module), file) for module in sorted(_imports(file)))
        # The __init__ of every package above a module runs before the module does.
        above = (p / "__init__.py" for p in file.parents if p.is_relative_to(PACKAGE))
        waiting.extend((package, file) for package in above)
    return {relative(file): by and relative(by) for file, by in importers.items()}


def chain_of_imports(file: str, importers: Mapping[str, str | None]) -> list[str]:
    """Return the modules through which a file belongs to a step's code, that of the file last.

    The first is the step's own, one that it loads by name, or the file of its notebook;
    `importers` are the step's `imports_of`.
    """
    chain = [file]
    while (importer := importers.get(chain[0])) is not None:
        chain.insert(0, importer)
    return [_module(file) for file in chain]


def relative(file: Path) -> str:
    """Return a file's path, relative to the working directory when it lies below."""
    here = Path.cwd()
    return str(file.relative_to(here) if file.is_relative_to(here) else file)


def _file(module: str) -> Path | None:
    """Return the file of a module of this package, or None."""
    if module.split(".")[0] != PACKAGE.name:
        return None
    path = PACKAGE.joinpath(*module.split(".")[1:])
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.exists():
            return candidate
    return None


def _module(file: str) -> str:
    """Return the module of a file of this package; that of a notebook has none, and stays."""
    path = Path.cwd() / file
    if not path.is_relative_to(PACKAGE):
        return file
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join((PACKAGE.name, *(part for part in parts if part != "__init__")))


def _imports(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = ".".join(filter(None, [*_above(file, node.level), node.module]))
            names |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return names


def _above(file: Path, level: int) -> tuple[str, ...]:
    """Return the package that `level` dots before a relative import stand for; none for no dots."""
    if not level:
        return ()
    return (PACKAGE.name, *file.parents[level - 1].relative_to(PACKAGE).parts)
