"""The files that a reader's path names: one, a folder of them, or a glob; in the order of their names."""

from __future__ import annotations

import hashlib
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import SourceError
from feature_repo.files.duck import files_literal

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

_CHUNK = 1 << 20


def source_files(path: str, sha256: str | None, suffixes: Collection[str]) -> list[Path]:
    """Find the files at `path`; in a folder those that end in one of `suffixes`, hidden ones left out.

    Raises
    ------
    SourceError
        If there are none, one of them is empty, or their sha256 is another: that of their contents one after another, as
        `cat` joins them.

    """
    files = _found(Path(path), suffixes)
    if not files:
        raise SourceError(f"there is no file {_shown(path)}; put it there or correct the reader's path")
    for file in files:
        if file.stat().st_size == 0:
            raise SourceError(f"the file {file} is empty; expected a header and rows")
    if sha256 is not None:
        check_hash(_digest(files), sha256, path)
    return files


def _found(path: Path, suffixes: Collection[str]) -> list[Path]:
    if path.is_file():
        return [path]
    if path.is_dir():
        inside = (file for file in path.rglob("*") if file.is_file() and _counts(file.relative_to(path)))
        return sorted(file for file in inside if file.suffix in suffixes)
    if not has_magic(str(path)):
        return []
    return sorted(Path(name) for name in glob(str(path), recursive=True) if Path(name).is_file())  # noqa: PTH207


def _counts(file: Path) -> bool:
    return not any(part.startswith((".", "_")) for part in file.parts)


def _shown(path: str) -> str:
    """Show a path; a relative one with the folder in which it was looked for."""
    return path if Path(path).is_absolute() else f"{path} in {Path.cwd()}"


def check_hash(found: str, expected: str, what: str) -> None:
    """Refuse content whose sha256 is `found` unless that begins with `expected`."""
    if not found.startswith(expected.lower()):
        raise SourceError(
            f"the sha256 of {what} is {found[: len(expected)]}, the plan expects {expected}; the file was changed or "
            "damaged: fetch it again, or correct the plan if the change is meant"
        )


def _digest(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            while chunk := content.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def listed_files(files: Sequence[Path]) -> str:
    """Compose the list of files that DuckDB reads."""
    return f"[{', '.join(map(files_literal, files))}]"
