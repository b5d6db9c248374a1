"""Load the tables in files into DuckDB, with the names of their columns in the plan."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from glob import has_magic
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import duckdb

from core.errors import SourceError
from core.plan.ingest import DuckdbReader, ExcelReader, JsonLinesReader, ParquetReader, SqliteReader, TextTable
from feature_repo.files.duck import identifier
from feature_repo.sources.faults import without_rows
from feature_repo.sources.files import shown
from feature_repo.sources.readers import open_reader
from planner.profile.dialect import csv_reader
from planner.profile.names import plan_name, plan_names
from planner.profile.parts import kind_of_parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from core.plan.ingest import Reader
    from feature_repo.sources.parts import Part

#: The kind of reader of each ending of a file.
_KINDS = {
    **dict.fromkeys((".csv", ".tsv", ".txt", ".data"), "csv"),
    **dict.fromkeys((".jsonl", ".ndjson"), "jsonl"),
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    **dict.fromkeys((".xlsx", ".xlsm"), "excel"),
    **dict.fromkeys((".sqlite", ".sqlite3"), "sqlite"),
    ".duckdb": "duckdb",
}
_PACKED = frozenset({".gz", ".zst", ".bz2"})
#: Name of a file that tells nothing about its table, whose name is then that of the folder.
_PART_NAME = re.compile(r"(part|data|file|chunk)?[-_]?[\d-]*")
_NESTED = ("STRUCT", "MAP", "UNION")
_SQLITE = b"SQLite format 3\x00"


@dataclass(frozen=True)
class Loaded:
    """A table in DuckDB.

    Attributes
    ----------
    name : its name in the plan and in DuckDB.
    reader : the plan's reader for it.
    raw : the name of each column in the file, by its name in the plan.
    types : DuckDB's type of each column, by its name in the plan.
    rows : the number of its rows.
    unread : the number of lines left out because they have more or fewer columns.

    """

    name: str
    reader: Reader
    raw: dict[str, str]
    types: dict[str, str]
    rows: int
    unread: int = 0

    @property
    def relation(self) -> str:
        """The SQL name of the relation."""
        return identifier(self.name)


def load_tables(connection: duckdb.DuckDBPyConnection, data: Sequence[str], scratch: Path) -> list[Loaded]:
    """Load all tables that `data` names: files, folders, globs, and databases with all their tables.

    Raises
    ------
    SourceError
        If there is none, or one cannot be read.

    """
    readers = [found for each in data for found in _readers(each, scratch)]
    if not readers:
        raise SourceError(
            f"no table was found in {', '.join(data)}; expected {', '.join(sorted(_KINDS))} files: correct the path"
        )
    names = _table_names([title for title, _ in readers])
    return [load(connection, name, reader, scratch) for name, (_, reader) in zip(names, readers, strict=True)]


def _table_names(titles: Sequence[str]) -> list[str]:
    """Return a distinct plan name for each title; a repeated one ends in a number from 2 on."""
    named = [plan_name(title, "table") for title in titles]
    counts = [named[: place + 1].count(name) for place, name in enumerate(named)]
    return [name if count == 1 else f"{name[:36]}_{count}" for name, count in zip(named, counts, strict=True)]


def _readers(data: str, scratch: Path) -> Iterator[tuple[str, Reader]]:
    """Yield (title, reader) for each table that an argument names."""
    path = Path(data)
    if path.is_dir():
        yield from _folder(path, scratch)
        return
    kind = _kind(path)
    if kind is None and path.is_file():
        raise SourceError(f"{data} has no known suffix; expected a file that ends in {', '.join(sorted(_KINDS))}")
    if not path.exists() and not has_magic(data):
        raise SourceError(f"there is no file {data} in {Path.cwd()}; correct the path")
    title = path.parent.name or "table" if has_magic(path.name) else _stem(path)
    yield from _of_kind(kind or "csv", data, title, scratch)


def _folder(folder: Path, scratch: Path) -> Iterator[tuple[str, Reader]]:
    """Yield the tables of a folder: one per file; files of one kind and header, or below a subfolder, are one together."""
    visible = [file for file in sorted(folder.iterdir()) if not file.name.startswith((".", "_"))]
    if kind := kind_of_parts(visible, _kind):
        yield from _of_kind(kind, str(folder), folder.absolute().name, scratch)
        return
    if len(visible) == 1 and _PART_NAME.fullmatch(_stem(visible[0])) and (kind := _kind(visible[0])):
        yield from _of_kind(kind, str(folder), folder.absolute().name, scratch)
        return
    for file in visible:
        if file.is_dir():
            kinds = {kind for inside in file.rglob("*") if inside.is_file() and (kind := _kind(inside))}
            if len(kinds) == 1 and kinds <= {"csv", "parquet", "jsonl"}:
                yield from _of_kind(kinds.pop(), str(file), file.name, scratch)
        elif kind := _kind(file):
            yield from _of_kind(kind, str(file), _stem(file), scratch)


def _kind(path: Path) -> str | None:
    name = path.with_suffix("") if path.suffix.lower() in _PACKED else path
    kind = _KINDS.get(name.suffix.lower())
    if name.suffix.lower() == ".json":
        return "jsonl"
    if name.suffix.lower() == ".db" and path.is_file():
        with path.open("rb") as content:
            return "sqlite" if content.read(len(_SQLITE)) == _SQLITE else "duckdb"
    return kind


def _stem(path: Path) -> str:
    return path.name.split(".")[0]


def _of_kind(kind: str, path: str, title: str, scratch: Path) -> Iterator[tuple[str, Reader]]:
    match kind:
        case "csv":
            yield title, csv_reader(path, scratch)
        case "jsonl":
            yield title, JsonLinesReader(kind="jsonl", path=path)
        case "parquet":
            yield title, ParquetReader(kind="parquet", path=path)
        case "excel":
            yield from ((sheet if sheets > 1 else title, reader) for sheet, sheets, reader in _sheets(path))
        case "sqlite":
            yield from ((table, SqliteReader(kind="sqlite", path=path, table=table)) for table in _sqlite_tables(path))
        case _:
            yield from ((table, DuckdbReader(kind="duckdb", path=path, table=table)) for table in _duckdb_tables(path))


def _sheets(path: str) -> Iterator[tuple[str, int, ExcelReader]]:
    try:
        import openpyxl
    except ImportError:
        raise SourceError(f"{path}: a workbook needs the extra: pip install 'pantherapredict[excel]'") from None
    try:
        with closing(openpyxl.load_workbook(path, read_only=True)) as workbook:
            names = [sheet.title for sheet in workbook.worksheets]
    except Exception as error:  # noqa: BLE001 - a damaged workbook raises whatever its parts do
        raise SourceError(f"{path} is not an Excel workbook ({error}); save it as .xlsx again") from None
    yield from ((name, len(names), ExcelReader(kind="excel", path=path, sheet=name)) for name in names)


def _sqlite_tables(path: str) -> list[str]:
    query = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY 1"
    try:
        with closing(sqlite3.connect(f"file:{quote(str(Path(path).absolute()))}?mode=ro", uri=True)) as connection:
            return [str(name) for (name,) in connection.execute(query)]
    except sqlite3.Error as error:
        raise SourceError(f"the SQLite file {path} cannot be read: {error}; fetch it again") from None


def _duckdb_tables(path: str) -> list[str]:
    query = "SELECT table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE' ORDER BY 1"
    try:
        with duckdb.connect(path, read_only=True) as connection:
            return [str(name) for (name,) in connection.execute(query).fetchall()]
    except duckdb.Error as error:
        raise SourceError(
            f"the DuckDB file {path} cannot be read: {' '.join(str(error).split())[:300]}; fetch it again"
        ) from None


def load(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    reader: Reader,
    scratch: Path,
    names: Mapping[str, str] | None = None,
) -> Loaded:
    """Load the table that `reader` reads; ragged lines are left out and counted.

    With `names`, only these columns of the file are loaded, under the plan's names that they map to.

    Raises
    ------
    SourceError
        If it cannot be read, or its files have several headers.

    """
    try:
        return _loaded(connection, name, reader, scratch, names)
    except SourceError as error:
        if not (isinstance(reader, TextTable) and reader.ragged == "reject_file" and "ragged" in str(error)):
            raise
    except duckdb.Error as error:
        reason = without_rows(error)
        if not (isinstance(reader, TextTable) and reader.ragged == "reject_file" and "ragged" in reason):
            raise SourceError(f"{_place(reader)} cannot be read: {reason}") from None
    return load(connection, name, reader.model_copy(update={"ragged": "reject_row"}), scratch, names)


def _place(reader: Reader) -> str:
    return shown(str(getattr(reader, "path", reader.kind)))


def _loaded(
    connection: duckdb.DuckDBPyConnection, name: str, reader: Reader, scratch: Path, stated: Mapping[str, str] | None
) -> Loaded:
    parts = open_reader(reader, connection, scratch)
    columns = _columns(parts)
    if not columns:
        raise SourceError(f"{_place(reader)} has no column; expected a header and rows: correct the file")
    names = plan_names(columns) if stated is None else {raw: stated[raw] for raw in columns if raw in stated}
    if not names:
        raise SourceError(
            f"{_place(reader)} has none of the declared columns; it has {', '.join(columns)}; correct rename_from"
        )
    selected = " UNION ALL ".join(_select(part, names) for part in parts)
    connection.execute(f"CREATE OR REPLACE TABLE {identifier(name)} AS {selected}")
    types = connection.execute(f"DESCRIBE {identifier(name)}").fetchall()
    ((rows, unread),) = connection.execute(
        f"SELECT count(*), count({identifier(_UNREAD)}) FROM {identifier(name)}"
    ).fetchall()
    if unread:
        connection.execute(f"DELETE FROM {identifier(name)} WHERE {identifier(_UNREAD)} IS NOT NULL")
    found = {str(row[0]): str(row[1]) for row in types if row[0] != _UNREAD}
    return Loaded(name, reader, {own: raw for raw, own in names.items()}, found, rows - unread, unread)


#: The column with the reason why a line could not be read; its blank distinguishes it from plan names.
_UNREAD = "why unread"


def _columns(parts: Sequence[Part]) -> list[str]:
    """Return the columns that all parts have."""
    first = [name for name in parts[0].columns if name == name.strip() or name.strip() not in parts[0].columns]
    return [name for name in first if all(name in part.columns for part in parts)]


def _select(part: Part, names: dict[str, str]) -> str:
    values = [f"{_value(part, raw)} AS {identifier(name)}" for raw, name in names.items()]
    return f"SELECT {', '.join(values)}, CAST({part.unread or 'NULL'} AS VARCHAR) AS {identifier(_UNREAD)} FROM {part.relation}"


def _value(part: Part, raw: str) -> str:
    found = part.types.get(raw, "VARCHAR")
    is_nested = found.endswith("]") or found.startswith(_NESTED)
    return f"CAST({part.columns[raw]} AS VARCHAR)" if is_nested else part.columns[raw]
