"""Tables in the README and in docs that hold recorded numbers, between two marks."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from paradox.errors import DataError, hint
from paradox.figures import style
from paradox.figures.names import label
from paradox.files import read_json
from paradox.mechanisms.tables.verdict import NEGLIGIBLE, NOT, OPEN, REPRODUCED
from paradox.pages.verdict_table import in_words, untestable
from paradox.report.error_rates import false_positives
from paradox.report.numbers import ENDS, Numbers, listing, number
from paradox.report.sources import Claim
from paradox.steps import PACKAGE
from paradox.study.registry import REGISTRY

BEGIN = "<!-- numbers: begin (written by `python -m paradox reference tiny`) -->"
END = "<!-- numbers: end -->"
# Documents with the arms of a grid, beside the README with those of the grid `default`.
GRIDS = {"docs/rewards.md": "rewards", "docs/methods.md": "methods"}
CLIPPING = "docs/clipping.md"
MECHANISMS, FINDINGS = "docs/mechanisms.md", "docs/findings.md"
# Documents that hold a block.
DOCUMENTS = ("README.md", *GRIDS, CLIPPING, MECHANISMS, FINDINGS)
REFERENCES = PACKAGE.parents[1] / "paper/references.yml"
SIGNS = {REPRODUCED: "+", NEGLIGIBLE: "~", NOT: "-", OPEN: "."}

MISSING = "No run of this grid is recorded.\n"


def blocks(reference: Path) -> dict[str, str]:
    """Return the text between the marks of each document, from a recorded reference's tables.

    A grid that is not recorded is said to be missing.
    """
    # More trainings of the same arms, where they are recorded.
    places = ["grids/seeds/tables/summary.json", "tables/summary.json"]
    place = next(place for place in places if (reference / place).exists())
    texts = dict.fromkeys(DOCUMENTS, MISSING)
    texts["README.md"] = readme_block(Numbers.read(reference / place), f"reference/tiny/{place}")
    for file, grid in GRIDS.items():
        tables = reference / "grids" / grid / "tables"
        if (tables / "did.csv").exists():
            texts[file] = arms_block(pd.read_csv(tables / "did.csv")) + paragraphs(_said(tables))
    tables = reference / "grids/clipping/tables"
    if (tables / "clipping.csv").exists():
        said = read_json(tables / "clipping.json")
        texts[CLIPPING] = clipping_block(pd.read_csv(tables / "clipping.csv"), said["text"])
    tables = reference / "tables"
    if (tables / "reading.json").exists():
        verdicts = pd.read_csv(tables / "verdicts.csv")
        texts[MECHANISMS] = claims_block(verdicts)
        texts[FINDINGS] = findings_block(verdicts, _said(tables), false_positives(tables))
    return texts


def _said(tables: Path) -> dict[str, str]:
    """Return what each analysis of a grid found, in words, in the order of their declarations."""
    outputs = [summary.outputs for summary in REGISTRY.summaries.values()]
    files = [tables / files["reading"] for files in outputs if "reading" in files]
    said: dict[str, str] = {}
    for file in files:
        said |= read_json(file)["paragraphs"] if file.exists() else {}
    return said


def paragraphs(said: dict[str, str]) -> str:
    """Return a paragraph per analysis, each after an empty line."""
    wrapped = [textwrap.fill(f"**{name}.** {text}", 98) for name, text in said.items()]
    return "".join(f"\n{text}\n" for text in wrapped)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _table(heads: list[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Return the lines of a table."""
    return [_line(heads), f"|{'---|' * len(heads)}", *map(_line, rows)]


def arms_block(did: pd.DataFrame) -> str:
    """Return a table of the arms of a grid, over all seeds, from ``did.csv``."""
    did = style.all_seeds(did)
    did = did.assign(name=style.arm_names(did))
    several = did["base"].nunique() > 1
    rows = []
    for name in style.name_order(did):
        arms = did[did["name"] == name].set_index("base")
        for base in style.bases_in_order(arms.index):
            changes = [_change(arms.loc[base], c) for c in ("exposed_gain", "twin_gain", "did")]
            rows.append([name, *([base] if several else []), *changes])
    heads = ["arm", *(["base"] if several else [])]
    heads += ["exposed items", "twins", "difference-in-differences"]
    return "\n".join(_table(heads, rows)) + "\n"


