"""After a clone and ``dvc pull``: check results, then let Snakemake take them as finished.

A fresh clone has no Snakemake metadata, so jobs would run again. ``snakemake --touch`` writes
that metadata without looking at any content, so all checks come first.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from paradox.errors import ConfigError, ProvenanceError, problems
from paradox.provenance.chain import Chain, verify
from paradox.provenance.compare import texts
from paradox.provenance.records import SUFFIX, Record, hashes_of
from paradox.steps import NOTEBOOKS, TRAINERS
from paradox.study.clipping import clipping_spec
from paradox.study.grids import grid_of
from paradox.study.load import MAIN, merge
from paradox.study.mechanisms import ANALYSES, FIGURES, SUMMARIES, Mechanisms, loaded
from paradox.study.pages import Pages
from paradox.study.plan import Study
from paradox.study.rewards import plain, reward_names

# Lines of Snakemake's table of jobs that are no jobs.
NO_JOBS = ("all", "total")
# Parts of an arm's folder: results/<scale>/runs/<base>/<method>/<reward>/s<seed>.
RUN = 7
# A page's list of arms: which arms differ is said by name, of the tables that hold them.
LISTED = "parameters.arms"


def restore(root: Path, scale: str, overrides: list[str]) -> None:
    """Verify ``results/<scale>``, compare it with the configuration, and mark it as finished.

    `overrides` are ``KEY=VALUE`` as the run was given with Snakemake's ``--config``. A
    `ConfigError` tells of a configuration that is not valid; a `ProvenanceError` of files that are
    not what their records say or were made with other settings (nothing is marked then), and of
    jobs that remain.
    """
    folder = root / "results" / scale
    if not folder.is_dir():
        raise ProvenanceError(f"{folder}: no such folder; `dvc pull study@{scale}` brings it.")
    chain = Chain.load(folder)
    each = settings_of(chain.records, [*overrides, f"scale={scale}"])
    studies = {grid: configured(root, settings) for grid, settings in each.items()}
    if wrong := verify(chain):
        raise ProvenanceError(problems(f"{folder}: not as recorded; nothing was marked:", wrong))
    print(f"{folder}: {len(chain.records)} records and all their files are as recorded")
    if other := _other_settings(studies, chain):
        title = f"{folder}: made with other settings than asked for now; nothing was marked:"
        raise ProvenanceError(problems(title, other))
    # Without --forceall, jobs that look finished by their files' times would get no metadata,
    # and Snakemake would never see a change of their parameters.
    for settings in each.values():
        _snakemake(root, settings, "--touch", "--forceall")
    for settings in each.values():
        plan = _snakemake(root, settings, "--dry-run")
        if "Nothing to be done" not in plan:
            jobs = dict(re.findall(r"^(\w+) +(\d+)$", plan, flags=re.MULTILINE))
            left = [f"{rule}: {count}" for rule, count in jobs.items() if rule not in NO_JOBS]
            title = f"{folder}: what is there is marked as finished, but jobs remain:"
            raise ProvenanceError(problems(title, left))
    print(f"{folder}: marked as finished; Snakemake has nothing to do")


def settings_of(paths: Iterable[str], overrides: list[str]) -> dict[str | None, list[str]]:
    """Return the grids that records belong to, each with the settings that make it.

    What was run of no grid to its end is compared with the grid that is asked for.
    """
    grids = dict.fromkeys(filter(None, map(grid_of, paths)))
    return {grid: [*overrides, f"grid={grid}"] for grid in grids} or {None: overrides}


def configured(root: Path, settings: list[str]) -> Study:
    """Return the study of ``config/config.yaml`` under Snakemake's ``--config KEY=VALUE ...``."""
    config: dict[str, Any] = yaml.safe_load((root / MAIN).read_text(encoding="utf-8"))
    for pair in settings:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--config: {pair!r} is not KEY=VALUE.")
        config = merge(config, {key: yaml.safe_load(value)})
    return Study.load(config, root)


def _other_settings(studies: Mapping[str | None, Study], chain: Chain) -> list[str]:
    """Return each difference between records and configuration once, with its first record."""
    users: dict[str, list[str]] = {}
    plans = {grid: Mechanisms(study) for grid, study in studies.items()}
    for path, record in chain.records.items():
        plan = plan_of(plans, path)
        for line in [*other_parameters(plan, record), *other_arms(plan, record)]:
            users.setdefault(line, []).append(path)
    more = {line: f" and {len(paths) - 1} more" * (len(paths) > 1) for line, paths in users.items()}
    return [f"{line} ({paths[0]}{more[line]})" for line, paths in users.items()]


