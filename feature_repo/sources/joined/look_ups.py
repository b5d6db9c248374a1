"""Join columns of other sources to the rows of a source, by a key that is unique in the other source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import SourceError
from core.plan.rows.look_ups import joined_columns
from feature_repo.files.duck import files_literal, identifier
from feature_repo.sources.quality import typed_value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import duckdb

    from core.plan.ingest import Source
    from core.plan.rows.look_up import LookUp


def open_look_ups(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    source: Source,
    sources: Mapping[str, Source],
    rows_of: Callable[[str], str],
) -> None:
    """Create a temporary table for each look-up of `source`: its typed keys, and the columns that it adds.

    Parameters
    ----------
    sources : all sources of the plan.
    rows_of : returns the query of the rows of a source, before any look-up.

    Raises
    ------
    SourceError
        If several rows have the same key.

    """
    for look_up, columns in joined_columns(source).items():
        stated = source.join[look_up]
        query = rows_of(stated.source)
        keys = _typed_keys(connection, query, sources[stated.source], list(stated.key.values()))
        brought = [f"rows.{identifier(column.origin)} AS {identifier(key)}" for key, column in columns.items()]
        chosen = ", ".join([*_named_keys(keys), *brought])
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {_table(look_up)} AS SELECT {chosen} FROM ({query}) AS rows")
        _refuse_duplicates(connection, f"ingest.{name}.join.{look_up}", look_up, stated)


def _table(look_up: str) -> str:
    return identifier(f"look-up {look_up}")


def _key(number: int) -> str:
    """Return the name of a key column; its blank distinguishes it from every column of a plan."""
    return identifier(f"key {number}")


def _named_keys(keys: Sequence[str]) -> list[str]:
    return [f"{key} AS {_key(number)}" for number, key in enumerate(keys)]


def _typed_keys(connection: duckdb.DuckDBPyConnection, query: str, source: Source, names: Sequence[str]) -> list[str]:
    """Compose the key columns of `rows` in their dtypes: 7 and 07 are equal as numbers and different as texts."""
    found = {row[0]: str(row[1]) for row in connection.execute(f"DESCRIBE {query}").fetchall()}
    return [typed_value(f"rows.{identifier(name)}", source.columns[name], found[name]) for name in names]


def _refuse_duplicates(connection: duckdb.DuckDBPyConnection, path: str, look_up: str, stated: LookUp) -> None:
    keys = [_key(number) for number, _ in enumerate(stated.key)]
    known = " AND ".join(f"{key} IS NOT NULL" for key in keys)
    groups = f"SELECT 1 FROM {_table(look_up)} WHERE {known} GROUP BY {', '.join(keys)} HAVING count(*) > 1"
    several = connection.execute(f"SELECT count(*) FROM ({groups})").fetchall()[0][0]
    if several:
        raise SourceError(
            f"{path}: {several:,} keys ({', '.join(stated.key.values())}) have several rows in {stated.source!r}; expected "
            "one row for each key: name the columns that tell its rows apart as key, or keep one row of each in the source"
        )


def with_look_ups(connection: duckdb.DuckDBPyConnection, source: Source, query: str) -> str:
    """Compose `query`, the rows of a source, with the columns of its look-ups; null for a key without a row."""
    if not source.join:
        return query
    query = f"SELECT row_number() OVER () AS source_row, * FROM ({query})"
    for look_up, columns in joined_columns(source).items():
        keys = _typed_keys(connection, query, source, list(source.join[look_up].key))
        matches = " AND ".join(f"{key} = {_table(look_up)}.{_key(number)}" for number, key in enumerate(keys))
        brought = "".join(f", {identifier(name)}" for name in columns)
        query = f"SELECT rows.*{brought} FROM ({query}) AS rows LEFT JOIN {_table(look_up)} ON {matches}"
    return f"SELECT * EXCLUDE (source_row) FROM ({query}) ORDER BY source_row"


def unmatched_rows(connection: duckdb.DuckDBPyConnection, source: Source, file: Path) -> dict[str, int]:
    """Return, by look-up, how many rows in the file of a source have no row in it; look-ups without such rows are left out."""
    unmatched, rows = dict[str, int](), f"FROM read_parquet({files_literal(file)})"
    for look_up, stated in source.join.items():
        keys = _typed_keys(connection, rows, source, list(stated.key))
        matches = " AND ".join(f"{key} = {_table(look_up)}.{_key(number)}" for number, key in enumerate(keys))
        counted = connection.execute(f"SELECT count(*) FROM ({rows}) AS rows ANTI JOIN {_table(look_up)} ON {matches}")
        unmatched[look_up] = counted.fetchall()[0][0]
    return {look_up: count for look_up, count in unmatched.items() if count}