def clipping_block(table: pd.DataFrame, text: str) -> str:
    """Return the primary drifts and comparisons of ``clipping.csv``, and what they say."""
    drifts = style.all_seeds(table)
    drifts = drifts[drifts["primary"].astype(bool)]
    rows = []
    for row in drifts.to_dict("records"):
        against = "" if pd.isna(row["against"]) else f" - `{row['against']}`"
        mean = number(*(row[end] for end in ENDS), form="+.3f")
        signs = f"{int(row['positive'])} : {int(row['negative'])}"
        cells = [f"`{row['method']}`{against}", f"`{row['measure']}`", mean, signs]
        rows.append([*cells, f"{row['holm_p']:.3f}", f"{row['flip_p']:.3f}"])
    heads = ["method", "measure", "mean [95 % interval]", "seeds up : down", "Holm p"]
    lines = _table([*heads, "sign-flip p"], rows)
    return "\n".join([*lines, "", *textwrap.wrap(text, 98)]) + "\n"


def claims_block(verdicts: pd.DataFrame) -> str:
    """Return a row per claim and a sign per arm, from ``verdicts.csv``."""
    table = in_words(verdicts, lambda row: SIGNS[row["verdict"]]).drop(columns="null")
    arms = list(table.columns[1:])
    lines = [_line(["signature", "claim", "published", *arms])]
    lines.append("|---|---|---|" + ":-:|" * len(arms))
    published = _published()
    for name, *signs in table.itertuples(index=False):
        folder, claim = _claim(name)
        page = f"[`{name}`](../src/paradox/mechanisms/{folder}/README.md)"
        cells = [page, claim.about(name), published.get(claim.source, claim.source)]
        lines.append(_line([*cells, *signs]))
    lacking = []
    known = {each.name: (folder, each) for folder, each in REGISTRY.untestable}
    for name, reason in untestable(verdicts).itertuples(index=False):
        folder, claim = known[name]
        page = f"[`{name}`](../src/paradox/mechanisms/{folder}/README.md)"
        lacking.append([page, claim.claim, published.get(claim.source, claim.source), reason])
    heads = ["not testable here", "claim", "published", "why"]
    return "\n".join([*lines, "", *_table(heads, lacking)]) + "\n"


def _claim(signature: str) -> tuple[str, Claim]:
    """Return the folder and the claim of a row of the table of verdicts; none is a `DataError`."""
    for folder, each in REGISTRY.signatures:
        claim = Claim(each.name, each.claim, each.source, each.section, each.details)
        if claim.covers(signature):
            return folder, claim
    known = [each.name for _, each in REGISTRY.signatures]
    raise DataError(
        f"verdicts.csv: signature {signature!r} is of no folder; {hint(signature, known)}"
    )


def _published() -> dict[str, str]:
    """Return where each reference of the paper was published: a link to arXiv, if it is there."""
    entries = yaml.safe_load(REFERENCES.read_text(encoding="utf-8"))
    published = {}
    for key, entry in entries.items():
        arxiv = re.fullmatch(r"arXiv:(\S+)", entry.get("parent", {}).get("title", ""))
        published[key] = f"[{arxiv[1]}](https://arxiv.org/abs/{arxiv[1]})" if arxiv else key
    return published


def findings_block(rows: pd.DataFrame, said: dict[str, str], rates: pd.DataFrame) -> str:
    """Return verdicts in numbers, a section per analysis, and the tests' error rates."""
    table = in_words(rows)
    table["signature"] = "`" + table["signature"] + "`"
    verdicts = _table(list(table.columns), table.itertuples(index=False))
    lines = ["## Verdicts", "", *verdicts]
    for name, text in said.items():
        lines += ["", f"## {name}", "", *textwrap.wrap(text, 98)]
    shares = []
    for row in rates.to_dict("records"):
        share = number(row["rate"], row["low"], row["high"], form=".3f")
        shares.append([f"`{row['analysis']}`", f"{int(row['runs'])}", share])
    heads = ["analysis", "tests of permuted labels", "share that rejects at .05"]
    return "\n".join([*lines, "", "## Error rates", "", *_table(heads, shares)]) + "\n"


