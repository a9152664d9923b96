"""Command line: ``python -m paradox``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from paradox.errors import ParadoxError


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and do what it says; return the exit code."""
    parser = argparse.ArgumentParser(prog="paradox", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run one step of the study (used by the workflow)")
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
    run.add_argument("--lock", type=Path, required=True, help="the environment's lock file")
    run.add_argument("--threads", type=int, default=1)
    run.add_argument("--disk-mb", type=float, default=0.0)
    run.add_argument("--log", type=Path, required=True)
    schema = commands.add_parser("schema", help="write the configuration's JSON Schema")
    schema.add_argument("path", type=Path)
    reference = commands.add_parser("reference", help="record a finished run in reference/")
    reference.add_argument("scale")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command == "schema":
            from paradox.study.config import write_schema

            write_schema(chosen.path)
            return 0
        if chosen.command == "reference":
            from paradox.reference import record

            record(chosen.scale, Path.cwd())
            return 0
        from paradox import runner

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
            lock=chosen.lock,
            threads=chosen.threads,
            disk_mb=chosen.disk_mb,
        )
        return runner.run(job)
    except ParadoxError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
