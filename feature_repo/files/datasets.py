"""The layout of the stages' tables: parquet, partitioned by a hash of the entity so that erasing one rewrites few files."""

from __future__ import annotations

import os
from glob import escape
from typing import TYPE_CHECKING

import duckdb

from core.entry import no_room
from core.errors import SourceError
from feature_repo.files.duck import files_literal, identifier, literal

if TYPE_CHECKING:
    from pathlib import Path

#: The number of files of a table; it changes the layout and no result, hence it is not in the plan.
BUCKETS = 8
#: The table of when each linked entity without a source of its own began to exist; no source can have this name.
MEMBERS = "members-by-link"


def raw_file(folder: Path, source: str) -> Path:
    """Return the file of a source's rows before validation."""
    return folder / f"{source}.parquet"


def mark_file(folder: Path, source: str) -> Path:
    """Return the file that identifies the key of a source's pseudonyms."""
    return folder / f"{source}.pseudonyms"


def accepted_glob(folder: Path, source: str) -> str:
    """Return the pattern of the accepted rows of `source`, including rows added since the stage ran."""
    return files_of(folder / source)


def snapshot_glob(folder: Path, view: str) -> str:
    """Return the pattern of the snapshots of `view`, including snapshots added since the stage ran."""
    return files_of(folder / view)


def files_of(folder: Path, files: str = "*.parquet") -> str:
    """Return the pattern of the parquet files in `folder`; `*`, `?` and `[` in the path of `folder` match literally.

    Raises
    ------
    SourceError
        If the path has a backslash, which DuckDB reads as a slash in patterns.

    """
    if "\\" in str(folder):
        raise SourceError(f"{folder}: DuckDB finds no files in a path with a backslash; use a folder without one")
    return f"{escape(str(folder))}/{files}"


def rows_ledger(data: Path) -> Path:
    """Return the folder of the ledgers of the sources' ingested rows. It is an input of the stage `validate`."""
    return data / "ledger" / "rows"


def snapshots_ledger(data: Path) -> Path:
    """Return the folder of the snapshots that catch-ups wrote online. It is an input of the stage `build_features`."""
    return data / "ledger" / "snapshots"


def bucket_file(folder: Path, table: str, bucket: int) -> Path:
    """Return one of the files of a table."""
    return folder / table / f"bucket-{bucket:02d}.parquet"


def bucket_of(key: str) -> str:
    """Compose the bucket of the entity in column `key`; it is the same in every version of DuckDB."""
    return f"(md5_number_lower(CAST({identifier(key)} AS VARCHAR)) % {BUCKETS})"


def write_table(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> int:
    """Write the rows of `query`, in its order, to the parquet file `path`; return their number.

    Raises
    ------
    OSError
        If the disk is full.

    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The encodings of version 2 make numbers and times so small and fast to read that a stronger compression saves little.
    options = "FORMAT parquet, PARQUET_VERSION v2, COMPRESSION lz4_raw"
    try:
        written = connection.execute(f"COPY ({query}) TO {literal(path)} ({options})").fetchone()
    except duckdb.IOException as error:
        number = no_room(str(error))
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from None
    return int(written[0]) if written else 0


def raw_rows(connection: duckdb.DuckDBPyConnection, raw: Path) -> str:
    """Compose the relation of a source's rows before validation, with `source_row`: the number of each in the file, from 1 on.

    All threads write a file without numbers, and one thread a file with them. Known rows and files of earlier versions have
    the column.
    """
    file = files_literal(raw)
    found = connection.execute(f"DESCRIBE FROM read_parquet({file})").fetchall()
    if any(row[0] == "source_row" for row in found):
        return f"read_parquet({file})"
    numbered = "file_row_number + 1 AS source_row, * EXCLUDE (file_row_number)"
    return f"(SELECT {numbered} FROM read_parquet({file}, file_row_number = true))"


def renamed(files: str | Path) -> str:
    """Compose the relation of accepted rows, with the column names of feature SQL: `event_time` and `created_time`."""
    return f"""(SELECT * RENAME (event_timestamp AS event_time, created_timestamp AS created_time)
        FROM read_parquet({files_literal(files)}))"""


def open_rows(connection: duckdb.DuckDBPyConnection, relation: str, files: str | Path) -> str:
    """Create the view `relation` of accepted rows, with the column names of feature SQL; return its name."""
    connection.execute(f"CREATE OR REPLACE TEMP VIEW {relation} AS FROM {renamed(files)}")
    return relation
