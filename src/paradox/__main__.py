"""Command line: ``paradox COMMAND`` or ``python -m paradox COMMAND``, in a repository's root."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from paradox.errors import ParadoxError, ProvenanceError


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and do what it says; return the exit code."""
    chosen = _parser().parse_args(arguments)
    try:
        return chosen.call(chosen)
    except ParadoxError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader (head, less) has seen enough; Python would complain when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="paradox", description=__doc__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, call: Callable[..., int], about: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=about)
        added.set_defaults(call=call)
        return added

    trace = command("trace", _trace, "show what a figure, table or checkpoint was made of")
    trace.add_argument("target", help="a result, a copy of one, or a derivation id (6+ digits)")

    verify = command("verify", _verify, "hash results again and check every link")
    verify.add_argument("path", nargs="?", type=Path, help="a result or results/SCALE; default all")

    diff = command("diff", _diff, "say which cause of a difference comes first")
    diff.add_argument("a", type=Path, help="a result or a folder results/SCALE, reference/SCALE")
    diff.add_argument("b", type=Path)

    why = command("why", _why, "say which change makes a result be made again")
    why.add_argument("target", help="as of trace, a path to be made, or a folder results/SCALE")
    _takes_config(why)

    restore = command("restore", _restore, "after dvc pull: verify, then mark as up to date")
    restore.add_argument("scale")
    _takes_config(restore)

    replay = command("replay", _replay, "rebuild a scale and compare with its reference")
    replay.add_argument("scale")
    replay.add_argument("--folder", type=Path, help="where to rebuild (kept); default: temporary")
    replay.add_argument("--cores", default="all")
    _takes_config(replay)

    plan = command("plan", _plan, "say what would run and what it will cost")
    plan.add_argument("targets", nargs="*", help="as snakemake's; default: everything")
    plan.add_argument("--cores", default="all", metavar="N")
    plan.add_argument(
        "--gpus", type=int, default=1, metavar="N", help="as snakemake --resources gpu=N"
    )
    _takes_config(plan)

    crate = command("crate", _crate, "describe a scale's results as an RO-Crate")
    crate.add_argument("scale")

    reference = command("reference", _reference, "record a finished run in reference/")
    reference.add_argument("scale")
    reference.add_argument(
        "--repeat", type=Path, nargs="*", default=[], help="results/SCALE folders of repeated runs"
    )

    schema = command("schema", _schema, "write the configuration's JSON Schema")
    schema.add_argument("path", type=Path)

    command("guide", _guide, "write the reading guide's index of pages")

    run = command("run", _run, "run one step of the study (used by the workflow)")
    run.add_argument("step")
    run.add_argument("--label", default="", help="how the job calls itself in progress lines")
    run.add_argument("--spec", default="{}", help="the step's parameters, JSON")
    run.add_argument("--in", dest="inputs", action="extend", nargs="*", default=[])
    run.add_argument("--out", dest="outputs", action="extend", nargs="*", default=[])
    run.add_argument("--record", type=Path, required=True, help="where this job's record goes")
    run.add_argument(
        "--producers", type=Path, nargs="*", default=[], help="records of what made the inputs"
    )
    run.add_argument("--code", type=Path, nargs="*", default=[], help="source files it depends on")
    run.add_argument(
        "--lock", type=Path, nargs="+", required=True, help="lock files of the environment"
    )
    run.add_argument("--threads", type=int, default=1)
    run.add_argument("--disk-mb", type=float, default=0.0)
    run.add_argument("--log", type=Path, required=True)
    return parser


def _takes_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        nargs="*",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="as snakemake --config, when the run had it",
    )


# Each command imports what it needs: tracing must not wait for numerical libraries.


def _trace(chosen: argparse.Namespace) -> int:
    from paradox.provenance.chain import locate
    from paradox.provenance.trace import trace

    print(trace(*locate(chosen.target, Path())))
    return 0


