"""The facts of many entities at few instants, one instant after another.

The rows of an instant are chosen by their times alone and grouped by their entity, once for each span; DuckDB does that.
What a group gives is then laid out at the place of its entity, which costs less than to join the spans.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from feature_repo.duck import fetch, identifier, instant
from feature_repo.facts import named, open_empty, pair_facts, within
from feature_repo.key_codes import encode
from feature_repo.time_line import INSTANT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    import duckdb
    import numpy.typing as npt

    from feature_repo.existence import Asked
    from feature_repo.facts import Facts, Span

    Integers = npt.NDArray[np.int64]


def facts_at_instants(
    connection: duckdb.DuckDBPyConnection, facts: Facts, rows: Mapping[str, str], asked: Asked
) -> Iterator[pa.Table]:
    """Compute the facts of all pairs that are `asked` for.

    Parameters
    ----------
    connection, facts, rows : as for `feature_repo.facts.pair_facts`.
    asked : who, and when.

    Returns
    -------
    A table for each instant in order, with the key, `as_of` and each fact. Where nobody is asked for it is one empty table.

    Raises
    ------
    duckdb.Error
        If the SQL of a fact fails.

    """
    column = identifier(asked.key)
    if not asked.instants:
        connection.register("asked", asked.pairs())
        yield fetch(connection, pair_facts(connection, facts, asked.key, rows, "asked"))
        return
    connection.register("instants", pa.table({"as_of": pa.array([as_of for as_of, _ in asked.instants], INSTANT)}))
    open_empty(connection, facts, rows, "instants")
    empty = fetch(connection, "FROM empty ORDER BY as_of")
    known, codes = encode([asked.keys], len(asked.keys))
    place_of = np.empty(len(known) + 1, np.int64)
    for number, (as_of, chosen) in enumerate(asked.instants):
        found = asked.at(as_of, chosen)
        connection.register("here", found)
        place_of.fill(-1)
        # The place after the last stays -1: it is that of the code -1, which an entity has that is never asked for.
        place_of[codes[chosen]] = np.arange(len(chosen))
        over_none = empty.slice(number, 1)
        for span, members in facts.items():
            groups = fetch(connection, _groups(span, named(members), column, rows, as_of))
            places = place_of[known.of([groups.column(asked.key)], len(groups))]
            for name, values in _laid_out(groups.select(list(members)), places, over_none, len(chosen)):
                found = found.append_column(name, values)
        yield found


def _groups(span: Span, aggregates: str, column: str, rows: Mapping[str, str], as_of: datetime) -> str:
    """Write the query of a span's aggregates at an instant, for each entity that has a row in it."""
    chosen = within(span, lambda move: instant(as_of + move))
    if span.window is None:
        # Entities that have ended would be grouped for ever; a window leaves their rows behind by itself.
        chosen += f" AND {column} IN (SELECT {column} FROM here)"
    return f"""SELECT * EXCLUDE (as_of) FROM (
        SELECT {instant(as_of)} AS as_of, {column}, {aggregates}
        FROM (SELECT source.* FROM {rows[span.source]} AS source WHERE {chosen}) GROUP BY {column})"""


def _laid_out(
    groups: pa.Table, places: Integers, over_none: pa.Table, count: int
) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """Lay `groups` out at their `places`, of which there are `count`; where none is, what the facts are over no row.

    A group whose place is -1 belongs nowhere.
    """
    chosen = np.full(count + 1, len(groups), np.int64)
    chosen[places] = np.arange(len(groups))
    both = pa.concat_tables([groups, over_none.select(groups.column_names)]).combine_chunks()
    laid = both.take(pa.array(chosen[:count]))
    return zip(laid.column_names, laid.columns, strict=True)
