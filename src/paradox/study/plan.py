"""The plan: which arms run, with which parameters, and what each step depends on."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from paradox.errors import ConfigError, hint, problems
from paradox.files import canonical_json
from paradox.rewards._score import Definition, files_of, loaded
from paradox.steps import PACKAGE, code, loads_task
from paradox.study import rewards
from paradox.study.config import Config
from paradox.study.grids import DEFAULT, Arm, arms_of, exclusions, named
from paradox.study.kinds import TASKS, TRAINERS
from paradox.study.load import MAIN, grid_file, load_config, scale_file, unknown_names
from paradox.study.methods import method_problems, resolved
from paradox.study.registry import REGISTRY
from paradox.tasks import module_of

# Threads of one job can never exceed what the machine has.
CORES = os.cpu_count() or 1
# Asking PyTorch would take seconds at every start of the workflow.
GPU = Path("/dev/nvidia0").exists()


def untrained(base: str) -> Arm:
    """Return the arm of a base before any reinforcement learning."""
    return Arm(base, "base", "none", 0)


class Study:
    """A validated configuration with its arms; a `ConfigError` says all that is wrong with them."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.scale = config.scale
        self.task = TASKS[config.task.kind]
        self.arms = _arms(config)
        self.bases = list(dict.fromkeys(arm.base for arm in self.arms))

    @classmethod
    def load(cls, given: Mapping[str, Any], root: Path | None = None) -> Study:
        """Validate what Snakemake hands over and plan the arms."""
        return cls(load_config(dict(given), root or Path.cwd()))

    # --- targets -------------------------------------------------------------------------

    @property
    def folder(self) -> str:
        """The folder of this scale's results."""
        return f"results/{self.scale}"

    @property
    def part(self) -> str:
        """What the paths of a grid's tables and figures have before them; default has nothing."""
        return "" if self.config.grid == DEFAULT else f"grids/{self.config.grid}/"

    @property
    def summed(self) -> str:
        """The folder of the grid's tables, figures and pages."""
        return f"{self.folder}/{self.part}".rstrip("/")

    @property
    def logs(self) -> str:
        """The folder of the logs of what sums up the grid."""
        return f"logs/{self.scale}/{self.part}".rstrip("/")

    @property
    def figures(self) -> list[str]:
        """The figures of the grid."""
        return self.config.grids[self.config.grid].figures

    @property
    def pages(self) -> bool:
        """Whether the grid has a paper, a lineage page, reports and their index."""
        return self.config.grids[self.config.grid].pages

    @property
    def all_arms(self) -> list[Arm]:
        """The untrained bases, then the trained arms."""
        return [untrained(base) for base in self.bases] + self.arms

    def run(self, arm: Arm, file: str) -> str:
        """Return a file of an arm's run folder."""
        return f"{self.folder}/runs/{arm.key}/{file}"

    def runs(self, file: str) -> list[str]:
        """Return a file of every arm's run folder."""
        return [self.run(arm, file) for arm in self.all_arms]

    def records(self) -> list[str]:
        """Return the records of all steps before the tables, in the order of the steps."""
        data = f"{self.folder}/data"
        paths = [f"{data}/data.record.json"]
        paths += [f"{data}/corpus/{base}.record.json" for base in self.bases if self.trains(base)]
        voting = dict.fromkeys(arm.base for arm in self.arms if self._votes(arm.reward))
        paths += [f"{data}/votes/{base}.record.json" for base in voting]
        paths += self.samples("record.json")
        for step in ("train", "evaluate", "perplexity"):
            paths += self.runs(f"{step}.record.json")
        return paths

    def samples(self, file: str) -> list[str]:
        """Return a file of the samples of each base and seed that an arm learns from."""
        used = [arm for arm in self.arms if self.from_samples(self.trainer(arm.method))]
        paths = [f"{self.folder}/data/samples/{arm.base}/s{arm.seed}.{file}" for arm in used]
        return list(dict.fromkeys(paths))

    def trains(self, base: str) -> bool:
        """Whether a base is trained on a corpus of its own."""
        return self.config.bases[base].training is not None

    def trainer(self, method: str) -> str:
        """Return the trainer of a method."""
        return self.config.methods[method].trainer

    def from_samples(self, trainer: str) -> bool:
        """Whether a trainer learns from samples of the base."""
        return TRAINERS[trainer].from_samples

    def methods_of(self, trainer: str) -> list[str]:
        """Return the names of a trainer's methods."""
        return [name for name in self.config.methods if self.trainer(name) == trainer]

    # --- what a step is given ------------------------------------------------------------

    def spec(self, step: str, wildcards: Any = None) -> str:
        """Return a step's resolved parameters as canonical JSON."""
        config = self.config.model_dump(mode="json")
        common = {"task": config["task"], "seed": config["seed"]}
        if step == "data":
            return canonical_json(common)
        if step in ("corpus", "base"):
            base = config["bases"][wildcards.base]
            if step == "corpus":
                return canonical_json(common | {"planted": base["planted"]})
            # A base depends on its corpus through the corpus file, not through the task's sizes.
            task = {key: config["task"][key] for key in ("kind", *(self.task.vocabulary or ()))}
            given = {"base": wildcards.base, "seed": config["seed"], "task": task}
            return canonical_json(given | {key: base[key] for key in ("source", "training")})
        if step == "votes":
            return canonical_json(common | {"base": wildcards.base, "votes": config["votes"]})
        if step == "samples":
            # The group and the limits are those of the methods that sample while they learn.
            keys = ("num_generations", "temperature", "max_completion_tokens")
            sampling = {key: config["grpo"][key] for key in keys}
            sampling |= {key: config["evaluation"][key] for key in ("batch_size", "dtype")}
            given = {"base": wildcards.base, "seed": int(wildcards.seed), "task": config["task"]}
            return canonical_json(given | {"sampling": sampling})
        if step in (*TRAINERS, "evaluate", "perplexity"):
            given = {"arm": asdict(Arm.of(wildcards)), "task": config["task"]}
            if step in TRAINERS:
                # Only its own method's settings, so that no other method reruns the arm.
                given |= {step: resolved(self.config, wildcards.method)}
                logged = {name: self.definition(name) for name in self.config.arms.logged}
                given |= {"reward": self.definition(wildcards.reward), "logged": logged}
                return canonical_json(given)
            section = "evaluation" if step == "evaluate" else step
            return canonical_json(given | {section: config[section]})
        if step == "figure":
            return canonical_json({"figure": wildcards.figure})
        if step == "lineage":
            return canonical_json({"scale": self.scale})
        if step == "paper":
            planted = [name for name in self.bases if self.config.bases[name].planted]
            settings = {key: config[key] for key in ("task", "grpo")}
            told = {"planted": planted[0] if planted else None, "settings": settings}
            told |= {"claims": _claims()}
            return canonical_json({"scale": self.scale} | told)
        clean = [name for name in self.bases if self.config.bases[name].planted is False]
        summary = {"clean_base": clean[0] if clean else None}
        summary["equivalence_margin"] = self.config.statistics.equivalence_margin
        return canonical_json(summary | config["contrast"])

    def definition(self, reward: str) -> Definition:
        """Return what a reward condition is made of."""
        return rewards.resolve(reward, rewards.plain(self.config))

    def reward_files(self, wildcards: Any) -> list[str]:
        """Return the files of an arm's reward condition, and of what it logs beside it."""
        names = [wildcards.reward, *self.config.arms.logged]
        files = [file for name in names for file in files_of(self.definition(name))]
        return [f"src/paradox/rewards/{file}.py" for file in dict.fromkeys(files)]

    def votes(self, wildcards: Any, suffix: str = "csv") -> list[str]:
        """Return the table of votes that an arm's reward needs, or its record, as a list."""
        needed = self._votes(wildcards.reward)
        return [f"{self.folder}/data/votes/{wildcards.base}.{suffix}"] if needed else []

    def _votes(self, reward: str) -> bool:
        names = [reward, *self.config.arms.logged]
        files = [file for name in names for file in loaded(self.definition(name))]
        return any("votes" in file.condition.needs for file in files)

    def code(self, step: str, *modules: str) -> list[str]:
        """Return a step's source files; it loads `modules` by name, beside the task's."""
        return code(step, *self.loaded(step), *modules)

    def loaded(self, step: str) -> list[str]:
        """Return the modules that a step loads by name: that of the scale's task."""
        # Only a base with random weights is given the task's words.
        asks = loads_task(step) and (step != "base" or self.task.vocabulary is not None)
        return [module_of(self.task.name)] if asks else []

    def need(self, rule: str, resource: str) -> int:
        """Return what one job of a kind of rule needs of a resource."""
        value = getattr(getattr(self.config.resources, rule), resource)
        if resource == "threads":
            return min(value, CORES)
        if resource == "gpu":
            # The limit on GPU jobs must not keep the cores of a machine without one idle.
            return value if GPU else 0
        return value

    def resources(self, rule: str) -> dict[str, int]:
        """Return what Snakemake counts of one job of a kind of rule, beside its threads."""
        return {name: self.need(rule, name) for name in ("mem_mb", "runtime", "gpu")}

    def command(self, rule: str, words: str, producers: str = "{input.records}") -> str:
        """Return the shell command of a rule of a kind.

        `words` are its step with its label, parameters, inputs and outputs.
        """
        made_by = f" --producers {producers}" if producers else ""
        return (
            f"python -m paradox run {words}{made_by}"
            " --code {input.code} --lock {input.lock} --record {output.record}"
            f" --threads {{threads}} --disk-mb {self.need(rule, 'disk_mb')} --log {{log}}"
        )


