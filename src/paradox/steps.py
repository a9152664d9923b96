"""The steps of the study: which module runs each, and which files its result depends on."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent


def folders(package: str) -> list[str]:
    """Return the names of the folders of modules inside a package of this one, sorted."""
    paths = [path for path in (PACKAGE / package).iterdir() if path.name[0] not in "._"]
    return sorted(path.name for path in paths if any(path.glob("*.py")))


# A trainer is a step of its own, so that editing one leaves the others' arms alone.
TRAINERS = {name: f"paradox.train.{name}.trainer" for name in folders("train")}
# Mechanism analyses that run the models: where memory is; how it works and can be steered.
FIRST = ("partial_prompts", "lens", "jsd", "ablation", "probes", "cross_model", "cross_item")
LATER = ("trajectories", "reset_keep", "steering", "decontamination", "eap", "boundary")
ANALYSES = (*FIRST, *LATER)
# These steps load the module of the scale's task.
WITH_TASK = ("data", "corpus", "votes", "samples", *TRAINERS, "evaluate", "perplexity", *ANALYSES)
# Pages that are notebooks; what a notebook imports belongs to its page's code.
NOTEBOOKS = {
    "report": "workflow/notebooks/report.py",
    "mechanism_page": "workflow/notebooks/mechanism.py",
    "arm_page": "workflow/notebooks/arm.py",
    "index_page": "workflow/notebooks/index.py",
}
STEPS = {
    "data": "paradox.tasks.data",
    "corpus": "paradox.tasks.corpus",
    "base": "paradox.train.base",
    "votes": "paradox.evaluate.votes",
    "samples": "paradox.train.samples",
    **TRAINERS,
    "evaluate": "paradox.evaluate.sampling",
    "perplexity": "paradox.mechanisms.perplexity",
    **{name: f"paradox.mechanisms.{name}" for name in ANALYSES},
    "labels": "paradox.mechanisms.labels",
    "by_layer": "paradox.mechanisms.by_layer",
    "collected": "paradox.mechanisms.collected",
    "recovery": "paradox.mechanisms.recovery",
    "error_rates": "paradox.mechanisms.error_rates",
    "signatures": "paradox.mechanisms.signatures",
    "layer_reading": "paradox.mechanisms.layer_reading",
    "separation": "paradox.mechanisms.separation",
    "reset_keep_tests": "paradox.mechanisms.reset_keep_tests",
    "reset_keep_reading": "paradox.mechanisms.reset_keep_reading",
    "dose_response": "paradox.mechanisms.dose_response",
    "tradeoff": "paradox.mechanisms.tradeoff",
    "steering_reading": "paradox.mechanisms.steering_reading",
    "eap_summary": "paradox.mechanisms.eap_summary",
    "eap_map": "paradox.mechanisms.eap_map",
    "eap_reading": "paradox.mechanisms.eap_reading",
    "boundary_summary": "paradox.mechanisms.boundary_summary",
    "boundary_reading": "paradox.mechanisms.boundary_reading",
    "verdicts": "paradox.mechanisms.verdicts",
    "layer_figure": "paradox.figures.layers",
    "labels_figure": "paradox.figures.labels",
    "partial_prompts_figure": "paradox.figures.partial_prompts",
    "patching_figure": "paradox.figures.patching",
    "probes_figure": "paradox.figures.probes",
    "memory_figure": "paradox.figures.memory",
    "verdicts_figure": "paradox.figures.verdicts",
    **{f"{name}_figure": f"paradox.figures.{name}" for name in LATER},
    "tables": "paradox.evaluate.tables",
    "figure": "paradox.figures.draw",
    "clipping": "paradox.mechanisms.clipping",
    "clipping_figure": "paradox.figures.clipping",
    **{name: "paradox.figures.notebook" for name in NOTEBOOKS},
    "paper": "paradox.figures.paper",
    "lineage": "paradox.figures.lineage",
}
# These steps compute with PyTorch; the others start in a fraction of a second.
NUMERIC = {"base", "votes", "samples", *TRAINERS, "evaluate", "perplexity", *ANALYSES}


def determinism(step: str, device: str) -> str:
    """Return how far a step's result repeats on one device class.

    ``bitwise``: equal bytes. ``tolerance``: equal up to rounding. ``statistical``: rounding
    decides what is sampled, so only estimates agree.
    """
    if step not in NUMERIC or device.startswith("cpu"):
        return "bitwise"
    return "tolerance" if step in ("perplexity", "lens", "jsd", "ablation") else "statistical"


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
    return sorted(map(_relative, found))


def source(step: str) -> str:
    """Return the file of a step's module, relative to the working directory when it lies below."""
    file = _file(STEPS[step])
    assert file is not None
    return _relative(file)


def _relative(file: Path) -> str:
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
