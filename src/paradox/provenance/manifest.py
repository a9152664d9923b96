"""Checkpoint manifests: small files that name every weight file with its hash.

Weights are large, so the workflow passes manifests along. A manifest is written last, after
every weight file is in place; a checkpoint that differs from its manifest is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paradox.errors import CheckpointError, DataError
from paradox.files import read_json, sha256, write_json

FORMAT = 1
# Pickled formats can run code when they are loaded.
UNSAFE_SUFFIXES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"}


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one arm, as named by its manifest.

    Attributes
    ----------
    folder
        The arm's folder (where the manifest lies).
    steps
        Maps an optimiser step to its checkpoint's folder, in ascending order; the untrained
        base is step 0.
    info
        What the producer recorded beside the files (parameters, device, and so on).
    """

    folder: Path
    steps: dict[int, Path]
    info: dict[str, Any]

    @property
    def last(self) -> Path:
        """The folder of the last checkpoint."""
        return self.steps[max(self.steps)]


def write_manifest(path: Path, steps: dict[int, Path], info: dict[str, Any]) -> None:
    """Hash every file of every checkpoint folder and write the manifest at `path`.

    Parameters
    ----------
    path
        Where the manifest goes; the checkpoint folders must lie below its parent.
    steps
        Maps an optimiser step to a checkpoint folder.
    info
        Plain data recorded beside the hashes. It must not hold times or host names: equal runs
        have equal manifests.
    """
    checkpoints = []
    for step, folder in sorted(steps.items()):
        files = [
            {"path": file.name, "bytes": file.stat().st_size, "sha256": sha256(file)}
            for file in sorted(folder.iterdir())
            if file.is_file()
        ]
        relative = folder.relative_to(path.parent).as_posix()
        checkpoints.append({"step": step, "folder": relative, "files": files})
    write_json(path, {"format": FORMAT, "checkpoints": checkpoints, "info": info})


def read_manifest(path: Path, verify: bool = True) -> Checkpoints:
    """Read a manifest and, by default, check every file it names.

    Raises
    ------
    CheckpointError
        When the manifest or a file is missing, or a file's size or hash differs. The message
        names the first such file and how to make it again.
    """
    path = Path(path)
    try:
        data = read_json(path)
        listed = data["checkpoints"]
        info = data["info"]
        steps = {entry["step"]: path.parent / entry["folder"] for entry in listed}
    except (DataError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not a readable checkpoint manifest: {error}") from None
    if not steps:
        raise CheckpointError(f"{path}: the manifest names no checkpoint.")
    if verify:
        for entry in listed:
            for file in entry["files"]:
                _check_file(path, path.parent / entry["folder"] / file["path"], file)
    return Checkpoints(path.parent, dict(sorted(steps.items())), info)


def _check_file(manifest: Path, file: Path, expected: dict[str, Any]) -> None:
    remedy = f"Delete {manifest} and repeat the command to make it again."
    if file.suffix in UNSAFE_SUFFIXES:
        raise CheckpointError(f"{file}: pickled files are never loaded; only safetensors are.")
    if not file.exists():
        raise CheckpointError(f"{file}: missing, but {manifest} names it. {remedy}")
    size = file.stat().st_size
    if size != expected["bytes"]:
        raise CheckpointError(
            f"{file}: corrupt: found {size} bytes, {manifest} says {expected['bytes']}. {remedy}"
        )
    digest = sha256(file)
    if digest != expected["sha256"]:
        raise CheckpointError(
            f"{file}: corrupt: found sha256 {digest[:12]}…, {manifest} says "
            f"{expected['sha256'][:12]}…. {remedy}"
        )
