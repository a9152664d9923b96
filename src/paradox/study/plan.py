"""The plan: which arms run, with which parameters, and what each step depends on."""

from __future__ import annotations

import importlib.metadata
import itertools
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from paradox.errors import ConfigError, hint, problems
from paradox.files import canonical_json
from paradox.rewards import available_rewards, load_reward
from paradox.steps import METHODS, PACKAGE, WITH_TASK, code
from paradox.study.config import BenchmarksTask, Config, Exclusion
from paradox.study.load import MAIN, load_config, scale_file, unknown_names
from paradox.tasks import module_of

# Threads of one job can never exceed what the machine has.
CORES = os.cpu_count() or 1
# Asking PyTorch would take seconds at every start of the workflow.
GPU = Path("/dev/nvidia0").exists()


@dataclass(frozen=True)
class Arm:
    """One cell of base x method x reward x seed; the untrained base is its own arm."""

    base: str
    method: str
    reward: str
    seed: int

    @property
    def key(self) -> str:
        """The arm's folder below ``checkpoints`` and ``runs``."""
        return f"{self.base}/{self.method}/{self.reward}/s{self.seed}"


def untrained(base: str) -> Arm:
    """Return the arm of a base before any reinforcement learning."""
    return Arm(base, "base", "none", 0)


class Study:
    """A validated configuration with its arms, seen from the workflow.

    Parameters
    ----------
    config
        The validated configuration.

    Raises
    ------
    ConfigError
        When the arms cannot be run; the message lists every problem.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.scale = config.scale
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
    def all_arms(self) -> list[Arm]:
        """The untrained bases, then the trained arms."""
        return [untrained(base) for base in self.bases] + self.arms

    def runs(self, file: str) -> list[str]:
        """Return a file of every arm's run folder."""
        return [f"{self.folder}/runs/{arm.key}/{file}" for arm in self.all_arms]

    def records(self) -> list[str]:
        """Return the records of all steps before the tables, in the order of the steps."""
        data = f"{self.folder}/data"
        found = [f"{data}/data.record.json"]
        found += [f"{data}/corpus/{base}.record.json" for base in self.bases if self.trains(base)]
        for step in ("train", "evaluate", "perplexity"):
            found += self.runs(f"{step}.record.json")
        return found

    def trains(self, base: str) -> bool:
        """Whether a base is trained on a corpus of its own."""
        return self.config.bases[base].training is not None

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
            task = {key: config["task"].get(key) for key in ("kind", "modulus")}
            own = {"base": wildcards.base, "seed": config["seed"], "task": task}
            return canonical_json(own | {key: base[key] for key in ("source", "training")})
        if step in (*METHODS, "evaluate", "perplexity"):
            arm = asdict(
                Arm(wildcards.base, wildcards.method, wildcards.reward, int(wildcards.seed))
            )
            section = "evaluation" if step == "evaluate" else step
            return canonical_json({"arm": arm, "task": config["task"], section: config[section]})
        if step == "figure":
            return canonical_json({"figure": wildcards.figure})
        if step == "lineage":
            return canonical_json({"scale": self.scale})
        if step in ("report", "paper"):
            excluded = [e.model_dump(exclude_none=True) for e in self.config.arms.exclude]
            said = {"scale": self.scale, "excluded": excluded}
            return canonical_json(said | {"log_folder": f"logs/{self.scale}/{step}"})
        clean = [name for name in self.bases if self.config.bases[name].planted is False]
        summary = {"seed": self.config.seed, "clean_base": clean[0] if clean else None}
        return canonical_json(summary | config["statistics"] | config["contrast"])

    def reward_file(self, wildcards: Any) -> str:
        """Return the file of an arm's reward condition."""
        return f"src/paradox/rewards/{wildcards.reward}.py"

    def code(self, step: str) -> list[str]:
        """Return the source files whose content a step's result depends on."""
        task = module_of(self.config.task.kind)
        return code(step, *([task] if step in WITH_TASK else []))

    def need(self, rule: str, resource: str) -> int:
        """Return what one job of a kind of rule needs of a resource.

        Threads never exceed the machine's cores. A machine without a GPU needs none: the limit
        on GPU jobs must not keep its cores idle.
        """
        value = getattr(getattr(self.config.resources, rule), resource)
        if resource == "threads":
            return min(value, CORES)
        if resource == "gpu":
            return value if GPU else 0
        return value


def environment_lock() -> str:
    """Return the lock that this environment was made from, as records name it.

    Triton comes with PyTorch's CUDA wheel only, so it tells the two locks apart.
    """
    try:
        importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        return "envs/cpu.lock"
    return "envs/gpu.lock"


