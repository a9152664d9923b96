"""What the mechanism analyses take from a plan: their arms, files, parameters, tables and figures.

An *analysis* runs once per arm, at its last checkpoint, and writes below the arm's run folder. A
*summary* makes tables of a grid from analyses of all its arms, or from other summaries. A figure
shows summaries. The grid's figures say what is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from paradox.declare import RUNS, Figure, Gap, Summary, Tested
from paradox.files import canonical_json
from paradox.study.grids import Arm
from paradox.study.plan import Study, untrained
from paradox.study.registry import REGISTRY

ANALYSES, SUMMARIES, FIGURES = REGISTRY.analyses, REGISTRY.summaries, REGISTRY.figures


class Mechanisms:
    """The analyses of one plan."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.section = study.config.mechanisms
        config = study.config
        self.paired = study.task.pairs
        self.planted, self.clean = (
            next((base for base in study.bases if config.bases[base].planted is planted), None)
            for planted in (True, False)
        )
        self.figures = [
            name
            for name in study.figures
            if name in FIGURES and all(map(self._made, FIGURES[name].tables.values()))
        ]
        wanted = [_name(t) for name in self.figures for t in FIGURES[name].tables.values()]
        beside = [name for figure in self.figures for name in FIGURES[figure].beside]
        wanted += [name for name in beside if self._made(name)]
        self.targets = list(dict.fromkeys(wanted))
        self.summaries = list(dict.fromkeys(_with_sources(self.targets)))

    def arms(self, analysis: str) -> list[Arm]:
        """Return the arms that an analysis is run on, the untrained bases first."""
        declared = ANALYSES[analysis]
        if declared.paired and not self.paired:
            return []
        if "reference" in declared.needs and self.section.reference not in self.study.bases:
            return []
        bases = self.study.bases if self.section.bases == "all" else self.section.bases
        methods = getattr(self.section.methods_of, analysis, self.section.methods)
        trained = [
            arm
            for arm in self.study.arms
            if arm.base in bases and arm.method in methods and arm.reward in self.section.rewards
        ]
        return trained if declared.trained else [*map(untrained, self.study.bases), *trained]

    def _made(self, table: str) -> bool:
        declared = SUMMARIES[_name(table)]
        if declared.planted and self.planted is None:
            return False
        measured = all(self.arms(analysis) for analysis, _ in declared.files.values())
        return measured and all(map(self._made, declared.tables.values()))

    # --- files ---------------------------------------------------------------------------

    def inputs(self, analysis: str, wildcards: Any) -> dict[str, str]:
        """Return what an analysis reads, by role."""
        arm = Arm.of(wildcards)
        files = {"items": f"{self.study.folder}/data/items.csv"}
        if "samples" in ANALYSES[analysis].needs:
            both = {"before": untrained(arm.base), "after": arm}
            return files | {k: self.study.run(one, "samples.parquet") for k, one in both.items()}
        for role, one in ({"manifest": arm} | self._others(analysis, arm)).items():
            files[role] = f"{self.study.folder}/checkpoints/{one.key}/manifest.json"
        if self._reads_corpus(analysis, arm):
            files["corpus"] = f"{self.study.folder}/data/corpus/{arm.base}.parquet"
        return files

    def producers(self, analysis: str, wildcards: Any) -> list[str]:
        """Return the records of everything that an analysis reads."""
        arm, run = Arm.of(wildcards), self.study.run
        records = [f"{self.study.folder}/data/data.record.json"]
        if "samples" in ANALYSES[analysis].needs:
            both = untrained(arm.base), arm
            return records + [run(one, "evaluate.record.json") for one in both]
        if self._reads_corpus(analysis, arm):
            records.append(f"{self.study.folder}/data/corpus/{arm.base}.record.json")
        read = [arm, *self._others(analysis, arm).values()]
        return records + [run(one, "train.record.json") for one in dict.fromkeys(read)]

    def sources(self, summary: str) -> dict[str, list[str]]:
        """Return what a summary reads, by role; roles of lists end in +."""
        declared = SUMMARIES[summary]
        files = {
            f"{role}+": [
                self.study.run(arm, f"{name}/{ANALYSES[name].file(output)}")
                for arm in self.arms(name)
            ]
            for role, (name, output) in declared.files.items()
        }
        files |= {f"{role}+": self.study.runs(file) for role, file in declared.runs.items()}
        return files | {role: [self.table(name)] for role, name in declared.tables.items()}

    def source_records(self, summary: str) -> list[str]:
        """Return the records of what a summary reads."""
        tables = SUMMARIES[summary].tables.values()
        records = [*self._measured([summary]), *(self.record(_name(table)) for table in tables)]
        for step in dict.fromkeys(RUNS[file] for file in SUMMARIES[summary].runs.values()):
            records += self.study.runs(f"{step}.record.json")
        return list(dict.fromkeys(records))

    def records(self) -> list[str]:
        """Return the records of all analyses of the grid and of its summaries."""
        return self._measured(self.summaries) + [self.record(name) for name in self.summaries]

    def _measured(self, summaries: list[str]) -> list[str]:
        """Return the records of the analyses that summaries read, arm by arm."""
        return [
            self.study.run(arm, f"{name}/{name}.record.json")
            for name in self.read_by(summaries)
            for arm in self.arms(name)
        ]

    def read_by(self, summaries: list[str]) -> list[str]:
        """Return the analyses that summaries read themselves."""
        read = [name for summary in summaries for name, _ in SUMMARIES[summary].files.values()]
        return list(dict.fromkeys(read))

    def outputs(self, summary: str) -> dict[str, str]:
        """Return the files that a summary writes, by role."""
        named = SUMMARIES[summary].outputs or {"table": f"{summary}.csv"}
        return {role: f"{self.study.summed}/tables/{name}" for role, name in named.items()}

    def table(self, named: str) -> str:
        """Return the first file that a summary writes, or that of a role (``summary:role``)."""
        summary, _, role = named.partition(":")
        outputs = self.outputs(summary)
        return outputs[role or next(iter(outputs))]

    def readings(self) -> dict[str, str]:
        """Return what was read from tables in words: summary -> file."""
        outputs = {name: self.outputs(name) for name in self.targets}
        return {name: files["reading"] for name, files in outputs.items() if "reading" in files}

    @property
    def verdicts(self) -> list[str]:
        """The table of verdicts, when it is made."""
        return [self.table("verdicts")] if "verdicts" in self.targets else []

    def figure_sources(self, figure: str) -> tuple[dict[str, str], list[str]]:
        """Return the tables that a figure shows, by role, and their records."""
        tables = FIGURES[figure].tables
        records = dict.fromkeys(self.record(_name(table)) for table in tables.values())
        return {role: self.table(table) for role, table in tables.items()}, list(records)

    def record(self, summary: str) -> str:
        """Return the record of a summary."""
        return f"{self.study.summed}/tables/{summary}.record.json"

    def _others(self, analysis: str, arm: Arm) -> dict[str, Arm]:
        """Return the untrained bases that an analysis of an arm reads, by role."""
        needs, reference = ANALYSES[analysis].needs, str(self.section.reference)
        others = {"base": untrained(arm.base)} if "base" in needs else {}
        optional = reference in self.study.bases and reference != arm.base
        if "reference" in needs or ("reference?" in needs and optional):
            others["reference"] = untrained(reference)
        return others

    def _reads_corpus(self, analysis: str, arm: Arm) -> bool:
        return "corpus?" in ANALYSES[analysis].needs and self.study.trains(arm.base)

    # --- parameters ----------------------------------------------------------------------

    def spec(self, analysis: str, wildcards: Any) -> str:
        """Return an analysis' parameters for one arm as canonical JSON."""
        config, declared = self.study.config, ANALYSES[analysis]
        settings = self._own_settings(analysis)
        if "samples" not in declared.needs:
            settings |= {"batch_size": self.section.batch_size, "dtype": self.section.dtype}
        settings |= {name: self._setting(name) for name in declared.takes}
        given = {"arm": asdict(Arm.of(wildcards)), "task": config.task.model_dump(mode="json")}
        given |= {analysis: settings, "exposed_from": config.contrast.exposed_from}
        return canonical_json(given | self._setting("bootstrap"))

    def summary_spec(self, summary: str) -> str:
        """Return the parameters of a summary as canonical JSON."""
        declared, folder = SUMMARIES[summary], REGISTRY.home("summaries", summary)
        own_claims = {each.name: each.claim for each in REGISTRY.declarations[folder].signatures}
        known = {"measures": declared.measures, "table": summary}
        known["claims"] = _all_claims() if declared.gathers else own_claims
        for name in REGISTRY.declarations[folder].analyses:
            known = self._own_settings(name) | known
        given = {n: known[n] if n in known else self._setting(n) for n in declared.takes}
        return canonical_json(given | self._gathered(declared.gathers))

    def _own_settings(self, analysis: str) -> dict[str, Any]:
        """Return an analysis' own section of the configuration; empty where it has none."""
        if not ANALYSES[analysis].config:
            return {}
        return getattr(self.section, analysis).model_dump(mode="json")

    def figure_spec(self, figure: str) -> str:
        """Return the parameters of a figure as canonical JSON."""
        declared = FIGURES[figure]
        given: dict[str, Any] = {"figure": figure}
        given |= {name: self._setting(name) for name in declared.takes}
        given |= {"rows": [asdict(row) for row in declared.rows]} if declared.rows else {}
        return canonical_json(given | self._gathered(declared.gathers))

    def _setting(self, name: str) -> Any:
        """Return a setting of `paradox.declare.SETTINGS`."""
        config, section = self.study.config, self.section
        rates = section.error_rates.model_dump(mode="json")
        settings = {
            "bootstrap": {"seed": config.seed, "resamples": config.statistics.resamples},
            "exposed_from": config.contrast.exposed_from,
            "chance": config.contrast.chance or 0.0,
            "planted": self.planted,
            "bases": {"planted": self.planted, "clean": self.clean},
            "reference": section.reference,
            "permutations": section.permutations,
            "margin_share": rates["margin_share"],
            "error_rates": rates,
            "rates": {key: rates[key] for key in ("relabellings", "permutations")},
            "relabellings": rates["relabellings"],
            "exposures": rates["exposures"],
            "temperature": config.evaluation.temperature,
            "max_tokens": config.evaluation.max_tokens,
        }
        return settings[name]

    def _gathered(self, what: str) -> dict[str, Any]:
        """Return what a summary or figure is told of all analyses."""
        if what == "tested":
            return {"tested": [_tested(name, test) for name, test in REGISTRY.tested.items()]}
        if what == "signatures":
            return {
                "signatures": [
                    {"name": each.name, "module": module(folder, "signature")}
                    for folder, each in REGISTRY.signatures
                    if each.reads
                ]
            }
        if what == "gaps":
            return {"gaps": [_gap(folder, gap) for folder, gap in REGISTRY.gaps]}
        if what == "verdicts":
            nulls = {each.name: each.null for _, each in REGISTRY.signatures}
            rows = [asdict(each) | {"analysis": name} for name, each in REGISTRY.verdicts.items()]
            untestable = [
                {"analysis": folder, "signature": each.name, "reason": each.why}
                for folder, each in REGISTRY.untestable
            ]
            return {"verdicts": rows, "nulls": nulls, "untestable": untestable}
        return {}

    def code(self, made: Summary | Figure) -> list[str]:
        """Return the source files behind a summary or figure."""
        return self.study.code(made.step, *loaded(made))


