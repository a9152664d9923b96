"""Step ``paper``: a short manuscript whose numbers and verdicts come from ``summary.json``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, TemplateError
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from paradox.errors import DataError
from paradox.figures import page, words
from paradox.figures.names import in_order, label
from paradox.figures.words import Numbers
from paradox.files import write_text
from paradox.progress import Progress


def main(
    spec: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Path], progress: Progress
) -> None:
    """Fill the template and write one HTML file. Equal inputs give equal bytes.

    Parameters
    ----------
    spec
        ``scale``.
    inputs
        ``template`` (Markdown with Jinja), ``summary``, and ``figures``: a list of svg files,
        which are embedded.
    outputs
        ``html``.

    Raises
    ------
    DataError
        When the template asks for a number, a figure or a name that this run does not have.
    """
    numbers = Numbers.read(inputs["summary"])
    figures = {path.stem: path for path in inputs["figures"]}
    text = render(inputs["template"], numbers, figures, spec["scale"])
    title = text.strip().splitlines()[0].removeprefix("# ")
    write_text(outputs["html"], page.document(title, html(text)))
    progress.say(f"filled the paper from {len(numbers.entries)} numbers")


def html(text: str) -> str:
    """Return Markdown as HTML; the HTML in it (embedded figures) is kept."""
    renderer = IPythonRenderer(escape=False, exclude_anchor_links=True)
    return str(MarkdownWithMath(renderer=renderer).render(text))


def render(template: Path, numbers: Numbers, figures: dict[str, Path], scale: str) -> str:
    """Return the filled template (Markdown).

    Parameters
    ----------
    figures
        Figure name -> svg file.
    """
    environment = Environment(undefined=StrictUndefined, autoescape=False)
    try:
        source = Path(template).read_text(encoding="utf-8")
        return environment.from_string(source).render(_context(numbers, figures, scale))
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        where = f"{template}, line {line}" if line else str(template)
        raise DataError(f"{where}: {error}") from None


def _context(numbers: Numbers, figures: dict[str, Path], scale: str) -> dict[str, Any]:
    """Return what the template can name; every number is looked up when it is printed."""

    def about(sentences: Callable[[Numbers, str], list[str]]) -> Callable[[str], str]:
        return lambda base: words.about(base, sentences(numbers, base))

    def figure(name: str, caption: str) -> str:
        if name not in figures:
            raise DataError(f"the paper shows figure {name!r}, which was not given.")
        return page.image(figures[name], caption)

    every = [(base, arm) for base in numbers.bases for arm in numbers.arms(base)]
    rewards = in_order(arm.split("/")[-1] for _, arm in every)
    compared = [base for base in numbers.bases if words.against_sentences(numbers, base)]
    return {
        "scale": scale,
        "planted": numbers.has("design/exposed_from"),
        "bases": numbers.bases,
        "rewards": rewards,
        "effects": [(base, arm) for base, arm in every if numbers.has(f"did/{base}/{arm}")],
        "compared": compared,
        "arms": lambda base: [words.arm_label(arm) for arm in numbers.arms(base)] or ["none"],
        "label": label,
        "arm_label": words.arm_label,
        "listing": words.listing,
        "value": lambda name: numbers.entry(name)["value"],
        "count": numbers.count,
        "percent": numbers.percent,
        "points": numbers.points,
        "figure": figure,
        "known": about(words.base_sentences),
        "did": about(words.did_sentences),
        "gains": about(words.gain_sentences),
        "against": about(words.against_sentences),
        "likelihoods": about(words.perplexity_sentences),
        "modes": about(words.recall_sentences),
    }
