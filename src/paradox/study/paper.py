"""What the paper is made from: its sources, tables of the run, and recorded ones of other grids."""

from __future__ import annotations

from pathlib import Path

from paradox.study.mechanisms import Mechanisms

SOURCES = Path("paper")
# Not what an editor or a preview leaves there.
SUFFIXES = (".typ", ".yml")
# Summaries (``summary:role``) that the text quotes, as far as the run makes them.
QUOTED = (
    "verdicts",
    "perplexity_parts:parts",
    "ablation",
    "lens",
    "attribution",
    "jsd",
    "trajectories:table",
    "steering:tests",
    "steering:rates",
    "decontamination:half",
    "eap:table",
    "eap:rates",
    "boundary:crossings",
    "error_rates:rates",
    "error_rates:equivalence",
    "rule_rates",
)
# Other grids are not run for the paper: what is recorded of them is quoted.
RECORDED = {
    "seeds": ("tables/summary.json", "figures/accuracy.svg"),
    "methods": ("tables/did.csv", "tables/eap_signature.csv", "tables/eap_table.csv"),
    "clipping": ("tables/clipping.csv", "tables/clipping.json"),
}


def sources(root: Path | None = None) -> list[str]:
    """Return the paper's source files."""
    root = root or Path.cwd()
    paths = (path for path in (root / SOURCES).rglob("*") if path.suffix in SUFFIXES)
    return sorted(path.relative_to(root).as_posix() for path in paths)


def quoted(mechanisms: Mechanisms) -> tuple[list[str], list[str]]:
    """Return the tables of the run's mechanisms that the text quotes, and their records."""
    made = [name for name in QUOTED if name.partition(":")[0] in mechanisms.summaries]
    records = [mechanisms.record(name.partition(":")[0]) for name in made]
    return [mechanisms.table(name) for name in made], list(dict.fromkeys(records))


def recorded(scale: str, root: Path | None = None) -> list[str]:
    """Return the recorded tables and figures of other grids, as far as there are."""
    folder = Path("reference") / scale / "grids"
    paths = (folder / grid / name for grid in RECORDED for name in RECORDED[grid])
    return [path.as_posix() for path in paths if ((root or Path.cwd()) / path).exists()]
