"""Stage `ingest`: copy every source of the plan to parquet, unchanged but for the names of columns and personal data.

A column that the plan declares as a direct identifier is removed here or replaced by a keyed hash, so that it reaches no table,
registry, log or report.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import duckdb

from core.entry import run
from core.errors import SourceError
from core.files import whole_folder, write_whole
from core.plan.file import read_plan
from core.plan.rows.look_ups import own
from core.pseudonyms import pii_key, pseudonym
from core.settings import read_settings
from feature_repo.files.datasets import mark_file, raw_file, write_table
from feature_repo.files.duck import identifier, open_duckdb
from feature_repo.sources.faults import without_rows
from feature_repo.sources.joined.look_ups import open_look_ups, unmatched_rows, with_look_ups
from feature_repo.sources.plain_text import scratch_folder
from feature_repo.sources.progress import shown_progress
from feature_repo.sources.readers import read_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from core.plan.ingest import Source
    from core.settings import Settings


class Ingested(NamedTuple):
    """The number of rows of a source, and by look-up the number of rows without a row in it."""

    rows: int
    unmatched: dict[str, int]


def ingest(name: str, source: Source, folder: Path, downloads: Path, pii_key: bytes | None = None) -> int:
    """Write the rows of a `source` without look-ups; return their number. See `ingest_joined`."""
    return ingest_joined(name, {name: source}, folder, downloads, pii_key).rows


def ingest_joined(
    name: str, sources: Mapping[str, Source], folder: Path, downloads: Path, pii_key: bytes | None = None
) -> Ingested:
    """Write the rows of the source `name`, in its order, to its file in `folder`; return their numbers.

    Parameters
    ----------
    sources : all sources of the plan, including those that are looked up.
    pii_key : key of the pseudonyms; sources without a column to hash need none.

    """
    ingested = write_rows(name, sources, raw_file(folder, name), downloads, pii_key)
    if ingested.rows == 0:
        raw_file(folder, name).unlink()
        raise SourceError(
            f"ingest.{name}: the source has no row; expected at least one below the header: fill it, or correct its reader"
        )
    return ingested


def write_rows(
    name: str, sources: Mapping[str, Source], file: Path, downloads: Path, pii_key: bytes | None
) -> Ingested:
    """Write all rows of the source `name`, with pseudonyms and look-ups, to `file`; a source without rows is no error.

    Copies made while reading are in a scratch folder of `downloads`, which is removed. See `ingest_joined`.

    Raises
    ------
    SourceError
        If a source cannot be read completely.

    """
    scratch = scratch_folder(downloads)
    try:
        with open_duckdb(spill=scratch / "spilled") as connection, shown_progress(name, connection, scratch):
            rows = write_table(connection, _rows(connection, name, sources, downloads, pii_key), file)
            return Ingested(rows, unmatched_rows(connection, sources[name], file))
    except duckdb.Error as error:
        raise SourceError(f"ingest.{name}: the source is corrupt: {without_rows(error)}") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _rows(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    sources: Mapping[str, Source],
    downloads: Path,
    pii_key: bytes | None,
) -> str:
    """Compose the query of all rows of a source, in its order, with pseudonyms and look-ups."""

    def rows_of(name: str) -> str:
        stated = own(sources[name])
        return with_pseudonyms(connection, stated, read_source(connection, name, stated, downloads), pii_key)

    open_look_ups(connection, name, sources[name], sources, rows_of)
    return with_look_ups(connection, sources[name], rows_of(name))


def hashed_columns(source: Source) -> list[str]:
    """Return the columns that the plan replaces by pseudonyms."""
    return [name for name, column in source.columns.items() if column.pii == "hash"]


def key_for(settings: Settings, sources: Iterable[Source]) -> bytes | None:
    """Return the key of the pseudonyms if one of `sources` has a column to hash; else None."""
    return pii_key(settings) if any(map(hashed_columns, sources)) else None


def key_mark(source: Source, pii_key: bytes | None) -> str | None:
    """Return a text that identifies the key of the pseudonyms without revealing it; None for a source without pseudonyms."""
    return pseudonym("key of the pseudonyms", pii_key) if pii_key and hashed_columns(source) else None


def with_pseudonyms(connection: duckdb.DuckDBPyConnection, source: Source, query: str, pii_key: bytes | None) -> str:
    """Compose `query` with pseudonyms in the columns that the plan hashes; null stays null."""
    hashed = hashed_columns(source)
    if not hashed:
        return query
    if pii_key is None:
        raise SourceError(f"the columns {', '.join(hashed)} are to be hashed, but no key was given")

    if not connection.execute("FROM duckdb_functions() WHERE function_name = 'pseudonym'").fetchall():
        connection.create_function("pseudonym", lambda value: pseudonym(value, pii_key), ["varchar"], "varchar")
    replaced = ", ".join(f"pseudonym(CAST({identifier(name)} AS VARCHAR)) AS {identifier(name)}" for name in hashed)
    return f"SELECT * REPLACE ({replaced}) FROM ({query})"


def main() -> None:
    """Run the stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--raw", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    settings = read_settings()
    plan = read_plan(settings.plan)
    key = key_for(settings, plan.ingest.values())
    with whole_folder(arguments.raw) as fresh:
        for name, source in plan.ingest.items():
            found = ingest_joined(name, plan.ingest, fresh, settings.state / "downloads", key)
            write_whole(mark_file(fresh, name), key_mark(source, key) or "")
            unmatched = "".join(f", {count:,} without a row in {look_up}" for look_up, count in found.unmatched.items())
            print(f"ingest: {name}: {found.rows:,} rows{unmatched}")


if __name__ == "__main__":
    run(main)
