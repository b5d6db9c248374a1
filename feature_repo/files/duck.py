"""DuckDB connections, configured so that a query returns the same rows on every machine."""

from __future__ import annotations

import warnings
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from core.dtypes import DTYPES
from feature_repo.files.local_times import add_functions

if TYPE_CHECKING:
    from datetime import datetime

    import pyarrow as pa

#: DuckDB's type of each dtype.
SQL_TYPES = {name: dtype.duckdb for name, dtype in DTYPES.items() if dtype.duckdb}
#: The exact casts of `feature_repo.files.exact`; DuckDB's own casts turn 1.6 into 2 and 2 into true.
_MACROS = r"""
CREATE TEMP MACRO panthera_whole(v) AS CASE
    WHEN typeof(v) = 'VARCHAR' AND NOT regexp_full_match(CAST(v AS VARCHAR), '\s*[+-]?[0-9]+(\.0*)?\s*')
        OR CAST(v AS BIGINT) <> v
    THEN error('the value ' || CAST(v AS VARCHAR) || ' is no whole number; round it, or declare a float')
    ELSE CAST(v AS BIGINT) END;
CREATE TEMP MACRO panthera_truth(v) AS CASE
    WHEN typeof(v) IN ('BOOLEAN', 'VARCHAR') THEN CAST(v AS BOOLEAN)
    WHEN CAST(v AS DOUBLE) NOT IN (0, 1)
    THEN error('the value ' || CAST(v AS VARCHAR) || ' is neither 0 nor 1; compare it with what makes it true')
    ELSE CAST(v AS BOOLEAN) END;
"""
#: The memory of one connection that may spill to disk.
_MEMORY_LIMIT = "3GB"


def open_duckdb(spill: Path | None = None, threads: int | None = None) -> duckdb.DuckDBPyConnection:
    """Open an in-memory DuckDB in UTC that never downloads an extension.

    Parameters
    ----------
    spill : folder for temporary files; with it, memory is bounded.
    threads : by default, the number of cores.

    """
    connection = duckdb.connect(config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"})
    connection.execute("SET TimeZone = 'UTC'")
    if spill is not None:
        connection.execute(f"SET temp_directory = {literal(spill)}")
        connection.execute(f"SET memory_limit = {literal(_MEMORY_LIMIT)}")
    if threads is not None:
        connection.execute(f"SET threads = {threads}")
    connection.execute("SET enable_progress_bar = false")
    add_functions(connection)
    connection.execute(_MACROS)
    # `fetch` causes this warning.
    warnings.filterwarnings("ignore", "Arrow output on a DB-API result", UserWarning)
    return connection


def fetch(connection: duckdb.DuckDBPyConnection, query: str) -> pa.Table:
    """Run a query; return its rows."""
    # A DuckDB relation would bind the query twice, which takes longer than copying the result.
    rows: pa.Table = connection.execute(query).to_arrow_table()
    return rows


def identifier(name: str) -> str:
    """Quote `name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def files_literal(files: str | Path) -> str:
    """Quote the argument of a DuckDB reader: a `Path` is one file, a string is a pattern.

    In a `Path`, `*`, `?` and `[` match literally.
    """
    return literal(escape(str(files)) if isinstance(files, Path) else files)


def instant(time: datetime) -> str:
    """Compose `time`, which must have a zone, as an SQL timestamp."""
    return f"TIMESTAMPTZ {literal(time.isoformat())}"


def literal(value: str | Path) -> str:
    """Quote `value` as an SQL string."""
    return "'" + str(value).replace("'", "''") + "'"
