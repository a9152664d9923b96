"""What the mechanism analyses take from a plan: their arms, files, parameters and tables.

An *analysis* runs once per arm, at its last checkpoint, and writes below the arm's run folder. A
*summary* makes one table of a grid from an analysis of all its arms. A figure shows summaries.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from paradox.files import canonical_json
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
        checkpoint), ``reference`` (the clean base's) or ``samples`` (of the base and of the arm).
    trained
        Whether untrained bases are left out.
    """

    outputs: tuple[str, ...] = ("table",)
    needs: tuple[str, ...] = ()
    trained: bool = False


@dataclass(frozen=True)
class Summary:
    """A table of a grid.

    Attributes
    ----------
    step
        What makes it.
    analysis, output
        What it is made from.
    measures
        For step ``by_layer``: columns.
    """

    step: str
    analysis: str
    output: str = "table"
    measures: tuple[str, ...] = ()


ANALYSES = {
    "labels": Analysis(("labels", "confusion", "rules"), ("samples",), trained=True),
    "partial_prompts": Analysis(("items", "contrast"), ("reference",)),
    "lens": Analysis(("lens", "attribution", "emergence")),
    "jsd": Analysis(),
    "ablation": Analysis(),
    "probes": Analysis(("table", "change", "rates"), ("base",)),
    "cross_model": Analysis(needs=("base",), trained=True),
    "cross_item": Analysis(),
}
SUMMARIES = {
    "labels": Summary("collected", "labels", "rules"),
    "confusion": Summary("collected", "labels", "confusion"),
    "partial_prompts": Summary("collected", "partial_prompts", "contrast"),
    "lens": Summary("by_layer", "lens", "lens", ("logp", "rank", "control_logp", "emerged")),
    "attribution": Summary("by_layer", "lens", "attribution", ("logit", "control_logit")),
    "jsd": Summary("by_layer", "jsd", measures=("jsd", "excess", "local_jsd")),
    "ablation": Summary("by_layer", "ablation", measures=("logp_drop", "correct_drop")),
    "probes": Summary("collected", "probes"),
    "probes_change": Summary("collected", "probes", "change"),
    "cross_model": Summary("recovery", "cross_model", measures=PATCHED),
    "cross_item": Summary("recovery", "cross_item", measures=PATCHED),
}
FIGURES = {
    "labels": ("labels", "confusion"),
    "partial_prompts": ("partial_prompts",),
    "lens": ("lens",),
    "attribution": ("attribution",),
    "jsd": ("jsd",),
    "ablation": ("ablation",),
    "memory": ("lens", "attribution", "jsd", "ablation"),
}


class Mechanisms:
    """The analyses of one plan."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.how = study.config.mechanisms
        self.figures = [name for name in study.figures if name in FIGURES]
        self.tables = list(
            dict.fromkeys(
                table
                for figure in self.figures
                for table in FIGURES[figure]
                if self.arms(SUMMARIES[table].analysis)
            )
        )

    def arms(self, analysis: str) -> list[Arm]:
        """Return the arms that an analysis is run on, the untrained bases first."""
        own = ANALYSES[analysis]
        if "reference" in own.needs and self.how.partial_prompts.reference not in self.study.bases:
            return []
        trained = [
            arm
            for arm in self.study.arms
            if arm.method in self.how.methods and arm.reward in self.how.rewards
        ]
        return ([] if own.trained else [untrained(base) for base in self.study.bases]) + trained

    def files(self, table: str) -> list[str]:
        """Return the files that a summary is made from."""
        how = SUMMARIES[table]
        return [self._file(arm, f"{how.analysis}/{how.output}.csv") for arm in self.arms(how.analysis)]

    def records(self, table: str) -> list[str]:
        """Return the records of these files."""
        analysis = SUMMARIES[table].analysis
        return [self._file(arm, f"{analysis}/{analysis}.record.json") for arm in self.arms(analysis)]

    def _file(self, arm: Arm, name: str) -> str:
        return f"{self.study.folder}/runs/{arm.key}/{name}"

    def inputs(self, analysis: str, wildcards: Any) -> dict[str, str]:
        """Return what an analysis reads beside the arm's checkpoint and the items, by role."""
        arm = Arm(wildcards.base, wildcards.method, wildcards.reward, int(wildcards.seed))
        folder, base = self.study.folder, untrained(wildcards.base)
        found = {}
        for need in ANALYSES[analysis].needs:
            if need == "samples":
                found["before"] = self._file(base, "samples.parquet")
                found["after"] = self._file(arm, "samples.parquet")
            else:
                named = self.how.partial_prompts.reference if need == "reference" else arm.base
                found[need] = f"{folder}/checkpoints/{untrained(str(named)).key}/manifest.json"
        return found

    def producers(self, analysis: str, wildcards: Any) -> list[str]:
        """Return the records of everything that an analysis reads."""
        found = [f"{self.study.folder}/data/data.record.json"]
        arm = Arm(wildcards.base, wildcards.method, wildcards.reward, int(wildcards.seed))
        found.append(self._file(arm, "train.record.json"))
        for need in ANALYSES[analysis].needs:
            if need == "samples":
                found += [
                    self._file(a, "evaluate.record.json") for a in (untrained(arm.base), arm)
                ]
            else:
                named = self.how.partial_prompts.reference if need == "reference" else arm.base
                found.append(self._file(untrained(str(named)), "train.record.json"))
        return list(dict.fromkeys(found))

    def spec(self, analysis: str, wildcards: Any) -> str:
        """Return an analysis' parameters for one arm as canonical JSON."""
        arm = Arm(wildcards.base, wildcards.method, wildcards.reward, int(wildcards.seed))
        how = self.how.model_dump(mode="json")
        own = how.get(analysis, {}) | {key: how[key] for key in ("batch_size", "dtype")}
        task = self.study.config.task.model_dump(mode="json")
        given = {"arm": asdict(arm), "task": task, analysis: own}
        return canonical_json(given | self._statistics())

    def summary_spec(self, table: str) -> str:
        """Return the parameters of a summary as canonical JSON."""
        how = SUMMARIES[table]
        if how.step == "collected":
            return canonical_json({"table": table})
        statistics = self._statistics()
        given = {
            "measures": how.measures,
            "permutations": self.how.permutations,
            "exposed_from": statistics.pop("exposed_from"),
            "bootstrap": statistics,
        }
        return canonical_json({"table": table} | given)

    def _statistics(self) -> dict[str, Any]:
        config = self.study.config
        return {
            "seed": config.seed,
            "exposed_from": config.contrast.exposed_from,
            "resamples": config.statistics.resamples,
        }
