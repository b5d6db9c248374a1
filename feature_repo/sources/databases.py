"""Tables of databases: the result of a query, or a table of an SQLite or DuckDB file, opened for reading only."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import duckdb

from core.errors import DatabaseError, SourceError
from feature_repo.files.duck import files_literal, identifier, literal
from feature_repo.sources.files import shown, source_files
from feature_repo.sources.object_rows import object_part
from feature_repo.sources.parts import Part, by_position, position

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import sqlalchemy

    from core.plan.ingest import DatabaseFileReader, DuckdbReader, SqliteReader, SqlReader

_POSTGRESQL = ("postgresql://", "postgres://")
_CHUNK = 10_000
_LONGEST_REASON = 300
#: DuckDB's types that parquet would store as another type.
_AS_TEXT = frozenset({"HUGEINT", "UHUGEINT", "UUID", "TIME", "INTERVAL", "BIT"})


def query_part(reader: SqlReader, connection: duckdb.DuckDBPyConnection, scratch: Path) -> Part:
    """Return the result of a query to a server.

    Raises
    ------
    SourceError
        If the server's address is not set, or the server cannot be reached or refuses the query.

    """
    url = os.environ.get(reader.url_env)
    if not url:
        raise SourceError(
            f"the environment variable {reader.url_env} is not set; set it to the address of the database of the query"
        )
    if url.startswith(_POSTGRESQL):
        return _postgresql_part(url, reader, connection, scratch)
    return _sqlalchemy_part(url, reader, scratch)


def _postgresql_part(url: str, reader: SqlReader, connection: duckdb.DuckDBPyConnection, scratch: Path) -> Part:
    from core.postgres.database import copy_query_to_csv

    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=scratch, suffix=".csv", delete=False) as file:
        try:
            header = copy_query_to_csv(url, reader.query, file, url_env=reader.url_env)
        except DatabaseError as error:
            raise SourceError(str(error)) from None
    columns = ", ".join(f"{position(number)}: 'VARCHAR'" for number in range(len(header)))
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE sql_source AS SELECT * FROM "
        f"read_csv({files_literal(Path(file.name))}, header = true, auto_detect = false, delim = ',', quote = '\"', "
        f"allow_quoted_nulls = false, columns = {{{columns}}})"
    )
    Path(file.name).unlink()
    names = by_position(header)
    return Part("sql_source", names.columns, doubled=names.doubled)


def _sqlalchemy_part(url: str, reader: SqlReader, scratch: Path) -> Part:
    import sqlalchemy

    try:
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    except (sqlalchemy.exc.ArgumentError, ImportError) as error:
        # The text of a URL may hold a password, so it is not shown.
        driver = f"needs {error.name}, install it" if isinstance(error, ImportError) else "is no address of a database"
        raise SourceError(
            f"the address in {reader.url_env} {driver}; expected postgresql://user@host/database, or one of SQLAlchemy "
            "with its driver installed"
        ) from None
    where = f"the database in {reader.url_env} ({engine.url.get_backend_name()} at {engine.url.host or 'this machine'})"
    _require_database(engine.url, where)
    try:
        with engine.connect().execution_options(stream_results=True) as connection:
            result = connection.exec_driver_sql(reader.query.strip().rstrip(";"))
            if not result.returns_rows:
                raise SourceError(f"the query to {where} returns no rows; write a SELECT")
            return object_part(list(result.keys()), result.yield_per(_CHUNK), where, scratch)
    except sqlalchemy.exc.DBAPIError as error:
        raise SourceError(
            f"{where} refused the query or the user: {' '.join(str(error.orig).split())}; correct the query, or the address, "
            f"user and password in {reader.url_env}"
        ) from None


def _require_database(url: sqlalchemy.URL, where: str) -> None:
    """Raise SourceError if the file of a database does not exist; opening it would create an empty one."""
    made = url.get_backend_name() in {"sqlite", "duckdb"} and url.database not in {None, "", ":memory:"}
    if made and not str(url.database).startswith("file:") and not Path(str(url.database)).exists():
        raise SourceError(
            f"{where}: there is no file {shown(Path(str(url.database)))}; put it there or correct the address"
        )


def sqlite_part(reader: SqliteReader, scratch: Path) -> Part:
    """Return a table of an SQLite file, or the result of a query on it.

    Raises
    ------
    SourceError
        If the file is not an SQLite file, is damaged, lacks the table, or refuses the query.

    """
    file = _only_file(reader, scratch)
    query = reader.query or f"SELECT * FROM {identifier(reader.table or '')}"
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file.absolute()))}?mode=ro", uri=True)) as connection:
            _require_table(reader.table, _tables_of_sqlite(connection), file)
            _require_undamaged(connection, reader.table)
            cursor = connection.execute(query)
            header = [column[0] for column in cursor.description or ()]
            return object_part(header, _fetched(cursor), shown(file), scratch)
    except sqlite3.Error as error:
        raise SourceError(f"the SQLite file {shown(file)} cannot be read: {error}; {_NEXT}") from None


def _require_undamaged(connection: sqlite3.Connection, table: str | None) -> None:
    """Raise an error if pages are damaged; SQLite itself would return the rows that it can still read."""
    (found,) = connection.execute(f"PRAGMA quick_check({identifier(table) if table else 1})").fetchone() or ("ok",)
    if found != "ok":
        raise sqlite3.DatabaseError(f"the file is damaged ({' '.join(str(found).split())})")


def _only_file(reader: DatabaseFileReader, scratch: Path) -> Path:
    files = source_files(reader, scratch)
    if len(files) > 1:
        raise SourceError(f"{reader.path} names {len(files)} files, {', '.join(file.name for file in files)}; name one")
    return files[0]


_NEXT = "correct the reader's path, table or query, or fetch the file again"


def _tables_of_sqlite(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') ORDER BY 1").fetchall()
    return [str(name) for (name,) in rows]


def _require_table(table: str | None, known: Sequence[str], file: Path) -> None:
    if table is not None and table.lower() not in {name.lower() for name in known}:
        raise SourceError(
            f"{shown(file)} has no table {table!r}; it has {', '.join(known) or 'none'}: set table to one of them"
        )


def _fetched(cursor: sqlite3.Cursor) -> Iterator[Sequence[object]]:
    while rows := cursor.fetchmany(_CHUNK):
        yield from rows


def duckdb_part(reader: DuckdbReader, connection: duckdb.DuckDBPyConnection, scratch: Path) -> Part:
    """Return a table of a DuckDB file, or the result of a query on it.

    Raises
    ------
    SourceError
        If the file is not a DuckDB file, another program has it open for writing, it lacks the table, or refuses the query.

    """
    file = _only_file(reader, scratch)
    copy = scratch / "selected.parquet"
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        # A separate connection, in which a query can name the file's tables directly.
        with duckdb.connect(str(file), read_only=True) as database:
            database.execute("SET TimeZone = 'UTC'")
            header = _copy_selected(database, reader, file, copy)
    except duckdb.Error as error:
        reason = " ".join(str(error).split())[:_LONGEST_REASON]
        raise SourceError(f"the DuckDB file {shown(file)} cannot be read: {reason}; {_NEXT}") from None
    relation = f"read_parquet({files_literal(copy)})"
    found = [str(row[1]) for row in connection.execute(f"DESCRIBE FROM {relation}").fetchall()]
    names = by_position(header)
    types = {name: found[int(sql.removeprefix("_"))] for name, sql in names.columns.items()}
    return Part(relation, names.columns, shown(file), types, names.doubled)


def _copy_selected(database: duckdb.DuckDBPyConnection, reader: DuckdbReader, file: Path, copy: Path) -> list[str]:
    """Write the selected rows to a parquet file whose columns are named by their positions; return their names."""
    known = database.execute("SELECT table_name FROM information_schema.tables ORDER BY 1").fetchall()
    _require_table(reader.table, [str(name) for (name,) in known], file)
    query = (reader.query or f"FROM {identifier(reader.table or '')}").strip().rstrip(";")
    described = database.execute(f"DESCRIBE {query}").fetchall()
    aliases = ", ".join(map(position, range(len(described))))
    chosen = ", ".join(
        f"CAST({position(number)} AS VARCHAR) AS {position(number)}" if row[1] in _AS_TEXT else position(number)
        for number, row in enumerate(described)
    )
    database.execute(
        f"COPY (SELECT {chosen} FROM ({query}\n) AS selected({aliases})) TO {literal(copy)} (FORMAT parquet)"
    )
    return [str(row[0]) for row in described]
