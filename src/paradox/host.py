"""What is known of the machine that runs a step."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import resource
import subprocess
from pathlib import Path
from typing import Any

from paradox.steps import numeric


def device_class(step: str) -> str:
    """Return what decides the last bits of a step's numbers: processor, or GPU.

    Read from the processor's family, because numerical libraries choose their code by it. A
    step that computes with PyTorch adds the instruction set that PyTorch uses.
    """
    fields: dict[str, str] = {}
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").split("\n\n")[0].splitlines()
        fields = {key.strip(): value.strip() for key, _, value in (x.partition(":") for x in lines)}
    known = [fields[key] for key in ("vendor_id", "cpu family", "model") if key in fields]
    name = "-".join([platform.machine(), *known])
    if not numeric(step):
        return f"cpu {name}"
    import torch

    if torch.cuda.is_available():
        return f"cuda {torch.cuda.get_device_name()}"
    return f"cpu {name} {torch.backends.cpu.get_cpu_capability()}"


def host_facts(locks: list[Path]) -> dict[str, Any]:
    """Return what is known of this machine and process, and what is not as `locks` say.

    ``uncommitted`` lists files that differ from ``commit``; both are None outside a git
    repository. ``packages_not_as_locked`` maps a package to the version found (None: absent).
    """
    text = "\n".join(lock.read_text() for lock in locks)
    locked = dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;+]+)", text, re.MULTILINE))
    other = {}
    for name, version in sorted(locked.items()):
        try:
            installed = importlib.metadata.version(name).split("+")[0]
        except importlib.metadata.PackageNotFoundError:
            installed = None
        if installed != version:
            other[name] = installed
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes
    changed = _git("status", "--porcelain")
    return {
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted": None if changed is None else [line[3:] for line in changed.splitlines()],
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "cores": os.cpu_count(),
        "peak_memory_mb": peak // 1024,
        "packages_not_as_locked": other,
    }


def _git(*arguments: str) -> str | None:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True)
    return done.stdout.rstrip() if done.returncode == 0 else None
