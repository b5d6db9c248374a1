"""Atomic writes of files and folders, and the receipts of stages."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager
from glob import escape
from typing import IO, TYPE_CHECKING

from core.errors import StaleStateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path


def unfinished(path: Path) -> Path:
    """Return this process's temporary path in the folder of `path`; remove temporary files of dead processes."""
    for leftover in path.parent.glob(f".{escape(path.name)}.*"):
        pid = leftover.name.removeprefix(f".{path.name}.")
        if pid.isdigit() and not _is_running(int(pid)):
            remove(leftover)
    return path.with_name(f".{path.name}.{os.getpid()}")


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def remove(path: Path) -> None:
    """Remove a file or a folder, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write `content` to `path` atomically: write a temporary file, fsync it and rename it."""
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Yield a temporary file that replaces `path`, after an fsync, at the end of the block; it is removed on an exception."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = unfinished(path)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that replaces `path` at the end of the block; it is removed on an exception."""
    with _temporary_folder(path, 0o777) as temporary:
        yield temporary
        shutil.rmtree(path, ignore_errors=True)
        temporary.rename(path)


def private_folder(path: Path) -> AbstractContextManager[Path]:
    """Return a context manager of a temporary folder next to `path`, mode 0700, removed at the end of the block."""
    return _temporary_folder(path, 0o700)


@contextmanager
def _temporary_folder(path: Path, mode: int) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = unfinished(path)
    remove(temporary)
    temporary.mkdir(mode)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_receipt(path: Path, content: Mapping[str, object]) -> None:
    """Write the receipt of a stage that changes something outside of DVC's view, such as a database."""
    write_whole(path, json.dumps({"format_version": 1, **content}, indent=2, sort_keys=True) + "\n")


def require(path: Path, stage: str) -> Path:
    """Return `path`, an output of `stage`.

    Raises
    ------
    StaleStateError
        If it does not exist.

    """
    if not path.exists():
        raise StaleStateError(f"there is no {path}, which the stage `{stage}` makes; run `dvc repro {stage}`")
    return path


def read_receipt(path: Path, stage: str) -> dict[str, object]:
    """Read the receipt that `stage` wrote.

    Raises
    ------
    StaleStateError
        If it is absent or is not a receipt of format 1.

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