def environment_lock() -> str:
    """Return the lock that this environment was made from, as records name it."""
    try:
        # Triton comes with PyTorch's CUDA wheel only.
        importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        return "envs/cpu.lock"
    return "envs/gpu.lock"


def environment_of_jobs() -> None:
    """Let jobs find this interpreter and this package.

    The workflow's environment need not be active; a deployed one lacks this package.
    """
    # The order of a set is the same in every run.
    os.environ["PYTHONHASHSEED"] = "0"
    first = {"PATH": Path(sys.executable).parent, "PYTHONPATH": PACKAGE.parent}
    for name, folder in first.items():
        os.environ[name] = os.pathsep.join(filter(None, [str(folder), os.environ.get(name)]))


def _claims() -> list[dict[str, Any]]:
    """Return the claims that the paper names, as it is told of them; it judges not all of them."""
    judged = [
        {"name": each.name, "words": each.claim, "source": each.source}
        | {"section": each.section, "details": each.details}
        for _, each in REGISTRY.signatures
        if each.section
    ]
    return judged + [
        {"name": each.name, "words": each.claim, "source": each.source}
        | {"section": "", "details": {}}
        for _, each in REGISTRY.untestable
    ]


def _arms(config: Config) -> list[Arm]:
    lines = [
        *unknown_names(config.model_dump()),
        *rewards.reward_problems(rewards.plain(config), f"{MAIN}: rewards"),
        *method_problems(config),
        *_exclusion_problems(config),
        *_impossible(config),
        *_mechanism_problems(config),
    ]
    if lines:
        raise ConfigError(problems("The arms cannot be run:", lines))
    arms = arms_of(config)
    if not arms:
        raise ConfigError(f"{grid_file(config.grid)}: the exclusions leave no arm to run.")
    cells = [(arm.method, arm.reward) for arm in arms]
    if lines := [*rewards.without_pairs(config, cells), *rewards.cancelled(config, cells)]:
        raise ConfigError(problems("The arms cannot be run:", lines))
    return arms


