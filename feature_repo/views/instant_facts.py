"""The facts of many entities at few instants, some instants at a time.

The rows of an instant are chosen by their times alone and grouped by their entity, once for each span; DuckDB does that.
What a group gives is then laid out at the place of its entity, which costs less than to join the spans. Where few entities are
asked for, planning a query takes longer than running it, so that one query then computes several instants.
"""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from feature_repo.files.duck import fetch, identifier, instant
from feature_repo.join.key_codes import encode
from feature_repo.join.time_line import INSTANT, microseconds
from feature_repo.views.facts import laid_out, over_no_row, queries_of, within
from feature_repo.views.pair_facts import facts_of_pairs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    import duckdb
    import numpy.typing as npt

    from feature_repo.views.existence import Asked
    from feature_repo.views.facts import FactQuery, Facts, Span

    Integers = npt.NDArray[np.int64]

#: The pairs and the instants of a query of several instants.
_MOST_PAIRS, _MOST_INSTANTS = 2_048, 64


class _Instant(NamedTuple):
    """An instant, its number among all, and which of the keys are asked for then."""

    number: int
    as_of: datetime
    chosen: Integers


def facts_at_instants(
    connection: duckdb.DuckDBPyConnection, facts: Facts, rows: Mapping[str, str], asked: Asked
) -> Iterator[pa.Table]:
    """Compute the facts of all pairs that are `asked` for.

    Parameters
    ----------
    connection, facts, rows : as for `feature_repo.views.pair_facts.facts_of_pairs`.
    asked : who, and when.

    Returns
    -------
    Tables of one or more instants in order, with the key, `as_of` and each fact. Where nobody is asked for it is one empty
    table.

    Raises
    ------
    duckdb.Error
        If the SQL of a fact fails.

    """
    if not asked.instants:
        connection.register("asked", asked.pairs())
        yield facts_of_pairs(connection, facts, asked.key, rows, "asked")
        return
    connection.register("instants", pa.table({"as_of": pa.array([as_of for as_of, _ in asked.instants], INSTANT)}))
    queries = queries_of(facts)
    none = [cache(partial(over_no_row, connection, query, rows, "instants")) for query in queries]
    known, codes = encode([asked.keys], len(asked.keys))
    for batch in _batches(asked):
        found = pa.concat_tables([asked.at(each.as_of, each.chosen) for each in batch])
        connection.register("here", found)
        columns = dict(zip(found.column_names, found.columns, strict=True))
        place_of = _places(batch, codes, len(known))
        instants = np.repeat([each.number for each in batch], [len(each.chosen) for each in batch])
        times = microseconds(pa.chunked_array([pa.array([each.as_of for each in batch], INSTANT)]), "as_of")
        for query, over_none in zip(queries, none, strict=True):
            groups = fetch(connection, _groups(query, identifier(asked.key), rows, batch))
            row = np.searchsorted(times, microseconds(groups.column("as_of"), "as_of"))
            places = place_of[row, known.of([groups.column(asked.key)], len(groups))]
            columns.update(laid_out(groups.select(list(query.members)), places, over_none, instants))
        yield pa.table(columns)


def _batches(asked: Asked) -> Iterator[list[_Instant]]:
    """Split the instants into those that one query computes."""
    batch: list[_Instant] = []
    pairs = 0
    for index, (as_of, chosen) in enumerate(asked.instants):
        if batch and (pairs + len(chosen) > _MOST_PAIRS or len(batch) == _MOST_INSTANTS):
            yield batch
            batch, pairs = [], 0
        batch.append(_Instant(index, as_of, chosen))
        pairs += len(chosen)
    yield batch


def _places(batch: Sequence[_Instant], codes: Integers, count: int) -> Integers:
    """Compute the place among the pairs of `batch` of each instant and code; -1 of one that is not asked for.

    The last column stays -1: it is that of the code -1, which an entity has that is never asked for.
    """
    places = np.full((len(batch), count + 1), -1, np.int64)
    begin = 0
    for row, each in zip(places, batch, strict=True):
        row[codes[each.chosen]] = np.arange(begin, begin + len(each.chosen))
        begin += len(each.chosen)
    return places


def _groups(query: FactQuery, column: str, rows: Mapping[str, str], batch: Sequence[_Instant]) -> str:
    """Compose the query of the aggregates at the instants of `batch`, for each entity that has a row then."""
    source = f"SELECT source.* FROM {rows[query.span.source]} AS source WHERE"
    chosen = [f"{source} {_within(query.span, each.as_of)}" for each in batch]
    if len(batch) == 1:
        asked = f" AND {column} IN (SELECT {column} FROM here)" if _is_endless(query.span) else ""
        return f"""SELECT as_of, {column}, {query.typed}
            FROM (SELECT {instant(batch[0].as_of)} AS as_of, {column}, {query.columns}
            FROM ({chosen[0]}{asked}) GROUP BY {column})"""
    together = " UNION ALL ".join(
        f"SELECT *, {instant(each.as_of)} AS as_of FROM ({one})" for each, one in zip(batch, chosen, strict=True)
    )
    asked = f"SEMI JOIN here USING ({column}, as_of)" if _is_endless(query.span) else ""
    return f"""SELECT as_of, {column}, {query.typed}
        FROM (SELECT as_of, {column}, {query.columns} FROM ({together}) {asked} GROUP BY as_of, {column})"""


def _within(span: Span, as_of: datetime) -> str:
    return within(span, lambda move: instant(as_of + move))


def _is_endless(span: Span) -> bool:
    """Whether entities that have ended would be grouped for ever; a window leaves their rows behind by itself."""
    return span.window is None
