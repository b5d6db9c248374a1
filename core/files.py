"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager
from glob import escape
from typing import TYPE_CHECKING

from core.errors import StaleStateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path


def unfinished(path: Path) -> Path:
    """Name what this process makes beside `path` to take its place; what dead processes left of theirs is removed."""
    for left in path.parent.glob(f".{escape(path.name)}.*"):
        process = left.name.removeprefix(f".{path.name}.")
        if process.isdigit() and not _lives(int(process)):
            remove(left)
    return path.with_name(f".{path.name}.{os.getpid()}")


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write `content` beside `path`, force it to disk and rename it, so that no reader or crash meets half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = unfinished(path)
    try:
        with fresh.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give a fresh folder beside `path` that takes its place at the end of the block, and vanishes on an exception."""
    with _folder_beside(path, 0o777) as fresh:
        yield fresh
        shutil.rmtree(path, ignore_errors=True)
        fresh.rename(path)


def private_folder(path: Path) -> AbstractContextManager[Path]:
    """Make a folder beside `path`, for this user alone, that is removed at the end of the block."""
    return _folder_beside(path, 0o700)


@contextmanager
def _folder_beside(path: Path, mode: int) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = unfinished(path)
    remove(fresh)
    fresh.mkdir(mode)
    try:
        yield fresh
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def write_receipt(path: Path, content: Mapping[str, object]) -> None:
    """Write what a stage did to something that DVC cannot see."""
    write_whole(path, json.dumps({"format_version": 1, **content}, indent=2, sort_keys=True) + "\n")


def require(path: Path, stage: str) -> Path:
    """Give `path`, which `stage` makes.

    Raises
    ------
    StaleStateError
        If it is not there.

    """
    if not path.exists():
        raise StaleStateError(f"there is no {path}, which the stage `{stage}` makes; run `dvc repro {stage}`")
    return path


def read_receipt(path: Path, stage: str) -> dict[str, object]:
    """Read the receipt that `stage` wrote.

    Raises
    ------
    StaleStateError
        If it is absent or not a receipt.

    """
    try:
        receipt = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise StaleStateError(
            f"{path}: the receipt of `{stage}` cannot be read ({error}); run `dvc repro {stage}`"
        ) from None
    if not isinstance(receipt, dict) or receipt.get("format_version") != 1:
        raise StaleStateError(f"{path}: not a receipt of format 1; run `panthera repair`")
    return receipt