def plan_of(plans: Mapping[str | None, Mechanisms], path: str) -> Mechanisms:
    """Return the plan of a record's grid; the steps below tables are given the same in each."""
    return plans.get(grid_of(path)) or next(iter(plans.values()))


def other_parameters(plan: Mechanisms, record: Record) -> list[str]:
    """Return each parameter that a record has and the plan does not give it, or the reverse."""
    spec, name = record["parameters"], Path(record["path"]).name.removesuffix(SUFFIX)
    wildcards = {"base": spec.get("base", name), "seed": spec.get("seed"), "figure": name}
    # A page's own parameters are those of its notebook.
    wildcards |= spec.get("arm", spec.get("parameters", {}).get("arm", {}))
    if unknown := _not_configured(plan.study, record["step"], wildcards):
        return unknown
    now = texts(json.loads(_spec(plan, record["step"], name, SimpleNamespace(**wildcards))))
    then = texts(spec)
    return [
        f"{key}: recorded {then.get(key, 'nothing')}, configured {now.get(key, 'nothing')}"
        for key in sorted((then | now).keys() - {LISTED})
        if then.get(key) != now.get(key)
    ]


def _not_configured(study: Study, step: str, wildcards: Mapping[str, Any]) -> list[str]:
    """Return the names that decide a step's parameters and that the study does not have."""
    config, known = study.config, {}
    if step in ("corpus", "base"):
        known = {"base": config.bases}
    elif step in TRAINERS:
        known = {"method": config.methods, "reward": reward_names(plain(config))}
    return [
        f"{key}s.{wildcards[key]}: recorded, not configured"
        for key, names in known.items()
        if wildcards[key] not in names
    ]


def _spec(plan: Mechanisms, step: str, name: str, wildcards: SimpleNamespace) -> str:
    """Return a step's parameters; `name` is what its record is called."""
    if step in ANALYSES:
        return plan.spec(step, wildcards)
    if _summed(step, name):
        return plan.summary_spec(name)
    if name in FIGURES and FIGURES[name].step == step:
        return plan.figure_spec(name)
    if step in NOTEBOOKS:
        return _page_spec(Pages(plan.study, plan), step, name, wildcards)
    if step in ("clipping", "clipping_figure"):
        return clipping_spec(plan.study) if step == "clipping" else "{}"
    return plan.study.spec(step, wildcards)


def modules_of(plan: Mechanisms, record: Record) -> list[str]:
    """Return the modules that a record's step loads by name."""
    step, name = record["step"], Path(record["path"]).name.removesuffix(SUFFIX)
    if _summed(step, name):
        return loaded(SUMMARIES[name])
    if name in FIGURES and FIGURES[name].step == step:
        return loaded(FIGURES[name])
    if step == "arm_page":
        return Pages(plan.study, plan).arm_modules()
    return plan.study.loaded(step)


def _page_spec(pages: Pages, step: str, name: str, wildcards: SimpleNamespace) -> str:
    if step == "arm_page":
        return pages.arm_spec(wildcards)
    if step == "mechanism_page":
        return pages.figure_spec(name)
    return pages.report_spec() if step == "report" else pages.index_spec()


def _summed(step: str, name: str) -> bool:
    return name in SUMMARIES and SUMMARIES[name].step == step


def other_arms(plan: Mechanisms, record: Record) -> list[str]:
    """Return the arms that a summary holds and should not, or does not hold and should.

    Its parameters do not name them, and Snakemake takes any inputs of what it is told to mark.
    """
    if grid_of(record["path"]) is None or record["step"] == "arm_page":
        return []  # about one arm
    read = (Path(path).parts for path in hashes_of(record["inputs"]))
    held = {"/".join(parts[:RUN]) for parts in read if parts[2:3] == ("runs",)}
    name, arms = Path(record["path"]).name.removesuffix(SUFFIX), plan.study.all_arms
    if _summed(record["step"], name) and not SUMMARIES[name].runs:
        files = SUMMARIES[name].files.values()
        arms = [arm for analysis, _ in files for arm in plan.arms(analysis)]
    asked = {f"{plan.study.folder}/runs/{arm.key}" for arm in arms} if held else set()
    unlike = {"recorded, not asked for": held - asked, "asked for, not recorded": asked - held}
    return [f"{what}: {', '.join(sorted(arms))}" for what, arms in unlike.items() if arms]


def _snakemake(root: Path, settings: list[str], *options: str) -> str:
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *options, "--config", *settings]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if done.returncode:
        lines = "\n".join((done.stdout + done.stderr).splitlines()[-10:])
        raise ProvenanceError(f"snakemake {options[0]} failed:\n{lines}")
    return done.stdout + done.stderr
