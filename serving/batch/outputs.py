"""Write tables of scores to a Parquet or CSV file, or to a table of the database, each as a whole or not at all."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from psycopg import sql

from core.errors import PantheraError
from core.files import whole_file
from core.postgres.database import connect
from feature_repo.online.pgcopy import HEADER, TRAILER, encode
from feature_repo.online.table import SCHEMA, listed
from feature_repo.online.types import postgres_type, short_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    import psycopg

    #: Writes the next rows.
    Write = Callable[[pa.Table], None]
    #: Opens an output for rows of a schema.
    Open = Callable[[pa.Schema], AbstractContextManager[Write]]

#: The suffixes of files that can be written.
SUFFIXES = (".parquet", ".csv")
#: The comment of the tables that a run may replace.
_COMMENT = "written by panthera score"
_PLATFORM_SCHEMAS = ("panthera", "feast", SCHEMA)
_DTYPES = {pa.int64(): "int64", pa.float64(): "float64", pa.string(): "string", pa.timestamp("us", "UTC"): "timestamp"}
_TABLE_NAME = re.compile(r"(?:([a-z_][a-z0-9_]{0,62})\.)?([a-z_][a-z0-9_]{0,62})")


def to_file(path: Path) -> Open:
    """Return the output that replaces the file `path` when all rows are written."""

    @contextmanager
    def opened(schema: pa.Schema) -> Iterator[Write]:
        plain, is_csv = _plain_schema(schema), path.suffix == ".csv"
        with whole_file(path) as file:
            kept = plain if is_csv else schema
            with pa_csv.CSVWriter(file, plain) if is_csv else pq.ParquetWriter(file, schema) as writer:
                yield lambda rows: writer.write_table(rows.cast(kept))

    return opened


def to_table(url: str, name: str) -> Open:
    """Return the output that replaces a table of the database when all rows are written; `name` may have a schema.

    Raises
    ------
    PantheraError
        If the name is not one of a table, or that of a table which no run has written.

    """
    match = _TABLE_NAME.fullmatch(name)
    if match is None or match[1] in _PLATFORM_SCHEMAS:
        raise PantheraError(
            f"found {name!r} as the name of a table; expected lowercase letters, digits and underscores, after the name of a "
            f"schema and a point if it is not public; {', '.join(_PLATFORM_SCHEMAS)} belong to the platform"
        )
    table = sql.Identifier(match[1] or "public", match[2])

    @contextmanager
    def opened(schema: pa.Schema) -> Iterator[Write]:
        plain = _plain_schema(schema)
        with connect(url) as connection:
            fresh = sql.Identifier(match[1] or "public", f"fresh_{uuid4().hex}")
            _create(connection, fresh, plain)
            yield lambda rows: _copy(connection, fresh, rows.cast(plain))
            _replace(connection, table, fresh, match[2])

    return opened


def _plain_schema(schema: pa.Schema) -> pa.Schema:
    """Return a schema with texts instead of dictionaries of texts."""
    return pa.schema(
        [field.with_type(pa.string()) if pa.types.is_dictionary(field.type) else field for field in schema]
    )


def _create(connection: psycopg.Connection, table: sql.Identifier, schema: pa.Schema) -> None:
    columns = [
        sql.SQL("{} {}").format(sql.Identifier(short_name(field.name)), postgres_type(_DTYPES[field.type]))
        for field in schema
    ]
    connection.execute(sql.SQL("CREATE TABLE {} ({})").format(table, listed(columns)))
    connection.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(table, sql.Literal(_COMMENT)))


def _copy(connection: psycopg.Connection, table: sql.Identifier, rows: pa.Table) -> None:
    dtypes = [_DTYPES[field.type] for field in rows.schema]
    with connection.cursor().copy(sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(table)) as copy:
        copy.write(HEADER)
        for batch in rows.combine_chunks().to_batches():
            for chunk in encode(batch, dtypes):
                copy.write(chunk)
        copy.write(TRAILER)


def _replace(connection: psycopg.Connection, table: sql.Identifier, fresh: sql.Identifier, name: str) -> None:
    shown = table.as_string(connection)
    found = connection.execute(
        "SELECT obj_description(oid, 'pg_class') IS NOT DISTINCT FROM %s FROM pg_class WHERE oid = to_regclass(%s)",
        [_COMMENT, shown],
    ).fetchone()
    if found and not found[0]:
        raise PantheraError(f"the table {shown} exists, and no run of scores wrote it; choose another name")
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(table))
    connection.execute(sql.SQL("ALTER TABLE {} RENAME TO {}").format(fresh, sql.Identifier(name)))
