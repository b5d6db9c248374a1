"""The facts of scattered (entity, as_of) pairs: the rows are joined to the pairs by their entity."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from feature_repo.files.duck import fetch, identifier
from feature_repo.join.key_codes import encode
from feature_repo.join.time_line import microseconds
from feature_repo.views.facts import aggregates_of_no_rows, aligned_columns, queries_of, span_condition

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    import duckdb

    from feature_repo.views.facts import FactQuery, Facts


def facts_of_pairs(
    connection: duckdb.DuckDBPyConnection, facts: Facts, key: str, rows: Mapping[str, str], grid: str
) -> pa.Table:
    """Return the facts of every pair in `grid`.

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
    pairs = fetch(connection, f"SELECT {column}, as_of FROM {grid} ORDER BY as_of, {column}")
    times = microseconds(pairs.column("as_of"), "as_of")
    _, instants = np.unique(times, return_inverse=True)
    encoder, codes = encode([pairs.column(key), pairs.column("as_of")], len(pairs))
    pair_of_code = np.full(len(encoder) + 1, -1, np.int64)
    pair_of_code[codes] = np.arange(len(pairs))
    columns = dict(zip(pairs.column_names, pairs.columns, strict=True))
    for query in queries_of(facts):
        groups = fetch(connection, _groups_query(query, column, rows, grid))
        pair_index = pair_of_code[encoder.codes([groups.column(key), groups.column("as_of")], len(groups))]
        defaults = partial(aggregates_of_no_rows, connection, query, rows, f"(SELECT DISTINCT as_of FROM {grid})")
        columns.update(aligned_columns(groups.select(list(query.members)), pair_index, defaults, instants))
    return pa.table(columns)


def _groups_query(query: FactQuery, column: str, rows: Mapping[str, str], grid: str) -> str:
    """Compose the query of the aggregates of every pair with rows in the span."""
    on = f"source.{column} = grid.{column} AND {span_condition(query.span, _as_of_plus)}"
    pairs = f"SELECT source.*, grid.as_of FROM {grid} AS grid JOIN {rows[query.span.source]} AS source ON {on}"
    return f"""SELECT {column}, as_of, {query.typed}
        FROM (SELECT {column}, as_of, {query.columns} FROM ({pairs}) GROUP BY {column}, as_of)"""


def _as_of_plus(offset: timedelta) -> str:
    seconds = int(offset.total_seconds())
    return f"(grid.as_of + INTERVAL ({seconds}) SECOND)" if seconds else "grid.as_of"
