"""The facts of scattered (entity, as of) pairs: the rows are joined to the pairs by their entity."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from feature_repo.files.duck import fetch, identifier
from feature_repo.join.key_codes import encode
from feature_repo.join.time_line import microseconds
from feature_repo.views.facts import laid_out, over_no_row, queries_of, within

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    import duckdb

    from feature_repo.views.facts import FactQuery, Facts


def facts_of_pairs(
    connection: duckdb.DuckDBPyConnection, facts: Facts, key: str, rows: Mapping[str, str], grid: str
) -> pa.Table:
    """Compute the facts of every pair in `grid`.

    Parameters
    ----------
    connection, key, rows, grid : as for `feature_repo.views.rows.compute_view`.

    Returns
    -------
    The key, `as_of` and each fact, sorted by `as_of` and key.

    Raises
    ------
    duckdb.Error
        If the SQL of a fact fails.

    """
    column = identifier(key)
    found = fetch(connection, f"SELECT {column}, as_of FROM {grid} ORDER BY as_of, {column}")
    times = microseconds(found.column("as_of"), "as_of")
    _, instants = np.unique(times, return_inverse=True)
    known, codes = encode([found.column(key), found.column("as_of")], len(found))
    place_of = np.full(len(known) + 1, -1, np.int64)
    place_of[codes] = np.arange(len(found))
    columns = dict(zip(found.column_names, found.columns, strict=True))
    for query in queries_of(facts):
        groups = fetch(connection, _groups(query, column, rows, grid))
        places = place_of[known.of([groups.column(key), groups.column("as_of")], len(groups))]
        none = partial(over_no_row, connection, query, rows, f"(SELECT DISTINCT as_of FROM {grid})")
        columns.update(laid_out(groups.select(list(query.members)), places, none, instants))
    return pa.table(columns)


def _groups(query: FactQuery, column: str, rows: Mapping[str, str], grid: str) -> str:
    """Compose the query of the aggregates of every pair that has a row."""
    on = f"source.{column} = grid.{column} AND {within(query.span, _moved_as_of)}"
    pairs = f"SELECT source.*, grid.as_of FROM {grid} AS grid JOIN {rows[query.span.source]} AS source ON {on}"
    return f"""SELECT {column}, as_of, {query.typed}
        FROM (SELECT {column}, as_of, {query.columns} FROM ({pairs}) GROUP BY {column}, as_of)"""


def _moved_as_of(move: timedelta) -> str:
    seconds = int(move.total_seconds())
    return f"(grid.as_of + INTERVAL ({seconds}) SECOND)" if seconds else "grid.as_of"
