"""Why a result would be made again: ``paradox why``.

What records say that each step was given is compared, by content, with what is there now; a record
that differs by itself is a cause, what was made from it follows. Where nothing differs, Snakemake
is asked, which looks at a few things that no record holds.
"""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from paradox.errors import ConfigError
from paradox.files import sha256
from paradox.jobs import Job, planned
from paradox.provenance.chain import Chain, chain_of, has_records, locate, producers
from paradox.provenance.records import Record, files_of, relative
from paradox.provenance.trace import title
from paradox.restore import (
    configured,
    modules_of,
    other_arms,
    other_parameters,
    plan_of,
    settings_of,
)
from paradox.rewards._score import files_of as reward_files
from paradox.steps import STEPS, chain_of_imports, imports_of
from paradox.study.mechanisms import Mechanisms
from paradox.study.plan import environment_lock

LOCKS = ("envs/cpu.lock", "envs/gpu.lock")
# So many of what follows are named.
NAMED = 6
# Snakemake's reason to run what is only made from something that runs.
FOLLOWS = "Input files updated by another job"


@dataclass(frozen=True)
class Cause:
    """One thing that is not as a record says."""

    what: str  # a file and what happened to it, or a parameter with both its values
    # The first digits of a file's recorded and present hash; empty when it is no file
    hashes: str = ""
    # How the file belongs to the step: the imports that lead to it, or what it is read as
    link: str = ""


def why(target: str, overrides: Sequence[str]) -> tuple[str, bool]:
    """Say why a result, or any below ``results/<scale>``, would be made again, and whether.

    `target` is as `locate` takes it, or a path below ``results`` that Snakemake could make;
    `overrides` are ``KEY=VALUE`` as Snakemake's ``--config``, before the target's scale and grid. A
    configuration that is not valid is a `ConfigError`; a target that nothing here made or could
    make, a `ProvenanceError`.
    """
    asked = _asked(target)
    if asked is None:
        return _never_made(target, overrides), True
    chain, wanted, path = asked
    names = {above["path"] for record in wanted for above in chain.upstream(record)}
    records = [record for name, record in chain.records.items() if name in names]
    present = Present(chain, records, [*overrides, f"scale={chain.folder.name}"])
    causes = {record["path"]: list(present.causes(record)) for record in records}
    folder = Path(target).is_dir()
    if not folder and _gone(chain, path):
        causes[wanted[0]["path"]].append(Cause(f"{path} is gone"))
    again = _made_again(chain, records, causes)
    shown = target if folder else str(chain.where(path))
    if again:
        count = sum(record["path"] in again for record in records)
        lines = [f"{shown} would be made again: {count} of {len(records)} records", ""]
        after = [r for r in records if r["path"] in again and not causes[r["path"]]]
        return "\n".join([*lines, *_by_cause(records, causes), *_following(after)]), True
    if jobs := present.jobs([] if folder else [path]):
        return "\n".join(_by_snakemake_alone(shown, jobs)), True
    return f"{shown} is up to date: nothing that its {len(records)} records name has changed", False


def _asked(target: str) -> tuple[Chain, list[Record], str] | None:
    """Return the chain of a target, the records that it is or holds, and its recorded path.

    None stands for what would lie below ``results``, is not there, and was never recorded there.
    """
    file, path = Path(target), relative(Path(target))
    if file.is_dir() and (chain := chain_of(file)):
        place = file.resolve()
        held = [
            r for p, r in chain.records.items() if chain.where(p).resolve().is_relative_to(place)
        ]
        return chain, held, path
    if file.exists() or not path.startswith("results/"):
        chain, record, path = locate(target, Path())
        return chain, [record], path
    # What is recorded elsewhere under this name, as in reference, was not made here.
    folder = Path(*Path(path).parts[:2])
    chain = Chain.load(folder) if has_records(folder) else None
    record = chain.maker(path) if chain else None
    return (chain, [record], path) if chain and record else None


def _never_made(target: str, overrides: Sequence[str]) -> str:
    path = relative(Path(target))
    scale = Path(path).parts[1]
    targets = [] if path == f"results/{scale}" else [path]
    (settings,) = settings_of(targets, [*overrides, f"scale={scale}"]).values()
    configured(Path(), settings)
    try:
        jobs, _ = planned(Path(), targets, settings, "1")
    except ConfigError:
        # This knows the closest names; Snakemake does not.
        locate(target, Path())
        raise
    return f"{target} was never made; Snakemake would run {_counted(jobs)} to make it"


