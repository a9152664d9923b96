"""The steps of the study: which module runs each, and which files its result depends on."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent

# A trainer is a step of its own, so that editing one leaves the others' arms alone.
TRAINERS = {
    "grpo": "paradox.train.grpo",
    "rloo": "paradox.train.rloo",
    "ppo": "paradox.train.ppo",
    "dpo": "paradox.train.dpo",
    "sft": "paradox.train.sft",
}
# These learn from samples of the base, which are made beforehand.
FROM_SAMPLES = ("dpo", "sft")
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
    return any(name.endswith(".load_task") for file in code(step) for name in _imports(Path(file)))


def determinism(step: str, device: str) -> str:
    """Return how far a step's result repeats on one device class.

    ``bitwise``: equal bytes. ``tolerance``: equal up to rounding. ``statistical``: rounding
    decides what is sampled, so only estimates agree. A module that does not sample says
    ``DETERMINISM = "tolerance"``.
    """
    if not numeric(step) or device.startswith("cpu"):
        return "bitwise"
    module = _file(STEPS[step])
    said = DETERMINISM.search(module.read_text(encoding="utf-8")) if module else None
    return said[1] if said else "statistical"


def code(step: str, *loaded: str) -> list[str]:
    """Return the package's files that a step's module or notebook imports, directly or not, sorted.

    Paths are relative to the working directory when they lie below it. `loaded` names modules
    that the step loads by name. The reward files of an arm are not among them: the workflow
    lists them as inputs of their own.
    """
    found: set[Path] = set()
    modules = {STEPS[step], *loaded}
    if step in NOTEBOOKS:
        modules |= _imports(PACKAGE.parents[1] / NOTEBOOKS[step])
    waiting = [_file(module) for module in modules]
    while waiting:
        file = waiting.pop()
        if file is None or file in found or not file.exists():
            continue
        found.add(file)
        # The __init__ of every package above a module runs before the module does.
        waiting += [p / "__init__.py" for p in file.parents if p.is_relative_to(PACKAGE)]
        waiting += map(_file, _imports(file))
    return sorted(map(relative, found))


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