def _change(row: Any, name: str) -> str:
    if pd.isna(row[name]):
        return "no twins"
    return number(row[name], row[f"{name}_low"], row[f"{name}_high"], form="+.2f")


def with_block(text: str, block: str, file: str, marks: tuple[str, str] = (BEGIN, END)) -> str:
    """Return the text of a file with the part between two marks replaced."""
    begin, end = marks
    before, _, rest = text.partition(begin)
    _, mark, after = rest.partition(end)
    if not mark:
        raise DataError(f"{file}: the marks {begin!r} and {end!r} are missing.")
    return f"{before}{begin}\n{block}{end}{after}"


def readme_block(numbers: Numbers, source: str) -> str:
    """Return the README's table of results and its finding, from the numbers in `source`."""
    rewards = [name.split("/")[2] for name in numbers.entries if name.startswith("did/contam")]
    order = ["ground_truth", "format", "incorrect", "random", "constant"]
    rewards.sort(key=lambda name: order.index(name) if name in order else len(order))
    before = [
        _number(numbers, f"before/contaminated/accuracy_{group}") for group in ("exposed", "twin")
    ]
    heads = ["reward", f"exposed items (before: {before[0]})", f"twins (before: {before[1]})"]
    heads += ["difference-in-differences [95 % interval]", "same on the clean base"]
    rows = []
    for reward in rewards:
        after = f"after/contaminated/{reward}/accuracy"
        cells = [label(reward), *(_number(numbers, f"{after}_{g}") for g in ("exposed", "twin"))]
        for name in (f"did/contaminated/{reward}", f"did/clean/{reward}"):
            cells.append(numbers.interval(name) if numbers.has(name) else "not run")
        rows.append(cells)
    lines = _table(heads, rows)
    text = (
        f"Sampled accuracy ({numbers.count('design/samples')} samples per item, "
        f"{numbers.count('design/seeds')} trainings under each reward) on items seen at least "
        f"{numbers.count('design/exposed_from')} times and on their twins. The "
        "difference-in-differences is (after - before) on exposed items minus the same on twins. "
        f"From `{source}`."
    ) + _greedy(numbers, rewards)
    return "\n".join([*lines, "", finding(numbers), "", *textwrap.wrap(text, 98)]) + "\n"


def _greedy(numbers: Numbers, rewards: list[str]) -> str:
    """Return what greedy decoding, the published protocol, could show and what it shows."""
    before = numbers.entry("before/contaminated/greedy_exposed")["value"]
    names = [f"after/contaminated/{reward}/greedy_exposed" for reward in rewards]
    after = [numbers.entry(name)["value"] for name in names]
    return (
        f" By greedy decoding, the published protocol, accuracy on exposed items is {before:.3f} "
        f"before training, which leaves {1 - before:.3f} to gain, and {min(after):.3f} to "
        f"{max(after):.3f} after it."
    )


def finding(numbers: Numbers) -> str:
    """Return the line under the README's table: which spurious rewards show the paradox, and where.

    It needs the bases `contaminated` and, for its second half, `clean`.
    """
    shown = [*map(label, numbers.paradox("contaminated"))]
    subject = listing(shown or ["No spurious reward"])
    text = f"{subject} lift{'s' * (len(shown) < 2)} exposed items and not their twins"
    if trained := numbers.spurious("clean"):
        shown = [*map(label, numbers.paradox("clean"))]
        subject = listing(shown or [f"none of {len(trained)} spurious rewards"])
        text += f"; on the clean base {subject} {'does' if len(shown) < 2 else 'do'}"
    return f"**{text}.**"


def _number(numbers: Numbers, name: str) -> str:
    return f"{numbers.entry(name)['value']:.2f}"