class Present:
    """The configuration, source files, lock and results that are there now."""

    def __init__(self, chain: Chain, records: Sequence[Record], overrides: list[str]) -> None:
        self.chain = chain
        self.settings = settings_of((record["path"] for record in records), overrides)
        studies = {grid: configured(Path(), settings) for grid, settings in self.settings.items()}
        self.plans = {grid: Mechanisms(study) for grid, study in studies.items()}
        self._hashes: dict[Path, str | None] = {}
        self._imports: dict[tuple[str, ...], dict[str, str | None]] = {}

    def causes(self, record: Record) -> Iterator[Cause]:
        """Yield what differs of a record by itself: inputs, code, parameters, environment."""
        if record["step"] not in STEPS:
            yield Cause(f"there is no step {record['step']!r} any more")
            return
        plan = plan_of(self.plans, record["path"])
        yield from self._inputs(record)
        yield from self._code(plan, record)
        yield from (Cause(f"parameter {line}") for line in other_parameters(plan, record))
        yield from (Cause(f"arms {line}") for line in other_arms(plan, record))
        yield from self._environment(record)

    def jobs(self, targets: Sequence[str]) -> list[Job]:
        """Return what Snakemake would run in this repository; nothing for other chains."""
        if not self.chain.whole or self.chain.folder.parents[1].resolve() != Path.cwd():
            return []
        listed = [planned(Path(), targets, settings, "1")[0] for settings in self.settings.values()]
        return list({job.record: job for jobs in listed for job in jobs}.values())

    def _inputs(self, record: Record) -> Iterator[Cause]:
        for role, entries in record["inputs"].items():
            for entry in entries:
                maker = entry["record"]
                if maker is None:
                    now = self._sha256(Path(entry["path"]))
                    if now != entry["sha256"]:
                        link = _role(record, role, entry["path"])
                        yield _changed(entry["path"], entry["sha256"], now, link)
                    continue
                for file in (entry, maker):
                    now = self._made(file["path"])
                    # What is not there is made when something needs it, and is no cause.
                    if now and now != file["sha256"]:
                        yield _changed(file["path"], file["sha256"], now, f"input {role}")
                        break

    def _code(self, plan: Mechanisms, record: Record) -> Iterator[Cause]:
        step, loaded = record["step"], modules_of(plan, record)
        if (step, *loaded) not in self._imports:
            self._imports[step, *loaded] = imports_of(step, *loaded)
        importers = self._imports[step, *loaded]
        files, then = {relative(Path(file)): file for file in importers}, record["code"]
        for path in sorted(then.keys() | files.keys()):
            if path not in files:
                what = "no longer imported" if Path(path).exists() else "deleted"
                yield Cause(f"{path} {what}", _digits(then[path], None))
                continue
            now, chain = self._sha256(Path(files[path])), chain_of_imports(files[path], importers)
            link = " -> ".join(chain)
            if chain[0] in plan.study.loaded(step):
                link = f"loaded for task {plan.study.config.task.kind}: {link}"
            elif chain[0] in loaded:
                link = f"loaded by name: {link}"
            if path not in then:
                yield Cause(f"{path} newly imported", _digits(None, now), link)
            elif now != then[path]:
                yield _changed(path, then[path], now, link)

    def _environment(self, record: Record) -> Iterator[Cause]:
        for path, then in record["environment"].items():
            now = self._sha256(Path(path))
            if now != then:
                yield _changed(path, then, now, "lock of its environment")
        main = [path for path in record["environment"] if path in LOCKS]
        if main and main != [environment_lock()]:
            yield Cause(f"environment {main[0]}: recorded, here it is {environment_lock()}")

    def _made(self, path: str) -> str | None:
        """Return the present hash of a result; None where it is not there."""
        if path in self.chain.digests:
            return self.chain.digests[path]
        return self._sha256(self.chain.where(path)) if self.chain.holds(path) else None

    def _sha256(self, file: Path) -> str | None:
        if file not in self._hashes:
            self._hashes[file] = sha256(file) if file.exists() else None
        return self._hashes[file]


