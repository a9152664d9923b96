"""What the mechanism analyses take from a plan: their arms, files, parameters, tables and figures.

An *analysis* runs once per arm, at its last checkpoint, and writes below the arm's run folder. A
*summary* makes tables of a grid from analyses of all its arms, or from other summaries. A figure
shows summaries. The grid's figures say what is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from paradox.files import canonical_json
from paradox.study.analyses import ANALYSES, FIGURES, SUMMARIES
from paradox.study.grids import Arm
from paradox.study.plan import Study, untrained


class Mechanisms:
    """The analyses of one plan."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.how = study.config.mechanisms
        config = study.config
        self.paired = study.task.pairs
        of = {
            planted: [b for b in study.bases if config.bases[b].planted is planted]
            for planted in (True, False)
        }
        self.planted, self.clean = (of[planted][0] if of[planted] else None for planted in of)
        self.figures = [name for name in study.figures if name in FIGURES and self._drawn(name)]
        wanted = [_name(t) for name in self.figures for t in FIGURES[name].tables.values()]
        beside = [name for figure in self.figures for name in FIGURES[figure].beside]
        wanted += [name for name in beside if self._made(name)]
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
        methods = getattr(self.how.methods_of, analysis, self.how.methods)
        trained = [
            arm
            for arm in self.study.arms
            if arm.base in bases and arm.method in methods and arm.reward in self.how.rewards
        ]
        return ([] if own.trained else [untrained(base) for base in self.study.bases]) + trained

    def _made(self, table: str) -> bool:
        how = SUMMARIES[_name(table)]
        if how.planted and self.planted is None:
            return False
        own = all(self.arms(analysis) for analysis, _ in how.files.values())
        return own and all(map(self._made, how.tables.values()))

    def _drawn(self, figure: str) -> bool:
        return all(map(self._made, FIGURES[figure].tables.values()))

    # --- files ---------------------------------------------------------------------------

    def inputs(self, analysis: str, wildcards: Any) -> dict[str, str]:
        """Return what an analysis reads, by role."""
        arm = _arm(wildcards)
        found = {"items": f"{self.study.folder}/data/items.csv"}
        if "samples" in ANALYSES[analysis].needs:
            before = self._file(untrained(arm.base), "samples.parquet")
            return found | {"before": before, "after": self._file(arm, "samples.parquet")}
        found["manifest"] = self._manifest(arm)
        for need, other in self._others(analysis, arm).items():
            found[need] = self._manifest(other)
        if self._reads_corpus(analysis, arm):
            found["corpus"] = f"{self.study.folder}/data/corpus/{arm.base}.parquet"
        return found

    def producers(self, analysis: str, wildcards: Any) -> list[str]:
        """Return the records of everything that an analysis reads."""
        arm = _arm(wildcards)
        found = [f"{self.study.folder}/data/data.record.json"]
        if "samples" in ANALYSES[analysis].needs:
            both = untrained(arm.base), arm
            return found + [self._file(one, "evaluate.record.json") for one in both]
        if self._reads_corpus(analysis, arm):
            found.append(f"{self.study.folder}/data/corpus/{arm.base}.record.json")
        read = [arm, *self._others(analysis, arm).values()]
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
        return found + list(dict.fromkeys(self.record(_name(t)) for t in how.tables.values()))

    def records(self) -> list[str]:
        """Return the records of all analyses of the grid and of its summaries."""
        used = [name for summary in self.summaries for name, _ in SUMMARIES[summary].files.values()]
        found = [self._record(arm, name) for name in dict.fromkeys(used) for arm in self.arms(name)]
        return found + [self.record(name) for name in self.summaries]

    def outputs(self, summary: str) -> dict[str, str]:
        """Return the files that a summary writes, by role."""
        named = SUMMARIES[summary].outputs or {"table": f"{summary}.csv"}
        return {role: f"{self._folder}/tables/{name}" for role, name in named.items()}

    def table(self, named: str) -> str:
        """Return the first file that a summary writes, or that of a role (``summary:role``)."""
        summary, _, role = named.partition(":")
        outputs = self.outputs(summary)
        return outputs[role or next(iter(outputs))]

    def readings(self) -> dict[str, str]:
        """Return what was read from tables in words: summary -> file."""
        found = {name: self.outputs(name).get("reading") for name in self.targets}
        return {name: path for name, path in found.items() if path}

    @property
    def verdicts(self) -> list[str]:
        """The table of verdicts, when it is made."""
        return [self.table("verdicts")] if "verdicts" in self.targets else []

    def figure_spec(self, figure: str) -> str:
        """Return the parameters of a figure as canonical JSON."""
        told = {"planted": self.planted} if FIGURES[figure].planted else {}
        return canonical_json({"figure": figure} | told)

    def figure_sources(self, figure: str) -> tuple[dict[str, str], list[str]]:
        """Return the tables that a figure shows, by role, and their records."""
        tables = FIGURES[figure].tables
        records = dict.fromkeys(self.record(_name(table)) for table in tables.values())
        return {role: self.table(table) for role, table in tables.items()}, list(records)

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

    def _others(self, analysis: str, arm: Arm) -> dict[str, Arm]:
        """Return the untrained bases that an analysis of an arm reads, by role."""
        needs, reference = ANALYSES[analysis].needs, str(self.how.partial_prompts.reference)
        found = {"base": untrained(arm.base)} if "base" in needs else {}
        optional = reference in self.study.bases and reference != arm.base
        if "reference" in needs or ("reference?" in needs and optional):
            found["reference"] = untrained(reference)
        return found

    def _reads_corpus(self, analysis: str, arm: Arm) -> bool:
        return "corpus?" in ANALYSES[analysis].needs and self.study.trains(arm.base)

    # --- parameters ----------------------------------------------------------------------

    def spec(self, analysis: str, wildcards: Any) -> str:
        """Return an analysis' parameters for one arm as canonical JSON."""
        how = self.how.model_dump(mode="json")
        own = dict(how.get(analysis, {}))
        if "samples" not in ANALYSES[analysis].needs:
            own |= {key: how[key] for key in ("batch_size", "dtype")}
        if analysis in ("probes", "trajectories"):
            own |= {key: how["error_rates"][key] for key in ("relabellings", "exposures")}
        if analysis == "boundary":
            sampled = self.study.config.evaluation.model_dump(mode="json")
            own |= {key: sampled[key] for key in ("temperature", "max_tokens")}
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
            **self._of_later_steps(how.measures, rates),
        }
        return canonical_json(given[how.step])

    def _of_later_steps(self, measures: Any, rates: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters of the steps on how memory works and can be steered."""
        how, given = self.how, self._statistics()
        tested = {"permutations": how.permutations, "margin_share": rates["margin_share"]}
        planted, bootstrap = {"planted": self.planted}, {"bootstrap": given["bootstrap"]}
        bases = {"bases": planted | {"clean": self.clean}}
        again = {key: rates[key] for key in ("relabellings", "permutations")}
        share = {"margin_share": rates["margin_share"]}
        norms = {"norm_tolerance": how.reset_keep.norm_tolerance}
        doses = {"null_doses": how.steering.null_doses, "error_rates": rates}
        limits = {"margin": how.boundary.margin, "chance": self.study.config.contrast.chance or 0.0}
        return {
            "separation": bootstrap | planted | share,
            "reset_keep_tests": given | tested | norms | {"measures": measures},
            "reset_keep_reading": {},
            "dose_response": given | tested | bases | doses,
            "tradeoff": bootstrap | tested,
            "steering_reading": planted,
            "eap_summary": bootstrap | tested | {"rates": again},
            "eap_reading": {},
            "eap_map": bootstrap | {"permutations": how.permutations},
            "boundary_summary": bootstrap | {"permutations": how.permutations} | limits,
            "boundary_reading": planted,
            "verdicts": {"exposed_from": given["exposed_from"]},
        }

    def _statistics(self) -> dict[str, Any]:
        config = self.study.config
        bootstrap = {"seed": config.seed, "resamples": config.statistics.resamples}
        return {"exposed_from": config.contrast.exposed_from, "bootstrap": bootstrap}


def _arm(wildcards: Any) -> Arm:
    return Arm(wildcards.base, wildcards.method, wildcards.reward, int(wildcards.seed))


def _name(table: str) -> str:
    return table.partition(":")[0]


def _with_sources(summaries: list[str]) -> Iterator[str]:
    for name in summaries:
        yield from _with_sources([_name(table) for table in SUMMARIES[name].tables.values()])
        yield name