def _verify(chosen: argparse.Namespace) -> int:
    from paradox.provenance.chain import beside_reference, chain_of, chains, locate, verify

    record = None
    if chosen.path is None:
        wanted = chains(Path(), "results")
        if not wanted:
            raise ProvenanceError("results/: no records; run the workflow first.")
    elif chosen.path.is_dir() and (chain := chain_of(chosen.path)):
        wanted = [chain]
    else:
        chain, record, _ = locate(str(chosen.path), Path())
        wanted = [chain]
    failed = False
    for chain in wanted:
        start = time.monotonic()
        broken = verify(chain, record)
        count = len(chain.upstream(record) if record else chain.records)
        seconds = f"({time.monotonic() - start:.1f} s)"
        if broken:
            failed = True
            print(f"{chain.name}: BROKEN, first: {broken[0]}")
            for text in broken[1:]:
                print(f"  also: {text}")
        else:
            print(f"{chain.name}: {count} records and their files are as recorded {seconds}")
        if note := beside_reference(chain, record):
            print(f"  {note}")
    return int(failed)


def _diff(chosen: argparse.Namespace) -> int:
    from paradox.provenance.chain import chain_of, locate
    from paradox.provenance.compare import summary

    if chosen.a.is_dir() and chosen.b.is_dir():
        a, b = chain_of(chosen.a), chain_of(chosen.b)
        if a is None or b is None:
            raise ProvenanceError(f"{chosen.a}, {chosen.b}: name folders such as results/tiny.")
        text = summary(a, b)
    else:
        a, first, _ = locate(str(chosen.a), Path())
        b, second, _ = locate(str(chosen.b), Path())
        text = summary(a, b, (first, second))
    print(text or "no difference in data, code, parameters, environment or numbers")
    return int(bool(text))


def _why(chosen: argparse.Namespace) -> int:
    from paradox.provenance.why import why

    text, again = why(chosen.target, chosen.config)
    print(text)
    return int(again)


def _restore(chosen: argparse.Namespace) -> int:
    from paradox.restore import restore

    restore(Path(), chosen.scale, chosen.config)
    return 0


def _replay(chosen: argparse.Namespace) -> int:
    from paradox.reference import replay

    return int(not replay(Path(), chosen.scale, chosen.folder, chosen.cores, chosen.config))


def _plan(chosen: argparse.Namespace) -> int:
    from paradox.cost import plan

    print(plan(Path(), chosen.targets, chosen.config, chosen.cores, chosen.gpus))
    return 0


def _crate(chosen: argparse.Namespace) -> int:
    from paradox.provenance.chain import Chain
    from paradox.provenance.crate import write_crate

    chain = Chain.load(Path("results") / chosen.scale)
    print(f"wrote {write_crate(Path(), chosen.scale, chain.records)}")
    return 0


def _reference(chosen: argparse.Namespace) -> int:
    from paradox.reference import record

    record(chosen.scale, Path(), chosen.repeat)
    return 0


def _schema(chosen: argparse.Namespace) -> int:
    from paradox.study.config import write_schema

    write_schema(chosen.path)
    return 0


def _guide(_: argparse.Namespace) -> int:
    from paradox.report.guide import write_index

    write_index(Path())
    return 0


def _run(chosen: argparse.Namespace) -> int:
    from paradox import runner
    from paradox.steps import STEPS, TRAINERS, numeric

    cold = {*TRAINERS, *runner.ONLINE}  # trainings import more, and gain little
    # With more threads the libraries start some when they are imported, and a fork has none.
    if "PARADOX_WARM" in os.environ and chosen.threads == 1 and chosen.step in STEPS.keys() - cold:
        if numeric(chosen.step):
            from paradox import warm

            runner.set_environment(chosen.step, chosen.threads)
            return warm.run()
    job = runner.Job(
        step=chosen.step,
        label=chosen.label or chosen.step,
        spec=runner.parse_spec(chosen.spec),
        inputs=runner.parse_paths(chosen.inputs),
        outputs=runner.parse_paths(chosen.outputs),
        record=chosen.record,
        log=chosen.log,
        producers=chosen.producers,
        code=chosen.code,
        locks=chosen.lock,
        threads=chosen.threads,
        disk_mb=chosen.disk_mb,
    )
    return runner.run(job)


if __name__ == "__main__":
    sys.exit(main())