def _exclusion_problems(config: Config) -> list[str]:
    """Return the exclusions that name a value the study does not know, not only one not run now."""
    known = {"method": list(config.methods), "reward": rewards.reward_names(rewards.plain(config))}
    lines = []
    for where, entry in exclusions(config):
        given = entry.model_dump(exclude={"why"}, exclude_none=True)
        if not given:
            lines.append(f"{where}: names no base, method, reward or seed; it would leave nothing")
        for key, value in given.items():
            # Bases differ between scales, and one grid serves them all.
            if key in known and value not in known[key]:
                lines.append(f"{where}.{key} = {value!r} is unknown; {hint(value, known[key])}")
    return lines


def _mechanism_problems(config: Config) -> list[str]:
    """Return the names in section ``mechanisms`` that the study does not know."""
    section, methods = config.mechanisms, list(config.methods)
    asked = [("rewards", section.rewards, rewards.reward_names(rewards.plain(config)))]
    asked += [(f"methods_of.{key}", names, methods) for key, names in section.methods_of]
    return [
        f"{MAIN}: mechanisms.{key}: {name!r} is unknown; {hint(name, known)}"
        for key, names, known in [("methods", section.methods, methods), *asked]
        for name in names
        if name not in known
    ]


def _impossible(config: Config) -> list[str]:
    """Return the reasons why asked arms cannot exist."""
    lines = rewards.missing_facts(config)
    task = TASKS[config.task.kind]
    for name in named(config, "bases"):
        base = config.bases[name] if name in config.bases else None
        place = f"{scale_file(config.scale)}: bases.{name}"
        if base and base.training and (base.planted is None or not task.corpus):
            lines.append(
                f"{place}.training is given, but there is no corpus to train on (bases.{name}."
                f"planted = {base.planted}, task.kind = {task.name!r}); allowed: null."
            )
        if base and base.source.kind == "organism" and task.vocabulary is None:
            lines.append(
                f"{place}.source.kind = 'organism': random weights need words, and task.kind = "
                f"{task.name!r} has none of its own; allowed: gguf, pretrained."
            )
    return lines
