"""Record a run's tables and figures as the committed reference, and the README's numbers.

`reference/<scale>/` holds what a finished run gave, so that texts can quote it and others can
compare. It is recorded only from a clean tree: the commit then says what made the numbers.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from paradox.errors import DataError
from paradox.figures.style import label
from paradox.figures.words import Numbers
from paradox.files import write_text

BEGIN = "<!-- numbers: begin (written by `python -m paradox reference tiny`) -->"
END = "<!-- numbers: end -->"


def record(scale: str, root: Path) -> None:
    """Copy tables and figures of ``results/<scale>`` and rewrite the README's numbers.

    Raises
    ------
    DataError
        When the run is not finished or the tree holds changes that are not committed.
    """
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--", ".", ":!reference", ":!README.md"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    if changed:
        raise DataError(
            "reference: only recorded from a clean tree, so that a commit says what made the "
            f"numbers; commit or drop these changes first:\n{changed.rstrip()}"
        )
    results, target = root / "results" / scale, root / "reference" / scale
    if not (results / "reports/report.html").exists():
        raise DataError(f"{results}: no finished run; run the workflow first.")
    shutil.rmtree(target, ignore_errors=True)
    for folder in ("tables", "figures"):
        shutil.copytree(results / folder, target / folder)
    if scale == "tiny":
        readme = root / "README.md"
        block = readme_block(Numbers.read(target / "tables/summary.json"))
        write_text(readme, with_block(readme.read_text(encoding="utf-8"), block))


def with_block(text: str, block: str) -> str:
    """Return the README with the part between the two marks replaced."""
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise DataError(f"README.md: the marks {BEGIN!r} and {END!r} are missing.")
    return f"{before}{BEGIN}\n{block}{END}{after}"


def readme_block(numbers: Numbers) -> str:
    """Return the README's table of results, from the headline numbers."""
    rewards = [name.split("/")[2] for name in numbers.entries if name.startswith("did/contam")]
    order = ["ground_truth", "format", "incorrect", "random", "constant"]
    rewards.sort(key=lambda name: order.index(name) if name in order else len(order))
    before = [
        _number(numbers, f"before/contaminated/accuracy_{group}") for group in ("exposed", "twin")
    ]
    lines = [
        f"| reward | exposed items (before: {before[0]}) | twins (before: {before[1]}) "
        "| difference-in-differences [95 % interval] | same on the clean base |",
        "|---|---|---|---|---|",
    ]
    for reward in rewards:
        cells = [
            label(reward),
            _number(numbers, f"after/contaminated/{reward}/accuracy_exposed"),
            _number(numbers, f"after/contaminated/{reward}/accuracy_twin"),
            _interval(numbers, f"did/contaminated/{reward}"),
            _interval(numbers, f"did/clean/{reward}"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _number(numbers: Numbers, name: str) -> str:
    return f"{numbers.entry(name)['value']:.2f}"


def _interval(numbers: Numbers, name: str) -> str:
    if not numbers.has(name):
        return "not run"
    entry = numbers.entry(name)
    return f"{entry['value']:+.2f} [{entry['low']:+.2f}, {entry['high']:+.2f}]"
