"""What the mechanism analyses take from a plan: their arms, files, parameters, tables and figures.

An *analysis* runs once per arm, at its last checkpoint, and writes below the arm's run folder. A
*summary* makes tables of a grid from analyses of all its arms, or from other summaries. A figure
shows summaries. The grid's figures say what is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from paradox.files import canonical_json
from paradox.study.config import BenchmarksTask
from paradox.study.grids import Arm
from paradox.study.plan import Study, untrained


@dataclass(frozen=True)
class Analysis:
    """An analysis of single arms; its name is that of its step.

    Attributes
    ----------
    outputs
        Names of its tables.
    needs
        What it reads beside the arm's checkpoint and the items: ``base`` (the untrained base's
        checkpoint), ``reference`` (the clean base's) or ``samples`` (of the base and of the arm,
        in place of the arm's checkpoint).
    trained
        Whether untrained bases are left out.
    paired
        Whether every exposed item needs a twin of its own.
    suffix
        Of its tables; those with a row per item, component and layer are large.
    locks
        Of packages that only this analysis needs.
    """

    outputs: tuple[str, ...] = ("table",)
    needs: tuple[str, ...] = ()
    trained: bool = False
    paired: bool = False
    suffix: str = "csv"
    locks: tuple[str, ...] = ()

    def file(self, output: str) -> str:
        """Return the name of an output's file."""
        return f"{output}.{self.suffix}"


@dataclass(frozen=True)
class Summary:
    """Tables of a grid; its name is that of the first.

    Attributes
    ----------
    step
        What makes them.
    files
        Role -> analysis and output: a file of every arm.
    tables
        Role -> another summary.
    measures
        Columns that are summed up.
    outputs
        Role -> file.
    planted
        Whether there must be a contaminated base.
    """

    step: str
    files: dict[str, tuple[str, str]] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)
    measures: tuple[str, ...] | dict[str, tuple[str, ...]] = ()
    outputs: dict[str, str] = field(default_factory=dict)
    planted: bool = False


@dataclass(frozen=True)
class Figure:
    """A figure: its step, and role -> summary; a role that ends in + takes a list of files."""

    step: str
    tables: dict[str, str]


ANALYSES = {
    "labels": Analysis(("labels", "confusion", "rules"), ("samples",), trained=True),
    "partial_prompts": Analysis(("items", "contrast"), ("reference",)),
    "lens": Analysis(("lens", "attribution", "emergence"), suffix="parquet"),
    "jsd": Analysis(suffix="parquet"),
    "ablation": Analysis(suffix="parquet"),
    "probes": Analysis(("table", "change", "rates"), ("base",), paired=True),
    "cross_model": Analysis(needs=("base",), trained=True, suffix="parquet"),
    "cross_item": Analysis(paired=True, suffix="parquet"),
}
PATCHED = ("gold_logp", "mode_logp")
# What the layer tests are about.
TESTED = {
    "lens": ("logp",),
    "attribution": ("logit",),
    "jsd": ("excess",),
    "ablation": ("logp_drop", "correct_drop"),
    "partial_prompts": ("exact_greedy", "edit", "nll", "lift"),
}
ITEMS = {
    "ablation": ("ablation", "table"),
    "jsd": ("jsd", "table"),
    "lens": ("lens", "lens"),
    "attribution": ("lens", "attribution"),
}


def _by_layer(name: str, *measures: str) -> Summary:
    return Summary("by_layer", {"tables": ITEMS[name]}, measures=measures)


def _collected(analysis: str, output: str) -> Summary:
    return Summary("collected", {"tables": (analysis, output)})


def _recovery(analysis: str) -> Summary:
    # So many rows are ten times as large in csv.
    outputs = {"table": f"{analysis}.parquet"}
    return Summary("recovery", {"tables": (analysis, "table")}, measures=PATCHED, outputs=outputs)