def environment_of_jobs() -> None:
    """Let jobs find this interpreter and this package.

    Jobs then also work when the environment that runs the workflow is not activated, and in a
    deployed one (``envs/conda.yaml``), which holds the dependencies only. Python's hashes of texts
    are fixed, too, so that the order of a set is the same in every run.
    """
    os.environ["PYTHONHASHSEED"] = "0"
    first = {"PATH": Path(sys.executable).parent, "PYTHONPATH": PACKAGE.parent}
    for name, folder in first.items():
        os.environ[name] = os.pathsep.join(filter(None, [str(folder), os.environ.get(name)]))


def _arms(config: Config) -> list[Arm]:
    wanted = config.arms
    bases = list(config.bases) if wanted.bases == "all" else wanted.bases
    found = [
        *unknown_names(wanted.model_dump(), list(config.bases)),
        *_exclusion_problems(config, bases),
        *_impossible(config, bases),
    ]
    if found:
        raise ConfigError(problems("The arms cannot be run:", found))
    product = itertools.product(bases, wanted.methods, wanted.rewards, wanted.seeds)
    arms = [Arm(*cell) for cell in product]
    arms = [arm for arm in arms if not any(_matches(entry, arm) for entry in wanted.exclude)]
    if not arms:
        raise ConfigError(f"{MAIN}: arms: the exclusions leave no arm to run.")
    return arms


def _matches(entry: Exclusion, arm: Arm) -> bool:
    given = entry.model_dump(exclude={"why"}, exclude_none=True)
    return all(getattr(arm, key) == value for key, value in given.items())


def _exclusion_problems(config: Config, bases: list[str]) -> list[str]:
    """Return the exclusions that name a value the study does not know: misspellings.

    A value that is known but not run now is fine: the same exclusions serve every arm list.
    """
    known: dict[str, list[Any]] = {
        "base": list(config.bases),
        "method": list(METHODS),
        "reward": available_rewards(),
    }
    lines = []
    for index, entry in enumerate(config.arms.exclude):
        given = entry.model_dump(exclude={"why"}, exclude_none=True)
        where = f"{MAIN}: arms.exclude[{index}]"
        if not given:
            lines.append(f"{where}: names no base, method, reward or seed; it would leave nothing")
        for key, value in given.items():
            # Bases differ between scales, and one list of exclusions serves them all.
            if key in known and key != "base" and value not in known[key]:
                lines.append(f"{where}.{key} = {value!r} is unknown; {hint(value, known[key])}")
    return lines


def _impossible(config: Config, bases: list[str]) -> list[str]:
    """Return the reasons why asked arms cannot exist."""
    lines = []
    rewards = [name for name in config.arms.rewards if name in available_rewards()]
    task = config.task
    if isinstance(task, BenchmarksTask) and task.prompts.answer_column is None:
        blind = [name for name in available_rewards() if not load_reward(name)[0].uses_truth]
        lines += [
            f"{MAIN}: arms.rewards: {name!r} compares with the right answer, but "
            f"{scale_file(config.scale)}: task.prompts.answer_column is null, so the training "
            f"prompts have none; allowed: {', '.join(blind)}."
            for name in rewards
            if load_reward(name)[0].uses_truth
        ]
    if "grpo" in config.arms.methods:
        lines += _grpo_sizes(config)
    for name in bases:
        base = config.bases.get(name)
        if base and base.training and (base.planted is None or isinstance(task, BenchmarksTask)):
            lines.append(
                f"{scale_file(config.scale)}: bases.{name}.training is given, but there is no "
                f"corpus to train on (bases.{name}.planted = {base.planted}, task.kind = "
                f"{task.kind!r}); allowed: null."
            )
    return lines


def _grpo_sizes(config: Config) -> list[str]:
    """Return what does not divide: whole groups, micro-batches and updates are needed."""
    how, lines = config.grpo, []
    where = f"{scale_file(config.scale)}: grpo"
    rollout = how.prompts_per_rollout * how.num_generations
    per_update = how.updates_per_rollout * how.micro_batch
    if rollout % per_update:
        lines.append(
            f"{where}.micro_batch = {how.micro_batch}: prompts_per_rollout x num_generations "
            f"({rollout}) must be a multiple of updates_per_rollout x micro_batch ({per_update})"
        )
    if how.updates % how.updates_per_rollout:
        lines.append(
            f"{where}.updates = {how.updates} must be a multiple of updates_per_rollout "
            f"({how.updates_per_rollout})"
        )
    if how.checkpoint_every % how.updates_per_rollout:
        lines.append(
            f"{where}.checkpoint_every = {how.checkpoint_every} must be a multiple of "
            f"updates_per_rollout ({how.updates_per_rollout}), so that no checkpoint falls "
            "inside a rollout"
        )
    return lines
