"""The pages of a grid: where they lie, what each reads, and its parameters.

A page of an arm reads the files of that arm and of its untrained base only, so that a new arm
makes its own page and the index.
"""

from __future__ import annotations

import json
from dataclasses import asdict, astuple
from pathlib import Path
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
        self.summed = f"{study.folder}/{study.part}".rstrip("/")
        self.folder = f"{self.summed}/reports"
        self.logs = f"logs/{study.scale}/{study.part}".rstrip("/")
        used = [n for name in mechanisms.summaries for n, _ in SUMMARIES[name].files.values()]
        self.analyses = list(dict.fromkeys(used))

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
        return [f"{self.summed}/{name}" for name in alone] + self.figures + self.arms

    @property
    def targets(self) -> list[str]:
        """What a run of the grid makes: the index, and with it all others."""
        return [f"{self.folder}/index.html"] if self.study.pages else []

    # --- arms ----------------------------------------------------------------------------

    def arm_inputs(self, wildcards: Any) -> Inputs:
        """Return what the page of an arm reads, by role; roles of lists end in +."""
        arm = Arm(wildcards.base, wildcards.method, wildcards.reward, int(wildcards.seed))
        found = {"items": [f"{self.study.folder}/data/items.csv"]}
        both = list(dict.fromkeys([untrained(arm.base), arm]))
        found["evaluations+"] = [self._run(one, "items.csv") for one in both]
        found["nlls+"] = [self._run(one, "nll.csv") for one in both]
        found["curves"] = [self._run(arm, "train.csv")]
        found["samples"] = [self._run(arm, "samples.parquet")]
        analysed = self._analyses_of(arm)
        found["tables+"] = [
            self._run(arm, f"{name}/{ANALYSES[name].file(output)}")
            for name in analysed
            for output in ANALYSES[name].on_arm_page
        ]
        steps = ["train", "evaluate", "perplexity", *(f"{name}/{name}" for name in analysed)]
        found["records+"] = [self._run(arm, f"{step}.record.json") for step in steps]
        return found

    def arm_records(self, wildcards: Any) -> list[str]:
        """Return the records of what the page of an arm reads."""
        measured = ("evaluate.record.json", "perplexity.record.json")
        base = [self._run(untrained(wildcards.base), name) for name in measured]
        found = [f"{self.study.folder}/data/data.record.json", *base]
        return list(dict.fromkeys(found + self.arm_inputs(wildcards)["records+"]))

    def arm_spec(self, wildcards: Any) -> str:
        """Return the parameters of the page of an arm as canonical JSON."""
        arm = Arm(wildcards.base, wildcards.method, wildcards.reward, int(wildcards.seed))
        # A difference to the clean base needs that base's arms; the summary has it.
        summed = json.loads(self.study.spec("tables")) | {"clean_base": None}
        analysed = self._analyses_of(arm)
        drawn = {
            name: {figure: FIGURES[figure].caption.title for figure in self._figures_of(name)}
            for name in analysed
        }
        shown = {
            f"{name}/{output}": _shown(name, how)
            for name in analysed
            for output, how in ANALYSES[name].on_arm_page.items()
        }
        own = {
            "arm": asdict(arm),
            "summed": summed,
            "analyses": drawn,
            "shown": shown,
            "tables": [],
        }
        title = f"Arm {arm.key}: scale {self.study.scale}"
        return self._spec(title, f"arms/{arm.key}", own)

    def _analyses_of(self, arm: Arm) -> list[str]:
        return [name for name in self.analyses if arm in self.mechanisms.arms(name)]

    def _figures_of(self, analysis: str) -> list[str]:
        """Return the figures that show an analysis alone."""
        return [n for n in self.mechanisms.figures if self._behind(n) == [analysis]]

    def _run(self, arm: Arm, file: str) -> str:
        return f"{self.study.folder}/runs/{arm.key}/{file}"

    # --- mechanisms ----------------------------------------------------------------------

    def figure_inputs(self, figure: str) -> Inputs:
        """Return what the page of a mechanism reads, by role; roles of lists end in +."""
        drawn = f"{self.summed}/figures/{figure}"
        found = {"figure": [f"{drawn}.svg"], "table": [f"{drawn}.csv"]}
        found["readings+"] = list(self.mechanisms.readings().values())
        # The page of the guide, of the folder that declares the figure.
        guide = REGISTRY.folder / REGISTRY.home("figures", figure) / "README.md"
        return found | {"guide": [relative(guide)]}

    def figure_records(self, figure: str) -> list[str]:
        """Return the records of what the page of a mechanism reads."""
        readings = map(self.mechanisms.record, self.mechanisms.readings())
        return [f"{self.summed}/figures/{figure}.record.json", *readings]

    def figure_spec(self, figure: str) -> str:
        """Return the parameters of the page of a mechanism as canonical JSON."""
        arms = dict.fromkeys(
            arm for name in self._behind(figure) for arm in self.mechanisms.arms(name)
        )
        arms |= dict.fromkeys(self.study.all_arms) if self._shows_all(figure) else {}
        shown = [asdict(arm) for arm in sorted(arms, key=astuple)]
        words = FIGURES[figure].caption
        own = {"name": figure, "title": words.title, "about": words.text}
        own |= {"arms": shown, "readings": []}
        title = f"Mechanism {figure}: scale {self.study.scale}"
        return self._spec(title, f"mechanisms/{figure}", own)

    def _behind(self, figure: str) -> list[str]:
        """Return the analyses whose summaries a figure shows."""
        shown = [table.partition(":")[0] for table in FIGURES[figure].tables.values()]
        return list(dict.fromkeys(name for summary in shown for name in self._read(summary)))

    def _shows_all(self, figure: str) -> bool:
        """Return whether a figure shows what every arm of the grid is measured by."""
        shown = [table.partition(":")[0] for table in FIGURES[figure].tables.values()]
        return any(SUMMARIES[summary].runs for summary in shown)

    def _read(self, summary: str) -> list[str]:
        how = SUMMARIES[summary]
        found = [name for name, _ in how.files.values()]
        for table in how.tables.values():
            found += self._read(table.partition(":")[0])
        return found

    # --- the summary and the index -------------------------------------------------------

    def shown(self, figures: list[str]) -> list[str]:
        """Return the figures that the summary shows: of the mechanisms only what is about all."""
        return [name for name in figures if name not in FIGURES or FIGURES[name].overview]

    def report_spec(self) -> str:
        """Return the parameters of the summary as canonical JSON."""
        excluded = [e.model_dump(exclude_none=True) for _, e in exclusions(self.study.config)]
        own = {"excluded": excluded, "mechanisms": self._captions(), "readings": []}
        own |= {"figures": [], "verdicts": []}
        title = f"Spurious rewards and remembered answers: scale {self.study.scale}"
        return self._spec(title, "report", own)

    def index_spec(self) -> str:
        """Return the parameters of the index as canonical JSON."""
        arms = [asdict(arm) for arm in sorted(self.study.all_arms, key=astuple)]
        own = {"arms": arms, "mechanisms": self._captions()}
        own |= {"folder": self.folder, "grid": self.study.config.grid}
        return self._spec(f"All pages: scale {self.study.scale}", "index", own)

    def _captions(self) -> list[dict[str, str]]:
        return [{"name": name, **asdict(FIGURES[name].caption)} for name in self.mechanisms.figures]

    def arm_modules(self) -> list[str]:
        """Return the modules that the page of an arm loads by name: they read analyses' tables."""
        readers = [
            module(REGISTRY.home("analyses", name), "arm")
            for name in self.analyses
            if any(isinstance(how, Read) for how in ANALYSES[name].on_arm_page.values())
        ]
        return list(dict.fromkeys(readers))

    def _spec(self, title: str, name: str, own: dict[str, Any]) -> str:
        kept = Path(self.logs) / f"{name}.ipynb"
        parameters = {"scale": self.study.scale, **own}
        return canonical_json({"title": title, "kept": kept.as_posix(), "parameters": parameters})


def _shown(analysis: str, how: Shown | Read) -> dict[str, str]:
    """Return how the page of an arm shows a table, as its notebook is told."""
    loaded = module(REGISTRY.home("analyses", analysis), "arm")
    return asdict(how) | ({"module": loaded} if isinstance(how, Read) else {})


def pairs(named: Inputs) -> list[str]:
    """Return role=path for each path, as the runner takes them.

    >>> pairs({"items": ["a"], "nlls+": ["b", "c"]})
    ['items=a', 'nlls+=b', 'nlls+=c']
    """
    return [f"{role}={path}" for role, paths in named.items() for path in paths]
