"""The parquet files of a Feast source (a file, a folder or a glob): reads in parts, and atomic appends."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from core.errors import SourceError
from core.files import unfinished, whole_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from feature_repo.join.point_in_time import Part

#: The most rows in memory at a time, with their keys and times or with their features.
PART_ROWS = 2_000_000
#: Rows of one chunk in memory; taking rows from few long chunks is faster than from many short ones.
_BATCH_ROWS = 1 << 20
#: The least bytes of a text value in a file that stores it plainly, not as a dictionary index: its length field.
_LENGTH_BYTES = 4
#: Sequence number in the name of an appended file.
_ADDED = re.compile(r"added-(\d+)-")


@dataclass(frozen=True)
class FeatureFiles:
    """Parquet files that together are one table.

    Attributes
    ----------
    pattern : the file, the folder, or the glob.
    root : the folder to which the pattern is relative; `*`, `?` and `[` in its path match literally.
    fragments : the files in the order of their names.
    schema : the table's schema; columns that a file lacks are null in its rows, and narrower types are widened.

    """

    pattern: Path
    root: Path
    fragments: tuple[ds.ParquetFileFragment, ...]
    schema: pa.Schema

    @classmethod
    def find(cls, pattern: Path, root: Path = Path()) -> FeatureFiles:
        """Return the files of `pattern`, below `root` or anywhere; folders named `column=value` add columns.

        Raises
        ------
        SourceError
            If no file exists, or the files cannot be read as one table.

        """
        root = root if pattern.is_relative_to(root) else Path(pattern.anchor)
        files = _listed(pattern, root)
        if not files:
            raise SourceError(f"there is no parquet file at {pattern}; run the stage or the job that writes it")
        try:
            table = ds.dataset(
                files, format="parquet", partitioning="hive", partition_base_dir=str(_fixed_folder(pattern, root))
            )
            fragments = tuple(table.get_fragments())
            own = [fragment.physical_schema for fragment in fragments]
            schema = pa.unify_schemas([*own, table.schema], promote_options="permissive")
        except (pa.ArrowException, OSError) as error:
            raise SourceError(f"the parquet files at {pattern} cannot be read as one table: {error}") from None
        # pandas' metadata describes the index of one file only.
        return cls(pattern, root, fragments, schema.remove_metadata())

    def parts(self) -> list[Part]:
        """Return readers of at most `PART_ROWS` rows each (or one row group, if that is longer)."""
        groups: list[list[ds.ParquetFileFragment]] = [[]]
        rows = 0
        for piece, piece_rows in self._pieces():
            if groups[-1] and rows + piece_rows > PART_ROWS:
                groups.append([])
                rows = 0
            groups[-1].append(piece)
            rows += piece_rows
        return [_reader(self.schema, group, {piece.path: _state(piece.path) for piece in group}) for group in groups]

    def _pieces(self) -> Iterator[tuple[ds.ParquetFileFragment, int]]:
        for fragment in self.fragments:
            rows = fragment.metadata.num_rows
            if rows <= PART_ROWS:
                yield fragment, rows
            else:
                for piece in fragment.split_by_row_group():
                    yield piece, sum(group.num_rows for group in piece.row_groups)

    def append(self, rows: pa.Table) -> None:
        """Append rows: to the single file, or as a new file of the folder or glob.

        Raises
        ------
        SourceError
            If the columns or types of the rows do not fit the table, or the glob does not determine the new file's path.

        """
        fitting = self._fitting(rows)
        label = f"added-{max(_addition(Path(piece.path)) for piece in self.fragments) + 1:06d}-{uuid4().hex}"
        if self.pattern.is_dir():
            write_file(self.pattern / f"{label}.parquet", fitting)
        elif not _is_glob(self.pattern, self.root):
            _extend(self.pattern, fitting)
        elif _is_glob(self.pattern.parent, self.root) or self.pattern.name.count("*") != 1:
            raise SourceError(f"the glob {self.pattern} does not determine a new file's path; use its folder instead")
        else:
            write_file(self.pattern.with_name(self.pattern.name.replace("*", label)), fitting)

    def _fitting(self, rows: pa.Table) -> pa.Table:
        if set(rows.column_names) != set(self.schema.names):
            missing = sorted(set(self.schema.names) - set(rows.column_names))
            unknown = sorted(set(rows.column_names) - set(self.schema.names))
            raise SourceError(
                f"{self.pattern}: the rows to add lack the columns {missing} and have unknown ones {unknown}"
            )
        try:
            return rows.select(self.schema.names).cast(self.schema)
        except (pa.ArrowException, ValueError) as error:
            raise SourceError(f"{self.pattern}: the rows to add are of other types than its rows: {error}") from None


def _is_glob(pattern: Path, root: Path) -> bool:
    return not pattern.exists() and has_magic(str(pattern.relative_to(root)))


def _listed(pattern: Path, root: Path) -> list[str]:
    """Return the files in the order of their rows: by name, appended files last in the order of their appending."""
    if pattern.is_dir():
        found = [file for file in pattern.rglob("*") if file.is_file() and _is_data(file.relative_to(pattern))]
    elif _is_glob(pattern, root):
        names = glob(str(pattern.relative_to(root)), root_dir=root, recursive=True)  # noqa: PTH207 - hidden files stay so
        found = [root / name for name in names]
    else:
        found = [pattern] if pattern.is_file() else []
    return [str(file) for file in sorted(found, key=lambda file: (_addition(file), str(file)))]


def _is_data(file: Path) -> bool:
    """Return whether a file belongs to the table, unlike files that tools add, as `_SUCCESS` and `.part.crc`."""
    return not any(part.startswith(".") or (part.startswith("_") and "=" not in part) for part in file.parts)


def _addition(file: Path) -> int:
    found = _ADDED.search(file.name)
    return int(found[1]) if found else 0


def _fixed_folder(pattern: Path, root: Path) -> Path:
    """Return the folder below which folders may be partitions."""
    if pattern.is_dir():
        return pattern
    folder = pattern.parent
    while _is_glob(folder, root):
        folder = folder.parent
    return folder


def _reader(schema: pa.Schema, pieces: list[ds.ParquetFileFragment], states: dict[str, tuple[int, ...]]) -> Part:
    def read(columns: list[str]) -> pa.Table:
        with _unchanged(states):
            return pa.concat_tables(
                _with_dictionaries(piece, schema, columns).to_table(
                    schema=schema, columns=columns, batch_size=_BATCH_ROWS
                )
                for piece in pieces
            )

    return read


def _with_dictionaries(piece: ds.ParquetFileFragment, schema: pa.Schema, columns: list[str]) -> ds.ParquetFileFragment:
    """Return `piece`, set to read dictionary-encoded text as Arrow dictionaries, which halves the time."""
    texts = {name for name in columns if pa.types.is_string(schema.field(name).type)}
    names = [name for name in _dictionary_columns(piece) if name in texts] if texts else []
    if not names:
        return piece
    file_format = ds.ParquetFileFormat(dictionary_columns=names)
    return file_format.make_fragment(
        piece.path, piece.filesystem, piece.partition_expression, [group.id for group in piece.row_groups]
    )


def _dictionary_columns(piece: ds.ParquetFileFragment) -> list[str]:
    """Return the columns too small to be plain text, whose values, if they are text, must mostly be in dictionaries.

    For other columns, reading as Arrow dictionaries would build a dictionary of all values, which takes four times as long.
    """
    groups = [piece.metadata.row_group(group.id) for group in piece.row_groups]
    names = []
    for number in range(piece.metadata.num_columns):
        chunks = [group.column(number) for group in groups]
        values = sum(chunk.num_values for chunk in chunks)
        if sum(chunk.total_uncompressed_size for chunk in chunks) < _LENGTH_BYTES * values:
            names.append(chunks[0].path_in_schema)
    return names


@contextmanager
def _unchanged(states: dict[str, tuple[int, ...]]) -> Iterator[None]:
    """Raise SourceError after a read if a file has changed since `states`: rows found earlier would have other indices."""
    try:
        yield
    finally:
        for path, state in states.items():
            if _state(path) != state:
                raise SourceError(f"{path} was changed while it was read; run again")


def _state(path: str) -> tuple[int, ...]:
    try:
        status = os.stat(path)  # noqa: PTH116
    except FileNotFoundError:
        return ()
    return (status.st_ino, status.st_size, status.st_mtime_ns)


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Yield a temporary file, hidden from readers, that replaces `path` at the end of the block."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = unfinished(path)
    try:
        yield fresh
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def write_file(path: Path, rows: pa.Table) -> None:
    """Write a parquet file atomically."""
    with _whole(path) as fresh:
        pq.write_table(rows, fresh, compression="zstd")


def write_folder(path: Path, rows: pa.Table) -> None:
    """Write a folder of one parquet file; it replaces whatever exists at `path`."""
    with whole_folder(path) as fresh:
        write_file(fresh / "rows.parquet", rows)


def add_to_folder(path: Path, rows: pa.Table, partition_by: list[str] | None) -> None:
    """Write rows as new files to a folder, in folders `column=value` for each of the columns `partition_by`."""
    staged = path / f".{uuid4().hex}"
    staged.mkdir(parents=True)
    try:
        ds.write_dataset(
            rows,
            staged,
            format="parquet",
            basename_template=f"{uuid4().hex}-{{i}}.parquet",
            partitioning=partition_by,
            partitioning_flavor="hive" if partition_by else None,
        )
        for file in sorted(staged.rglob("*.parquet")):
            target = path / file.relative_to(staged)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _extend(path: Path, rows: pa.Table) -> None:
    """Write a file anew with rows appended, under a file lock."""
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        present = pq.ParquetFile(path)
        with _whole(path) as fresh, pq.ParquetWriter(fresh, present.schema_arrow) as writer:
            for batch in present.iter_batches():
                writer.write_batch(batch)
            writer.write_table(rows.cast(present.schema_arrow))