SUMMARIES = {
    "labels": _collected("labels", "rules"),
    "confusion": _collected("labels", "confusion"),
    "partial_prompts": _collected("partial_prompts", "contrast"),
    "lens": _by_layer("lens", "logp", "rank", "control_logp", "emerged"),
    "attribution": _by_layer("attribution", "logit", "control_logit"),
    "jsd": _by_layer("jsd", "jsd", "excess", "local_jsd"),
    "ablation": _by_layer("ablation", "logp_drop", "correct_drop"),
    "probes": _collected("probes", "table"),
    "probes_change": _collected("probes", "change"),
    "cross_model": _recovery("cross_model"),
    "cross_item": _recovery("cross_item"),
    "error_rates": Summary(
        "error_rates",
        ITEMS
        | {
            "labels": ("labels", "labels"),
            "partial_prompts": ("partial_prompts", "items"),
            "probes": ("probes", "rates"),
        },
        measures=TESTED,
        outputs={"rates": "error_rates.csv", "equivalence": "equivalence.csv"},
        planted=True,
    ),
    "signatures": Summary(
        "signatures",
        ITEMS | {"labels": ("labels", "labels"), "probes": ("probes", "table")},
        tables={"recovery+": "cross_model"},
        planted=True,
    ),
    "reading": Summary(
        "layer_reading",
        tables={name: name for name in ITEMS} | {"signatures": "signatures"},
        outputs={"reading": "reading.json"},
        planted=True,
    ),
}
FIGURES = {
    "labels": Figure("labels_figure", {"tables+": "confusion"}),
    "partial_prompts": Figure("partial_prompts_figure", {"tables+": "partial_prompts"}),
    "probes": Figure("probes_figure", {"tables+": "probes", "changes+": "probes_change"}),
    "patching": Figure("patching_figure", {"table": "cross_model"}),
    "memory": Figure("memory_figure", {name: name for name in ITEMS} | {"probes+": "probes"}),
    **{name: Figure("layer_figure", {"table": name}) for name in ITEMS},
}
# What is made beside the overview.
WITH_OVERVIEW = ("labels", "cross_item", "error_rates", "reading")


