"""The facts of many entities at few instants, in batches of instants.

DuckDB selects the rows of an instant by their times alone and groups them by entity, once for each span. The groups are then
aligned with their entities by index, which costs less than joining the spans. For few entities, planning a query takes longer
than running it, so one query then computes several instants.
"""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from feature_repo.files.duck import fetch, identifier, instant
from feature_repo.join.key_codes import encode
from feature_repo.join.time_line import INSTANT, microseconds
from feature_repo.views.facts import aggregates_of_no_rows, aligned_columns, queries_of, span_condition
from feature_repo.views.pair_facts import facts_of_pairs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    import duckdb
    import numpy.typing as npt

    from feature_repo.views.existence import PairsByInstant
    from feature_repo.views.facts import FactQuery, Facts, Span

    Integers = npt.NDArray[np.int64]

#: The most pairs and the most instants of a query of several instants.
_MAX_PAIRS, _MAX_INSTANTS = 2_048, 64


class _Instant(NamedTuple):
    """An instant, its number among all, and the indices of the keys that are requested at it."""

    number: int
    as_of: datetime
    keys: Integers


def facts_at_instants(
    connection: duckdb.DuckDBPyConnection, facts: Facts, rows: Mapping[str, str], pairs: PairsByInstant
) -> Iterator[pa.Table]:
    """Yield the facts of all `pairs`, in tables of one or more instants.

    Parameters
    ----------
    connection, facts, rows : as for `feature_repo.views.pair_facts.facts_of_pairs`.
    pairs : the requested keys of each instant.

    Yields
    ------
    Tables with the key, `as_of` and each fact, in order of the instants. If there are no pairs, one empty table.

    Raises
    ------
    duckdb.Error
        If the SQL of a fact fails.

    """
    if not pairs.instants:
        connection.register("asked", pairs.table())
        yield facts_of_pairs(connection, facts, pairs.key, rows, "asked")
        return
    connection.register("instants", pa.table({"as_of": pa.array([as_of for as_of, _ in pairs.instants], INSTANT)}))
    queries = queries_of(facts)
    defaults = [cache(partial(aggregates_of_no_rows, connection, query, rows, "instants")) for query in queries]
    encoder, codes = encode([pairs.keys], len(pairs.keys))
    for batch in _batches(pairs):
        batch_pairs = pa.concat_tables([pairs.at(each.as_of, each.keys) for each in batch])
        connection.register("here", batch_pairs)
        columns = dict(zip(batch_pairs.column_names, batch_pairs.columns, strict=True))
        pair_index = _pair_index(batch, codes, len(encoder))
        instants = np.repeat([each.number for each in batch], [len(each.keys) for each in batch])
        times = microseconds(pa.chunked_array([pa.array([each.as_of for each in batch], INSTANT)]), "as_of")
        for query, query_defaults in zip(queries, defaults, strict=True):
            groups = fetch(connection, _groups_query(query, identifier(pairs.key), rows, batch))
            row = np.searchsorted(times, microseconds(groups.column("as_of"), "as_of"))
            index = pair_index[row, encoder.codes([groups.column(pairs.key)], len(groups))]
            columns.update(aligned_columns(groups.select(list(query.members)), index, query_defaults, instants))
        yield pa.table(columns)


def _batches(pairs: PairsByInstant) -> Iterator[list[_Instant]]:
    """Yield the instants in the batches that one query computes."""
    batch: list[_Instant] = []
    count = 0
    for index, (as_of, keys) in enumerate(pairs.instants):
        if batch and (count + len(keys) > _MAX_PAIRS or len(batch) == _MAX_INSTANTS):
            yield batch
            batch, count = [], 0
        batch.append(_Instant(index, as_of, keys))
        count += len(keys)
    yield batch


def _pair_index(batch: Sequence[_Instant], codes: Integers, count: int) -> Integers:
    """Return the index in `batch` of each pair (instant, code), shape (instants, codes + 1); -1 if it is not requested.

    The last column stays -1. It serves the code -1, which is that of an entity without a code.
    """
    index = np.full((len(batch), count + 1), -1, np.int64)
    begin = 0
    for row, each in zip(index, batch, strict=True):
        row[codes[each.keys]] = np.arange(begin, begin + len(each.keys))
        begin += len(each.keys)
    return index


def _groups_query(query: FactQuery, column: str, rows: Mapping[str, str], batch: Sequence[_Instant]) -> str:
    """Compose the query of the aggregates at the instants of `batch`, for each entity with rows in the span."""
    source = f"SELECT source.* FROM {rows[query.span.source]} AS source WHERE"
    selections = [f"{source} {_span_condition(query.span, each.as_of)}" for each in batch]
    if len(batch) == 1:
        requested = f" AND {column} IN (SELECT {column} FROM here)" if _is_unbounded(query.span) else ""
        return f"""SELECT as_of, {column}, {query.typed}
            FROM (SELECT {instant(batch[0].as_of)} AS as_of, {column}, {query.columns}
            FROM ({selections[0]}{requested}) GROUP BY {column})"""
    union = " UNION ALL ".join(
        f"SELECT *, {instant(each.as_of)} AS as_of FROM ({rows_then})"
        for each, rows_then in zip(batch, selections, strict=True)
    )
    requested = f"SEMI JOIN here USING ({column}, as_of)" if _is_unbounded(query.span) else ""
    return f"""SELECT as_of, {column}, {query.typed}
        FROM (SELECT as_of, {column}, {query.columns} FROM ({union}) {requested} GROUP BY as_of, {column})"""


def _span_condition(span: Span, as_of: datetime) -> str:
    return span_condition(span, lambda offset: instant(as_of + offset))


def _is_unbounded(span: Span) -> bool:
    """Whether the span still selects rows of entities that ended long ago; a window excludes them by itself."""
    return span.window is None
