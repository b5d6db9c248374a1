"""Find the files that a reader's path names: a file, a folder, a glob or an address; in the order of their names."""

from __future__ import annotations

import hashlib
import re
from difflib import get_close_matches
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import SourceError
from core.plan.ingest import (
    CsvReader,
    DuckdbReader,
    ExcelReader,
    FilesReader,
    JsonLinesReader,
    ParquetReader,
    SqliteReader,
)
from feature_repo.files.duck import files_literal
from feature_repo.sources.addresses import fetched, is_address
from feature_repo.sources.remote.objects import fetched_objects, is_object

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import PurePath

_CHUNK = 1 << 20
#: The endings of the files in a folder that a reader takes.
_SUFFIXES: dict[type[FilesReader], tuple[str, ...]] = {
    CsvReader: (".csv", ".tsv", ".txt"),
    JsonLinesReader: (".jsonl", ".ndjson", ".json"),
    ParquetReader: (".parquet", ".pq"),
    ExcelReader: (".xlsx", ".xlsm"),
    SqliteReader: (".sqlite", ".sqlite3", ".db"),
    DuckdbReader: (".duckdb", ".db"),
}
#: Endings that a packed file has after its own.
_PACKED_SUFFIXES = frozenset({".gz", ".zst", ".bz2"})


def source_files(reader: FilesReader, scratch: Path) -> list[Path]:
    """Return the files that `reader` names; objects and files behind an address are downloaded to `scratch`.

    Raises
    ------
    SourceError
        If there are none, one is empty or not readable, or the sha256 of all contents together (as `cat` joins them) differs
        from the plan's.

    """
    if is_address(reader.path):
        files = [fetched(reader.path, scratch)]
    elif is_object(reader.path):
        files = fetched_objects(reader.path, kind_of_file(reader), scratch)
    else:
        files = local_files(reader)
    for file in files:
        _refuse_unreadable(file)
    if reader.sha256 is not None:
        check_hash(sha256_of(files), reader.sha256, reader.path)
    return files


def local_files(reader: FilesReader) -> list[Path]:
    """Return the files at a reader's path; in a folder, the visible files with a suffix of its kind, compressed or not.

    Raises
    ------
    SourceError
        If there are none.

    """
    files = _found(Path(reader.path), kind_of_file(reader))
    if not files:
        raise SourceError(_not_found(Path(reader.path), _SUFFIXES[type(reader)]))
    return files


def kind_of_file(reader: FilesReader) -> Callable[[PurePath], bool]:
    """Return the predicate that accepts the path of a file in a folder if `reader` reads files of this kind."""
    suffixes = _SUFFIXES[type(reader)]
    return lambda file: _counts(file) and _suffix(file) in suffixes


def _found(path: Path, takes: Callable[[PurePath], bool]) -> list[Path]:
    if path.is_file():
        return [path]
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file() and takes(file.relative_to(path)))
    if not has_magic(str(path)):
        return []
    return sorted(Path(name) for name in glob(str(path), recursive=True) if Path(name).is_file())  # noqa: PTH207


def _suffix(file: PurePath) -> str:
    """Return the suffix of a file in lower case, without the suffix of a compression."""
    name = file.with_suffix("") if file.suffix.lower() in _PACKED_SUFFIXES else file
    return name.suffix.lower()


def _counts(file: PurePath) -> bool:
    return not any(part.startswith((".", "_")) for part in file.parts)


def _not_found(path: Path, suffixes: Collection[str]) -> str:
    """Compose the message for a path without a file: where it was searched for, and the most similar name."""
    looked = str(path) if path.is_absolute() else f"{path} in {Path.cwd()}"
    if path.is_dir():
        return f"the folder {looked} has no file that ends in {', '.join(suffixes)}; put one there or name the files by a glob"
    if path.exists():
        return f"{looked} is no regular file and no folder; correct the reader's path"
    folder = next(parent for parent in (path.parent, *path.parents, Path("/")) if parent.is_dir())
    near = get_close_matches(path.name, sorted(file.name for file in folder.iterdir()), n=1)
    meant = f"did you mean {near[0]}? " if near and folder == path.parent else ""
    missing = "" if folder == path.parent or has_magic(str(path)) else f" (there is no folder {path.parent})"
    return f"there is no file {looked}{missing}; {meant}put it there or correct the reader's path"


def _refuse_unreadable(file: Path) -> None:
    try:
        with file.open("rb") as content:
            empty = not content.read(1)
    except OSError as error:
        raise SourceError(
            f"the file {shown(file)} cannot be read: {error.strerror}; let the user that runs the stages read it"
        ) from None
    if empty:
        raise SourceError(
            f"the file {shown(file)} is empty; expected a header and rows: write it anew, or correct the reader's path"
        )


def shown(file: Path | str) -> str:
    """Return the name of a file for messages; for a copy in the scratch folder, the name of its original."""
    text = re.sub(r"^.*/\.reading\.\d+/[a-z]+/", "/", str(file))
    if text != str(file) and (address := re.fullmatch("/(https?|s3|gs|az)/(.*)", text, re.DOTALL)):
        return f"{address[1]}://{address[2]}"
    path = Path(text)
    return str(path.relative_to(Path.cwd())) if text != str(file) and path.is_relative_to(Path.cwd()) else text


def check_hash(found: str, expected: str, what: str) -> None:
    """Raise SourceError unless `found`, the sha256 of `what`, begins with `expected`."""
    if not found.startswith(expected.lower()):
        raise SourceError(
            f"the sha256 of {what} is {found[: len(expected)]}, the plan expects {expected}; the file was changed or "
            "damaged: fetch it again, or correct the plan if the change is meant"
        )


def sha256_of(files: Sequence[Path]) -> str:
    """Return the sha256 of the contents of files, joined in their order."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            while chunk := content.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def listed_files(files: Sequence[Path]) -> str:
    """Compose the SQL of a list of files for DuckDB's readers."""
    return f"[{', '.join(map(files_literal, files))}]"