class Mechanisms:
    """The analyses of one plan."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.how = study.config.mechanisms
        config = study.config
        self.paired = not isinstance(config.task, BenchmarksTask)
        of = {
            planted: [b for b in study.bases if config.bases[b].planted is planted]
            for planted in (True, False)
        }
        self.planted, self.clean = (of[planted][0] if of[planted] else None for planted in of)
        self.figures = [name for name in study.figures if name in FIGURES and self._drawn(name)]
        wanted = [table for name in self.figures for table in FIGURES[name].tables.values()]
        if "memory" in self.figures:
            wanted += [name for name in WITH_OVERVIEW if self._made(name)]
        self.targets = list(dict.fromkeys(wanted))
        self.summaries = list(dict.fromkeys(_with_sources(self.targets)))

    def arms(self, analysis: str) -> list[Arm]:
        """Return the arms that an analysis is run on, the untrained bases first."""
        own = ANALYSES[analysis]
        if own.paired and not self.paired:
            return []
        if "reference" in own.needs and self.how.partial_prompts.reference not in self.study.bases:
            return []
        bases = self.study.bases if self.how.bases == "all" else self.how.bases
        trained = [
            arm
            for arm in self.study.arms
            if arm.base in bases
            and arm.method in self.how.methods
            and arm.reward in self.how.rewards
        ]
        return ([] if own.trained else [untrained(base) for base in self.study.bases]) + trained

    def _made(self, summary: str) -> bool:
        how = SUMMARIES[summary]
        if how.planted and self.planted is None:
            return False
        own = all(self.arms(analysis) for analysis, _ in how.files.values())
        return own and all(self._made(table) for table in how.tables.values())

    def _drawn(self, figure: str) -> bool:
        return all(self._made(table) for table in FIGURES[figure].tables.values())

    # --- files ---------------------------------------------------------------------------

    def inputs(self, analysis: str, wildcards: Any) -> dict[str, str]:
        """Return what an analysis reads, by role."""
        arm = _arm(wildcards)
        found = {"items": f"{self.study.folder}/data/items.csv"}
        if "samples" in ANALYSES[analysis].needs:
            before = self._file(untrained(arm.base), "samples.parquet")
            return found | {"before": before, "after": self._file(arm, "samples.parquet")}
        found["manifest"] = self._manifest(arm)
        for need in ANALYSES[analysis].needs:
            found[need] = self._manifest(self._other(need, arm))
        return found

    def producers(self, analysis: str, wildcards: Any) -> list[str]:
        """Return the records of everything that an analysis reads."""
        arm = _arm(wildcards)
        found = [f"{self.study.folder}/data/data.record.json"]
        if "samples" in ANALYSES[analysis].needs:
            both = untrained(arm.base), arm
            return found + [self._file(one, "evaluate.record.json") for one in both]
        read = [arm, *(self._other(need, arm) for need in ANALYSES[analysis].needs)]
        return found + [self._file(one, "train.record.json") for one in dict.fromkeys(read)]

    def sources(self, summary: str) -> dict[str, list[str]]:
        """Return what a summary reads, by role; roles of lists end in +."""
        how = SUMMARIES[summary]
        found = {
            f"{role}+": [
                self._file(arm, f"{name}/{ANALYSES[name].file(output)}") for arm in self.arms(name)
            ]
            for role, (name, output) in how.files.items()
        }
        return found | {role: [self.table(name)] for role, name in how.tables.items()}

    def source_records(self, summary: str) -> list[str]:
        """Return the records of what a summary reads."""
        how = SUMMARIES[summary]
        analyses = dict.fromkeys(name for name, _ in how.files.values())
        found = [self._record(arm, name) for name in analyses for arm in self.arms(name)]
        return found + [self.record(name) for name in how.tables.values()]

    def records(self) -> list[str]:
        """Return the records of all analyses of the grid and of its summaries."""
        used = [name for summary in self.summaries for name, _ in SUMMARIES[summary].files.values()]
        found = [self._record(arm, name) for name in dict.fromkeys(used) for arm in self.arms(name)]
        return found + [self.record(name) for name in self.summaries]

    def outputs(self, summary: str) -> dict[str, str]:
        """Return the files that a summary writes, by role."""
        named = SUMMARIES[summary].outputs or {"table": f"{summary}.csv"}
        return {role: f"{self._folder}/tables/{name}" for role, name in named.items()}

    def table(self, summary: str) -> str:
        """Return the first file that a summary writes."""
        return next(iter(self.outputs(summary).values()))

    def record(self, summary: str) -> str:
        """Return the record of a summary."""
        return f"{self._folder}/tables/{summary}.record.json"

    @property
    def _folder(self) -> str:
        return f"{self.study.folder}/{self.study.part}".rstrip("/")

    def _file(self, arm: Arm, name: str) -> str:
        return f"{self.study.folder}/runs/{arm.key}/{name}"

    def _record(self, arm: Arm, analysis: str) -> str:
        return self._file(arm, f"{analysis}/{analysis}.record.json")

    def _manifest(self, arm: Arm) -> str:
        return f"{self.study.folder}/checkpoints/{arm.key}/manifest.json"

    def _other(self, need: str, arm: Arm) -> Arm:
        reference = str(self.how.partial_prompts.reference)
        return untrained(reference if need == "reference" else arm.base)

    # --- parameters ----------------------------------------------------------------------

    def spec(self, analysis: str, wildcards: Any) -> str:
        """Return an analysis' parameters for one arm as canonical JSON."""
        how = self.how.model_dump(mode="json")
        own = dict(how.get(analysis, {}))
        if "samples" not in ANALYSES[analysis].needs:
            own |= {key: how[key] for key in ("batch_size", "dtype")}
        if analysis == "probes":
            own |= {key: how["error_rates"][key] for key in ("relabellings", "exposures")}
        task = self.study.config.task.model_dump(mode="json")
        given = {"arm": asdict(_arm(wildcards)), "task": task, analysis: own}
        statistics = self._statistics()
        return canonical_json(given | statistics.pop("bootstrap") | statistics)

    def summary_spec(self, summary: str) -> str:
        """Return the parameters of a summary as canonical JSON."""
        how = SUMMARIES[summary]
        bases = {"planted": self.planted, "clean": self.clean}
        rates = self.how.error_rates.model_dump(mode="json")
        measured = {"measures": how.measures, "permutations": self.how.permutations}
        given: dict[str, Any] = {
            "collected": {"table": summary},
            "by_layer": measured | self._statistics(),
            "recovery": measured | self._statistics(),
            "error_rates": {"measures": how.measures, "bases": bases, "error_rates": rates}
            | self._statistics(),
            "signatures": {
                "permutations": self.how.permutations,
                "margin_share": rates["margin_share"],
                "planted": self.planted,
            }
            | self._statistics(),
            "layer_reading": {"planted": self.planted},
        }
        return canonical_json(given[how.step])

    def _statistics(self) -> dict[str, Any]:
        config = self.study.config
        bootstrap = {"seed": config.seed, "resamples": config.statistics.resamples}
        return {"exposed_from": config.contrast.exposed_from, "bootstrap": bootstrap}


def _arm(wildcards: Any) -> Arm:
    return Arm(wildcards.base, wildcards.method, wildcards.reward, int(wildcards.seed))


def _with_sources(summaries: list[str]) -> Iterator[str]:
    for name in summaries:
        yield from _with_sources(list(SUMMARIES[name].tables.values()))
        yield name
