"""The facts of all pairs of a grid of few instants and many entities, one instant after another.

The rows of an instant are chosen by their times alone and grouped by their entity, once for each span; DuckDB does that.
What a group gives is then laid out at the place of its entity, which costs less than to join the spans.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from feature_repo.duck import fetch, identifier, instant
from feature_repo.facts import named, open_empty, pair_facts, within
from feature_repo.key_codes import encode
from feature_repo.time_line import microseconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    import duckdb
    import numpy.typing as npt

    from feature_repo.facts import Facts, Span

    Integers = npt.NDArray[np.int64]


def facts_at_instants(
    connection: duckdb.DuckDBPyConnection, facts: Facts, key: str, rows: Mapping[str, str], grid: str
) -> Iterator[pa.Table]:
    """Compute the facts of all pairs of `grid`.

    Parameters
    ----------
    connection, facts, key, rows, grid : as for `feature_repo.facts.pair_facts`.

    Returns
    -------
    A table for each instant in order, with `key`, `as_of` and each fact. Of an empty grid it is one empty table.

    Raises
    ------
    duckdb.Error
        If the SQL of a fact fails.

    """
    column = identifier(key)
    pairs = fetch(connection, f"SELECT {column}, as_of FROM {grid}")
    connection.register("asked", pairs)
    if not len(pairs):
        yield fetch(connection, pair_facts(connection, facts, key, rows, "asked"))
        return
    open_empty(connection, facts, rows, "asked")
    empty = fetch(connection, "FROM empty ORDER BY as_of")
    pairs, ends = _by_instant(pairs, empty.column("as_of"))
    known, codes = encode([pairs.column(key)], len(pairs))
    place_of = np.empty(len(known) + 1, np.int64)
    for number, (begin, end) in enumerate(pairwise([0, *ends])):
        here, over_none = pairs.slice(begin, end - begin), empty.slice(number, 1)
        connection.register("here", here)
        place_of.fill(-1)
        place_of[codes[begin:end]] = np.arange(end - begin)
        # The code of an entity that is asked for at no instant, and of null, is -1, and so is its place.
        place_of[-1] = -1
        found = here
        for span, members in facts.items():
            as_of = over_none.column("as_of")[0].as_py()
            groups = fetch(connection, _groups(span, named(members), column, rows, as_of))
            places = place_of[known.of([groups.column(key)], len(groups))]
            for name, values in _laid_out(groups.select(list(members)), places, over_none, len(here)):
                found = found.append_column(name, values)
        yield found


def _by_instant(pairs: pa.Table, instants: pa.ChunkedArray) -> tuple[pa.Table, list[int]]:
    """Put `pairs` in the order of their `instants`, which are sorted; say where those of each instant end."""
    times = microseconds(pairs.column("as_of"), "as_of")
    ranks = np.searchsorted(microseconds(instants, "as_of"), times)
    # Small integers are sorted by counting.
    order = np.argsort(ranks.astype(np.min_scalar_type(len(instants))), kind="stable")
    return pairs.take(pa.array(order)), np.cumsum(np.bincount(ranks)).tolist()


def _groups(span: Span, aggregates: str, column: str, rows: Mapping[str, str], as_of: datetime) -> str:
    """Write the query of a span's aggregates at an instant, for each entity that has a row in it."""
    chosen = within(span, lambda move: instant(as_of + move))
    if span.window is None:
        # Entities that have ended would be grouped for ever; a window leaves their rows behind by itself.
        chosen += f" AND {column} IN (SELECT {column} FROM here)"
    return f"""SELECT {instant(as_of)} AS as_of, {column}, {aggregates}
        FROM (SELECT source.* FROM {rows[span.source]} AS source WHERE {chosen}) GROUP BY {column}"""


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