def loaded(made: Summary | Figure) -> list[str]:
    """Return the modules that a summary or figure loads by name, from the folders of analyses."""
    if made.gathers == "tested":
        told = (_tested(name, test)["module"] for name, test in REGISTRY.tested.items())
        return [name for name in told if name]
    if made.gathers == "signatures":
        return [module(folder, "signature") for folder, each in REGISTRY.signatures if each.reads]
    if made.gathers == "gaps" and isinstance(made, Figure):
        return [module(folder, "contrast") for folder, gap in REGISTRY.gaps if gap.as_contrast]
    return []


def module(folder: str, name: str) -> str:
    """Return the dotted name of a module in an analysis' folder."""
    return f"{REGISTRY.package}.{folder}.{name}"


def _all_claims() -> dict[str, dict[str, str]]:
    """Return the claims that step ``signatures`` tests, by the figure that shows what they read."""
    claims: dict[str, dict[str, str]] = {}
    for folder, each in REGISTRY.signatures:
        if each.reads:
            output = each.reads[1] if isinstance(each.reads, tuple) else each.reads
            shown = output if output in REGISTRY.figures else folder
            claims.setdefault(shown, {})[each.name] = each.claim
    return claims


def _tested(name: str, test: Tested) -> dict[str, Any]:
    loaded = module(REGISTRY.home("tested", name), "rates") if test.how == "own" else None
    return {"name": name, "how": test.how, "measures": test.measures, "module": loaded}


def _gap(folder: str, gap: Gap) -> dict[str, Any]:
    """Return a curve as steps are told of it: ``role`` is that of its table."""
    loaded = module(folder, "contrast") if gap.as_contrast else None
    told = asdict(gap) | {"role": gap.table.replace(":", "_"), "module": loaded}
    told["analysis"] = _name(gap.table)
    return {key: value for key, value in told.items() if key not in ("table", "place")}


def _name(table: str) -> str:
    return table.partition(":")[0]


def _with_sources(summaries: list[str]) -> Iterator[str]:
    for name in summaries:
        yield from _with_sources([_name(table) for table in SUMMARIES[name].tables.values()])
        yield name
