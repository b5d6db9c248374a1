"""Where the stages keep their tables: parquet, split by a hash of the entity so that erasing one rewrites few files."""

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

#: How many files a table is split into; a layout, not a result, hence not in the plan.
BUCKETS = 8


#: Where the lives of a linked entity lie that no source tells of: no source can have this name.
MEMBERS = "members-by-link"


def raw_file(folder: Path, source: str) -> Path:
    """Name the file of a source as it was read, before validation."""
    return folder / f"{source}.parquet"


def mark_file(folder: Path, source: str) -> Path:
    """Name the file that tells with which key the pseudonyms of a source were made."""
    return folder / f"{source}.pseudonyms"


def accepted_glob(folder: Path, source: str) -> str:
    """Name the accepted rows of `source`, those that came since the stage ran included."""
    return files_of(folder / source)


def snapshot_glob(folder: Path, view: str) -> str:
    """Name the snapshots of `view`, those that came since the stage ran included."""
    return files_of(folder / view)


def files_of(folder: Path, files: str = "*.parquet") -> str:
    """Compose the pattern of the parquet files in `folder`, in whose own path `*`, `?` and `[` are letters.

    Raises
    ------
    SourceError
        If the path has a backslash, which DuckDB takes for a slash in patterns.

    """
    if "\\" in str(folder):
        raise SourceError(f"{folder}: DuckDB finds no files below a backslash; name a folder without one")
    return f"{escape(str(folder))}/{files}"


def rows_ledger(data: Path) -> Path:
    """Name the folder of the ledgers: what was taken in of each source. It is an input of the stage `validate`."""
    return data / "ledger" / "rows"


def snapshots_ledger(data: Path) -> Path:
    """Name the folder of the snapshots that catch-ups brought online. It is an input of the stage `build_features`."""
    return data / "ledger" / "snapshots"


def bucket_file(folder: Path, table: str, bucket: int) -> Path:
    """Name one of the files of a table."""
    return folder / table / f"bucket-{bucket:02d}.parquet"


def bucket_of(key: str) -> str:
    """Say in SQL which bucket the entity in column `key` belongs to; the same in every version of DuckDB."""
    return f"(md5_number_lower(CAST({identifier(key)} AS VARCHAR)) % {BUCKETS})"


def write_table(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> int:
    """Write the rows of `query`, in its order, to the parquet file `path`; return their number.

    Raises
    ------
    OSError
        If no room is left for it.

    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The second version has encodings for numbers and times that make files smaller and faster to read, so that little is
    # left for a slower compression than this one.
    options = "FORMAT parquet, PARQUET_VERSION v2, COMPRESSION lz4_raw"
    try:
        written = connection.execute(f"COPY ({query}) TO {literal(path)} ({options})").fetchone()
    except duckdb.IOException as error:
        number = no_room(str(error))
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from None
    return int(written[0]) if written else 0


def renamed(files: str | Path) -> str:
    """Write the relation of accepted rows under the names that feature SQL uses."""
    return f"""(SELECT * RENAME (event_timestamp AS event_time, created_timestamp AS created_time)
        FROM read_parquet({files_literal(files)}))"""


def open_rows(connection: duckdb.DuckDBPyConnection, relation: str, files: str | Path) -> str:
    """Register accepted rows as `relation`, under the names that feature SQL uses; return it."""
    connection.execute(f"CREATE OR REPLACE TEMP VIEW {relation} AS FROM {renamed(files)}")
    return relation
