"""The pages of a grid: where they lie, what each reads, and its parameters."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, astuple
from typing import Any

from paradox.declare import Read, Shown
from paradox.files import canonical_json
from paradox.steps import relative
from paradox.study.grids import Arm, exclusions
from paradox.study.mechanisms import ANALYSES, FIGURES, SUMMARIES, Mechanisms, module
from paradox.study.plan import Study, untrained
from paradox.study.registry import REGISTRY

Inputs = dict[str, list[str]]


class Pages:
    """The pages of one plan; none when the grid has no pages."""

    def __init__(self, study: Study, mechanisms: Mechanisms) -> None:
        self.study, self.mechanisms = study, mechanisms
        self.folder = f"{study.summed}/reports"
        self.analyses = mechanisms.read_by(mechanisms.summaries)

    # --- where they lie ------------------------------------------------------------------

    @property
    def arms(self) -> list[str]:
        """The pages of all arms; their order does not hang on that of configured keys."""
        return sorted(f"{self.folder}/arms/{arm.key}.html" for arm in self.study.all_arms)

    @property
    def figures(self) -> list[str]:
        """The pages of the mechanisms that the grid draws."""
        return [f"{self.folder}/mechanisms/{name}.html" for name in self.mechanisms.figures]

    @property
    def all(self) -> list[str]:
        """Everything that the index leads to."""
        alone = ["reports/report.html", "reports/lineage.html", "paper/paper.pdf"]
        return [f"{self.study.summed}/{name}" for name in alone] + self.figures + self.arms

    @property
    def targets(self) -> list[str]:
        """What a run of the grid makes: the index, and with it all others."""
        return [f"{self.folder}/index.html"] if self.study.pages else []

    # --- arms ----------------------------------------------------------------------------

    def arm_inputs(self, wildcards: Any) -> Inputs:
        """Return what the page of an arm reads, by role; roles of lists end in +."""
        arm, run = Arm.of(wildcards), self.study.run
        both = list(dict.fromkeys([untrained(arm.base), arm]))
        analysed = self._analyses_of(arm)
        steps = ["train", "evaluate", "perplexity", *(f"{name}/{name}" for name in analysed)]
        return {
            "items": [f"{self.study.folder}/data/items.csv"],
            "evaluations+": [run(one, "items.csv") for one in both],
            "nlls+": [run(one, "nll.csv") for one in both],
            "curves": [run(arm, "train.csv")],
            "samples": [run(arm, "samples.parquet")],
            "tables+": [
                run(arm, f"{name}/{ANALYSES[name].file(output)}")
                for name in analysed
                for output in ANALYSES[name].on_arm_page
            ],
            "records+": [run(arm, f"{step}.record.json") for step in steps],
        }

    def arm_records(self, wildcards: Any) -> list[str]:
        """Return the records of what the page of an arm reads."""
        base, names = untrained(wildcards.base), ("evaluate.record.json", "perplexity.record.json")
        records = [f"{self.study.folder}/data/data.record.json"]
        records += [self.study.run(base, name) for name in names]
        return list(dict.fromkeys(records + self.arm_inputs(wildcards)["records+"]))

    def arm_spec(self, wildcards: Any) -> str:
        """Return the parameters of the page of an arm as canonical JSON."""
        arm = Arm.of(wildcards)
        analysed = self._analyses_of(arm)
        behind = {figure: self._behind(figure) for figure in self.mechanisms.figures}
        told = {
            "arm": asdict(arm),
            # A difference to the clean base needs that base's arms; the summary has it.
            "summed": json.loads(self.study.spec("tables")) | {"clean_base": None},
            # The figures that show an analysis alone.
            "analyses": {
                name: {n: FIGURES[n].caption.title for n in behind if behind[n] == [name]}
                for name in analysed
            },
            "shown": {
                f"{name}/{output}": _shown(name, shown)
                for name in analysed
                for output, shown in ANALYSES[name].on_arm_page.items()
            },
            "tables": [],
        }
        return self._spec(f"Arm {arm.key}", f"arms/{arm.key}", told)

    def _analyses_of(self, arm: Arm) -> list[str]:
        return [name for name in self.analyses if arm in self.mechanisms.arms(name)]

    # --- mechanisms ----------------------------------------------------------------------

    def figure_inputs(self, figure: str) -> Inputs:
        """Return what the page of a mechanism reads, by role; roles of lists end in +."""
        drawn = f"{self.study.summed}/figures/{figure}"
        guide = REGISTRY.folder / REGISTRY.home("figures", figure) / "README.md"
        return {
            "figure": [f"{drawn}.svg"],
            "table": [f"{drawn}.csv"],
            "readings+": list(self.mechanisms.readings().values()),
            "guide": [relative(guide)],
        }

    def figure_records(self, figure: str) -> list[str]:
        """Return the records of what the page of a mechanism reads."""
        readings = map(self.mechanisms.record, self.mechanisms.readings())
        return [f"{self.study.summed}/figures/{figure}.record.json", *readings]

    def figure_spec(self, figure: str) -> str:
        """Return the parameters of the page of a mechanism as canonical JSON."""
        arms = dict.fromkeys(
            arm for name in self._behind(figure) for arm in self.mechanisms.arms(name)
        )
        arms |= dict.fromkeys(self.study.all_arms) if self._shows_all(figure) else {}
        words = FIGURES[figure].caption
        told = {"name": figure, "title": words.title, "about": words.text}
        told |= {"arms": _sorted(arms), "readings": []}
        return self._spec(f"Mechanism {figure}", f"mechanisms/{figure}", told)

    def _behind(self, figure: str) -> list[str]:
        """Return the analyses whose summaries a figure shows."""
        shown = [table.partition(":")[0] for table in FIGURES[figure].tables.values()]
        return list(dict.fromkeys(name for summary in shown for name in self._read(summary)))

    def _shows_all(self, figure: str) -> bool:
        """Return whether a figure shows what every arm of the grid is measured by."""
        shown = [table.partition(":")[0] for table in FIGURES[figure].tables.values()]
        return any(SUMMARIES[summary].runs for summary in shown)

    def _read(self, summary: str) -> list[str]:
        declared = SUMMARIES[summary]
        analyses = [name for name, _ in declared.files.values()]
        for table in declared.tables.values():
            analyses += self._read(table.partition(":")[0])
        return analyses

    # --- the summary and the index -------------------------------------------------------

    def shown(self, figures: list[str]) -> list[str]:
        """Return the figures that the summary shows: of the mechanisms only what is about all."""
        return [name for name in figures if name not in FIGURES or FIGURES[name].overview]

    def report_spec(self) -> str:
        """Return the parameters of the summary as canonical JSON."""
        excluded = [e.model_dump(exclude_none=True) for _, e in exclusions(self.study.config)]
        told = {"excluded": excluded, "mechanisms": self._captions(), "readings": []}
        told |= {"figures": [], "verdicts": []}
        return self._spec("Spurious rewards and remembered answers", "report", told)

    def index_spec(self) -> str:
        """Return the parameters of the index as canonical JSON."""
        told = {"arms": _sorted(self.study.all_arms), "mechanisms": self._captions()}
        told |= {"folder": self.folder, "grid": self.study.config.grid}
        return self._spec("All pages", "index", told)

    def _captions(self) -> list[dict[str, str]]:
        return [{"name": name, **asdict(FIGURES[name].caption)} for name in self.mechanisms.figures]

    def arm_modules(self) -> list[str]:
        """Return the modules that the page of an arm loads by name: they read analyses' tables."""
        readers = [
            module(REGISTRY.home("analyses", name), "arm")
            for name in self.analyses
            if any(isinstance(shown, Read) for shown in ANALYSES[name].on_arm_page.values())
        ]
        return list(dict.fromkeys(readers))

    def _spec(self, title: str, name: str, told: dict[str, Any]) -> str:
        scale = self.study.scale
        spec = {"title": f"{title}: scale {scale}", "kept": f"{self.study.logs}/{name}.ipynb"}
        return canonical_json(spec | {"parameters": {"scale": scale, **told}})


def _sorted(arms: Iterable[Arm]) -> list[dict[str, Any]]:
    return [asdict(arm) for arm in sorted(arms, key=astuple)]


def _shown(analysis: str, shown: Shown | Read) -> dict[str, str]:
    """Return how the page of an arm shows a table, as its notebook is told."""
    loaded = module(REGISTRY.home("analyses", analysis), "arm")
    return asdict(shown) | ({"module": loaded} if isinstance(shown, Read) else {})


def pairs(named: Mapping[str, str | list[str]]) -> list[str]:
    """Return role=path for each path, as the runner takes them.

    >>> pairs({"items": "a", "nlls+": ["b", "c"]})
    ['items=a', 'nlls+=b', 'nlls+=c']
    """
    lists = {role: [paths] if isinstance(paths, str) else paths for role, paths in named.items()}
    return [f"{role}={path}" for role, paths in lists.items() for path in paths]
