"""The version of a source, which changes when its content changes."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from core.files import write_whole
from core.plan.ingest import DatabaseFileReader, FilesReader, WheelReader
from core.plan.rows.remote_readers import DeltaReader, IcebergReader
from feature_repo.sources.addresses import address_version, is_address
from feature_repo.sources.files import kind_of_file, local_files
from feature_repo.sources.remote.lake_tables import delta_version, iceberg_version
from feature_repo.sources.remote.objects import is_object, objects_version

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from core.plan.ingest import Reader

#: A file that was changed within so short a time before its digest was written may change again without a trace.
_TICK_NS = 2_000_000_000
#: What stands beside a database file and belongs to its content.
_WRITE_AHEAD = ("-wal", ".wal")


class Digests:
    """The sha256 of files, stored in a file, so that unchanged files are not read again.

    A file counts as unchanged if its size, inode and times are the same, as for git and DVC.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = self._read()
        self._used: dict[str, list[object]] = {}

    def _read(self) -> dict[str, list[object]]:
        try:
            written = self._path.stat().st_mtime_ns
            known = json.loads(self._path.read_text())
            return {name: entry for name, entry in known.items() if max(entry[2:4]) + _TICK_NS < written}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def of(self, file: Path) -> str:
        """Return the sha256 of a file: the stored one if the file is unchanged."""
        status, name = file.stat(), str(file.absolute())
        marks: list[object] = [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]
        known = self._known.get(name, [])
        if known[:-1] == marks:
            digest = str(known[-1])
        else:
            with file.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
        self._used[name] = [*marks, digest]
        return digest

    def write(self) -> None:
        """Write the digests that were requested, for the next run."""
        write_whole(self._path, json.dumps(self._used))


def source_version(reader: Reader, digests: Digests) -> str | None:
    """Return the version of what `reader` reads; None if it cannot be determined.

    Raises
    ------
    SourceError
        If a file or a table of a lake does not exist or cannot be read.

    """
    if isinstance(reader, WheelReader):
        return f"sha256 {reader.sha256}"
    if isinstance(reader, DeltaReader):
        return delta_version(reader)
    if isinstance(reader, IcebergReader):
        return iceberg_version(reader)
    return _version_of_files(reader, digests) if isinstance(reader, FilesReader) else None


def _version_of_files(reader: FilesReader, digests: Digests) -> str | None:
    if is_address(reader.path):
        return address_version(reader.path)
    if is_object(reader.path):
        return objects_version(reader.path, kind_of_file(reader))
    digest = hashlib.sha256()
    for file in _files(reader):
        digest.update(bytes.fromhex(digests.of(file)))
    return f"sha256 {digest.hexdigest()}"


def _files(reader: FilesReader) -> Iterator[Path]:
    for file in local_files(reader):
        yield file
        if isinstance(reader, DatabaseFileReader):
            beside = (file.with_name(file.name + ending) for ending in _WRITE_AHEAD)
            yield from (log for log in beside if log.exists() and log.stat().st_size)