def _changed(path: str, then: str, now: str | None, link: str) -> Cause:
    return Cause(f"{path} {'changed' if now else 'deleted'}", _digits(then, now), link)


def _digits(then: str | None, now: str | None) -> str:
    return " -> ".join(sha[:12] if sha else "nothing" for sha in (then, now))


def _role(record: Record, role: str, path: str) -> str:
    """Return what a file that no step made is read as; a reward file, for which condition."""
    if role != "reward":
        return f"input {role}"
    spec, name = record["parameters"], Path(path).stem
    if name in reward_files(spec["reward"]):
        return f"loaded for reward {spec['arm']['reward']}"
    logged = [key for key, definition in spec["logged"].items() if name in reward_files(definition)]
    return f"loaded to log reward {', '.join(logged)}"


def _made_again(
    chain: Chain, records: Sequence[Record], causes: dict[str, list[Cause]]
) -> set[str]:
    """Return what would be made again: what has a cause, and what is made from that.

    What those need and is gone is made again as well; it gets that as its cause.
    """
    while True:
        again = {path for path, listed in causes.items() if listed}
        for record in records:
            if again.intersection(producers(record)):
                again.add(record["path"])
        needed = [
            (entry["record"]["path"], entry["path"])
            for record in records
            if record["path"] in again
            for entry in files_of(record["inputs"])
            if entry["record"]
        ]
        new = False
        for maker, path in dict.fromkeys(needed):
            gone = next((file for file in (maker, path) if _gone(chain, file)), None)
            cause = Cause(f"{gone} is gone")
            if gone and cause not in causes.setdefault(maker, []):
                causes[maker].append(cause)
                new = True
        if not new:
            return again


def _gone(chain: Chain, path: str) -> bool:
    return chain.holds(path) and not chain.where(path).exists()


def _by_cause(records: Sequence[Record], causes: dict[str, list[Cause]]) -> Iterator[str]:
    """Yield each cause once, that of the most upstream record first, with the steps it is of."""
    titles = {record["path"]: (record["step"], title(record)) for record in records}
    groups: dict[tuple[str, str], dict[str, str]] = {}
    # A record that is gone has no place in the order, nor a step.
    for path in [*titles, *(path for path in causes if path not in titles)]:
        for cause in causes[path]:
            groups.setdefault((cause.what, cause.hashes), {})[path] = cause.link
    for (what, hashes), links in groups.items():
        if not links.keys() & titles.keys():
            yield what
            continue
        where = f"{next(iter(links))}{_more(links)}"
        written = f"{where} {'were' if len(links) > 1 else 'was'} written"
        yield f"{what} since {written}: {hashes}" if hashes else f"{what} ({where})"
        steps: dict[tuple[str, str], list[str]] = {}
        for path, link in links.items():
            if path in titles:
                step, name = titles[path]
                steps.setdefault((step, link), []).append(name)
        for (_, link), names in steps.items():
            yield f"  {names[0]}{_more(names)}{': ' if link else ''}{link}"


def _following(after: Sequence[Record]) -> Iterator[str]:
    """Yield a line on what is made again only because of what it is made from."""
    steps: dict[str, list[str]] = defaultdict(list)
    for record in after:
        steps[record["step"]].append(title(record))
    items = [names[0] if len(names) == 1 else f"{s} ({len(names)})" for s, names in steps.items()]
    if items:
        more = f" and {len(items) - NAMED} other steps" if len(items) > NAMED else ""
        yield f"what follows: {', '.join(items[:NAMED])}{more}"


def _by_snakemake_alone(shown: str, jobs: Sequence[Job]) -> Iterator[str]:
    """Yield what Snakemake would run, with its reasons; of what only follows, the count."""
    count = _counted(jobs)
    yield f"{shown}: nothing that its records name has changed, but Snakemake would run {count}:"
    first = [job for job in jobs if not job.reason.startswith(FOLLOWS)][:NAMED]
    for job in first:
        reason = textwrap.shorten(job.reason, 160, placeholder=" ...")
        yield f"  {job.rule} ({job.record}): {reason}"
    if len(jobs) > len(first):
        yield f"  and {len(jobs) - len(first)} more"


def _more(names: Collection[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def _counted(jobs: Sequence[Job]) -> str:
    return f"{len(jobs)} job{'s' * (len(jobs) != 1)}"
