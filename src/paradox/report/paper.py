"""Step ``paper``: a paper in PDF whose numbers, sentences and tables come from result files.

Everything that the text quotes is gathered and formatted here, and handed to the Typst sources
(folder ``paper/``) as one JSON file. There, a name that nothing was gathered under stops the build.
Sections are part of the paper when the run has what they are about.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typst

from paradox.errors import DataError, hint
from paradox.files import atomic_path, write_json
from paradox.progress import Progress
from paradox.provenance.identity import mark
from paradox.report import mechanisms as inside
from paradox.report import tables
from paradox.report import words as outside
from paradox.report.error_rates import rules_table, rules_words
from paradox.report.numbers import Numbers
from paradox.report.sources import Claim, Sources, printed

MAIN, TEMPLATE = "paper.typ", "template.typ"
GATHERED = "gathered.json"
# What is kept of it beside the paper.
KEPT = ("numbers", "sentences", "tables")
# Figures that every run has; others come with their sections.
FIGURES = ("accuracy", "perplexity")
# Section -> the files that it quotes; it is left out where the run does not make all of them.
SECTIONS = {
    "parts": ("perplexity_parts", "figure perplexity_parts"),
    "verdicts": ("verdicts",),
    "where": ("ablation", "lens", "attribution", "jsd", "figure memory"),
    "how": ("trajectories_table",),
    "steering": ("steering_tests", "decontamination_half", "figure steering"),
    "edges": ("eap_table", "figure eap"),
    "tries": ("boundary_crossings", "figure boundary"),
    "errors": ("error_rates", "equivalence", "steering_rates", "eap_rates"),
    "rules": ("rule_rates",),
    "methods": ("methods/did",),
    "trainers": ("methods/eap_signature", "methods/eap_table"),
    "clipping": ("clipping/clipping", "reading clipping/clipping"),
}
# More trainings of the same arms, recorded.
MORE = ("reading seeds/summary", "figure seeds/accuracy")
# Section -> what says its sentences, and what makes its table.
WRITTEN: dict[str, tuple[Callable[[Sources], list[str]], Callable[[Sources], Any] | None]] = {
    "parts": (lambda _: [], tables.parts),
    "where": (inside.truth_words, tables.where),
    "how": (inside.force_words, None),
    "steering": (inside.steering_words, tables.forgetting),
    "edges": (inside.edge_words, None),
    "tries": (inside.tries_words, None),
    "rules": (rules_words, rules_table),
    "methods": (outside.methods_words, tables.methods),
    "clipping": (outside.clipping_words, tables.clipping),
}


def main(
    spec: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Path], progress: Progress
) -> None:
    """Gather what the paper quotes and compile it. Equal inputs give equal bytes.

    A number, a table or a figure that the paper quotes and that is not there is a `DataError`.

    Parameters
    ----------
    spec
        ``scale``, ``planted`` (the contaminated base, or null), ``claims`` (the fields of each
        `Claim`) and ``settings``: sections of the configuration that the text quotes.
    inputs
        ``summary``, and lists: ``sources`` (Typst), ``figures`` (svg) and, if there are any,
        ``tables`` (of this run) and ``recorded`` (of other grids).
    outputs
        ``pdf`` and ``quoted``: all that the text can quote, as printed (JSON).
    """
    files = [*inputs["figures"], *inputs.get("tables", []), *inputs.get("recorded", [])]
    sources = Sources(files, spec["planted"], [Claim(**claim) for claim in spec["claims"]])
    numbers = Numbers.read(inputs["summary"])
    gathered = gather(spec, numbers, sources)
    content = compile_pdf(inputs["sources"], gathered, sources)
    write_json(outputs["quoted"], {name: gathered[name] for name in KEPT})
    with atomic_path(outputs["pdf"]) as path:
        path.write_bytes(content)
    progress.say(f"compiled the paper from {len(numbers.entries)} numbers and {len(files)} files")


def gather(spec: dict[str, Any], numbers: Numbers, sources: Sources) -> dict[str, Any]:
    """Return all that the text can quote, as plain data.

    ``numbers`` (name -> text), ``sentences`` (name -> paragraphs), ``tables`` (name -> table, or
    tables where one would be too wide), ``has`` (section -> whether it is there), ``scale`` and
    ``mark`` (the derivation id, or null).
    """
    # A section that judges claims needs the table of verdicts, too.
    judging = {claim.section for claim in sources.claims}
    has = {
        name: sources.has(*needed, *(["verdicts"] if name in judging else []))
        for name, needed in SECTIONS.items()
    }
    has |= {"planted": numbers.has("design/exposed_from")}
    kind = spec["settings"]["task"]["kind"]
    has |= {name: kind == name for name in ("organism", "word_problems")}
    more = more_trainings(numbers, sources)
    shown: dict[str, Any] = {"effects": tables.effects(numbers, more)}
    has |= {"effects": bool(shown["effects"]["rows"]), "more": more is not None}
    sentences = outside.sentences(numbers)
    sentences |= {"more": outside.more_words(numbers, more) if more else []}
    for name in (name for name in SECTIONS if has[name]):
        said, table = _section(name, numbers, sources)
        sentences |= said
        shown |= {name: table} if table else {}
    for name in FIGURES:
        sources.path(f"figure {name}")
    return {
        "scale": spec["scale"],
        "mark": mark(),
        "has": has,
        "numbers": printed(outside.quoted(numbers, spec["settings"])),
        "sentences": printed(sentences),
        "tables": printed(shown),
    }


def more_trainings(numbers: Numbers, sources: Sources) -> Numbers | None:
    """Return the recorded numbers of the grid `seeds` if they are about this run's arms."""
    if not sources.has(*MORE):
        return None
    more = Numbers.read(sources.path(MORE[0]))
    pair = numbers, more
    arms = [{name for name in run.entries if name[:4] == "did/"} for run in pair]
    trainings = [run.entry("design/seeds")["value"] for run in pair]
    return more if arms[0] == arms[1] and trainings[1] > trainings[0] else None


