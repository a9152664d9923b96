"""Reading and writing files: atomic, validated, deterministic."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paradox.errors import DataError, ResourceError, hint, problems

if TYPE_CHECKING:
    # Loaded where tables are read: commands that only hash files start at once without it.
    import pandas as pd


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys, so that equal values have equal text."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def text_sha256(text: str) -> str:
    """Return the SHA-256 of a text's UTF-8 bytes, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it there when the block ends without error.

    A reader therefore sees the old file, or no file, or the whole new file.

    Raises
    ------
    ResourceError
        When no space is left on the disk.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix is kept because some writers choose their format by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise_if_disk_full(error, path)
        raise
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


def raise_if_disk_full(error: BaseException, path: Path) -> None:
    """Turn "no space left on device" into a message that names the file and the remedy."""
    # safetensors reports the system's error as text only.
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    if full or "No space left on device" in str(error):
        raise ResourceError(
            f"{path}: no disk space left while writing it. Free some space and repeat the "
            "command; finished results are kept."
        ) from error


def require_disk_space(folder: Path, needed_mb: float) -> None:
    """Stop before a long job when `folder` has less than `needed_mb` megabytes free."""
    folder.mkdir(parents=True, exist_ok=True)
    free_mb = shutil.disk_usage(folder).free / 1e6
    if free_mb < needed_mb:
        raise ResourceError(
            f"{folder}: no disk space left: found {free_mb:.0f} MB free, needed {needed_mb:.0f} MB "
            "(key resources.<rule>.disk_mb). Free some space and repeat the command."
        )


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON with sorted keys atomically."""
    write_text(path, json.dumps(value, sort_keys=True, ensure_ascii=False, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; a missing or malformed file is a `DataError` that names it."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not valid JSON ({error}).") from None


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as csv or parquet (by suffix) atomically.

    Floats are written with all their digits, so that a csv read back is bit-identical.
    """
    with atomic_path(path) as temporary:
        if path.suffix == ".parquet":
            table.to_parquet(temporary, index=False)
        else:
            table.to_csv(temporary, index=False, lineterminator="\n")


def read_table(path: Path, columns: list[str] | None = None) -> pd.DataFrame:
    """Read a csv or parquet table and check that it has `columns`.

    Raises
    ------
    DataError
        When the file is missing, unreadable, empty or lacks a column. The message lists every
        missing column with the likely typo.
    """
    import pandas as pd

    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such file.")
    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
        else:
            # Answers such as "007" or "NA" are text; only empty fields are missing values.
            table = pd.read_csv(
                path,
                dtype={"answer": str, "question": str, "item": str, "label": str},
                keep_default_na=False,
                na_values=[""],
            )
    except Exception as error:  # pandas and pyarrow raise many kinds
        raise DataError(f"{path}: cannot be read as a table ({error}).") from None
    missing = [name for name in columns or [] if name not in table.columns]
    if missing:
        names = ", ".join(map(str, table.columns))
        lines = [f"column {name!r} is missing; {hint(name, table.columns)}" for name in missing]
        raise DataError(problems(f"{path}: malformed table (found columns: {names})", lines))
    if table.empty:
        raise DataError(f"{path}: the table has no rows.")
    return table