def _section(name: str, numbers: Numbers, sources: Sources) -> tuple[dict[str, list[str]], Any]:
    """Return a section's paragraphs by name, and its table or tables (or None)."""
    if name == "verdicts":
        said = {"counts": [inside.counts(sources)]}
        return said, tables.verdicts(sources)
    if name == "errors":
        table, rates = tables.errors(sources, numbers.entry("design/exposed_from")["value"])
        return {"errors": inside.error_words(rates, sources)}, table
    if name == "trainers":
        return {"trainers": inside.trainer_words(sources)}, None
    say, show = WRITTEN[name]
    said = {name: say(sources)}
    if any(claim.section == name for claim in sources.claims):
        claimed = inside.claim_words(sources, name)
        said |= {f"{name} {kind}": texts for kind, texts in claimed.items()}
    if name == "steering":
        said |= {"forgetting": inside.forgetting_words(sources)}
    return said, show(sources) if show else None


def compile_pdf(sources: list[Path], gathered: dict[str, Any], files: Sources) -> bytes:
    """Return the PDF of Typst sources that read what was gathered; figures are among `files`.

    The sources are in one folder and its subfolders; one is called ``paper.typ``. Where they ask
    for what is not there, or are wrong, that is a `DataError`.
    """
    with tempfile.TemporaryDirectory() as scratch:
        root = lay_out(Path(scratch), sources, gathered, files)
        try:
            # System fonts differ between machines; the compiler brings its own. No date: 1970.
            content = typst.compile(root / MAIN, root=root, ignore_system_fonts=True, timestamp=0)
        except typst.TypstError as error:
            raise DataError(_explained(error, gathered, root.name)) from None
    if not isinstance(content, bytes):
        raise DataError(f"{MAIN}: no document came of it.")
    return content


def lay_out(root: Path, sources: list[Path], gathered: dict[str, Any], files: Sources) -> Path:
    """Put sources, figures and what was gathered below `root`, as the sources expect them."""
    mains = [Path(path) for path in sources if Path(path).name == MAIN]
    if len(mains) != 1:
        raise DataError(f"the paper needs one {MAIN} among its sources; found {len(mains)}.")
    places = {str(path.relative_to(mains[0].parent)): path for path in map(Path, sources)}
    for name, path in files.files.items():
        if name.startswith("figure "):
            places[f"figures/{name.removeprefix('figure ')}.svg"] = path
    for place, path in places.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, root / place)
    write_json(root / GATHERED, gathered)
    return root


def _explained(error: typst.TypstError, gathered: dict[str, Any], folder: str) -> str:
    """Return the message of a compiler's error in `folder`, with what was likely meant."""
    text = str(error.message).strip()
    # The functions that look names up are in the template; who called them comes after it.
    lines = re.findall(rf"{folder}/([\w/.-]+\.typ):(\d+)", str(error.diagnostic))
    lines.sort(key=lambda line: line[0] == TEMPLATE)
    place = f"paper/{lines[0][0]}, line {lines[0][1]}" if lines else "paper"
    asked = re.search(r'no (numbers|sentences|tables) called \\?"([^"\\]*)', text)
    if asked:
        kind, name = asked.groups()
        near = [known for known in gathered[kind] if known.split("/")[0] == name.split("/")[0]]
        named = hint(name, near or gathered[kind])
        return f"{place}: no entry {name!r} in the gathered {kind}; {named}"
    return f"{place}: {text}"
