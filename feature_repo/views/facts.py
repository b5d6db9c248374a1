"""The features of a view that aggregate rows: their spans, their SQL, and the alignment of their values with pairs.

A query computes a bounded number of aggregates. Its columns are aligned by index with the requested (entity, as_of) pairs.
So time and memory grow linearly with the number of features.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from feature_repo.files.duck import fetch, identifier
from feature_repo.files.exact import exact_or_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import duckdb
    import numpy.typing as npt

    from core.plan.plan import Feature, View

    Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Span:
    """The rows that a fact aggregates: those of `source` with as_of - lag - window < event time <= as_of - lag.

    Without a window there is no lower bound. Rows created after as_of are excluded unless `knowable` is false. Rows are
    excluded whose column `valid_until` is at or before as_of - lag.
    """

    source: str
    window: timedelta | None = None
    lag: timedelta = timedelta()
    knowable: bool = True
    valid_until: str | None = None

    @property
    def moves(self) -> tuple[timedelta, timedelta, timedelta]:
        """Offsets from as_of of three bounds: latest event time, latest created time, exclusive earliest event time."""
        return -self.lag, timedelta(), -self.lag - (self.window or timedelta())

    @property
    def reach(self) -> timedelta | None:
        """How long before as_of a row may have happened; None if unlimited."""
        return None if self.window is None else self.lag + self.window


class Fact(NamedTuple):
    """An aggregate over the columns of a span's rows and `as_of`; without a dtype it has the type of its SQL."""

    sql: str
    dtype: str = ""


#: For each span, its facts by name.
Facts = dict[Span, dict[str, Fact]]

#: The most aggregates of one query: DuckDB's planning time grows faster than their number.
_MAX_AGGREGATES = 256


@dataclass(frozen=True)
class FactQuery:
    """The aggregates, by name, that one query computes over the rows of one span."""

    span: Span
    members: Mapping[str, Fact]

    @property
    def columns(self) -> str:
        """The select list of the aggregates, each in the type of its SQL."""
        return ", ".join(f"{parenthesized(fact.sql)} AS {identifier(name)}" for name, fact in self.members.items())

    @property
    def typed(self) -> str:
        """The select list of an outer query that casts `columns` to their dtypes, so that each aggregate appears once."""
        return ", ".join(f"{_typed(name, fact)} AS {identifier(name)}" for name, fact in self.members.items())


def _typed(name: str, fact: Fact) -> str:
    return exact_or_error(identifier(name), fact.dtype) if fact.dtype else identifier(name)


def queries_of(facts: Facts) -> list[FactQuery]:
    """Return the queries that compute `facts`."""
    return [
        FactQuery(span, dict(list(members.items())[begin : begin + _MAX_AGGREGATES]))
        for span, members in facts.items()
        for begin in range(0, len(members), _MAX_AGGREGATES)
    ]


def facts_of(view: View) -> Facts:
    """Return the features of `view` that aggregate rows, grouped by span."""
    facts: Facts = {}
    for name, feature in view.features.items():
        if feature.over != "features":
            lag, end = feature.lag or timedelta(), feature.valid_until
            span = Span(feature.source or view.source, feature.window, lag, valid_until=end)
            sql = of_the_row(feature.sql) if feature.over == "row" else feature.sql
            facts.setdefault(span, {})[name] = Fact(sql, feature.dtype)
    return facts


def of_the_row(sql: str) -> str:
    """Compose the aggregate of an expression over the one row that an entity has."""
    return f"max({parenthesized(sql)})"


def cast(feature: Feature) -> str:
    """Compose the SQL of a feature over features, cast to its dtype."""
    return exact_or_error(parenthesized(feature.sql), feature.dtype)


def parenthesized(sql: str) -> str:
    """Compose `sql` in parentheses; the newline ends a trailing comment before the closing one."""
    return f"({sql}\n)"


def span_condition(span: Span, as_of: Callable[[timedelta], str]) -> str:
    """Compose the condition that selects the rows of `span`; `as_of` composes the as-of instant moved by an offset."""
    last, known, before = span.moves
    bounds = [f"source.event_time <= {as_of(last)}"]
    if span.knowable:
        bounds.append(f"source.created_time <= {as_of(known)}")
    if span.window is not None:
        bounds.append(f"source.event_time > {as_of(before)}")
    if span.valid_until is not None:
        end = f"source.{identifier(span.valid_until)}"
        bounds.append(f"({end} IS NULL OR {end} > {as_of(last)})")
    return " AND ".join(bounds)


def aggregates_of_no_rows(
    connection: duckdb.DuckDBPyConnection, query: FactQuery, rows: Mapping[str, str], instants: str
) -> pa.Table:
    """Return the aggregates of `query` over no rows, as SQL defines them (a count is 0).

    There is one row for each instant of the relation `instants`, sorted by instant.
    """
    # Without HAVING, an expression that contains no aggregate would return no row.
    none = f"SELECT {query.columns} FROM {rows[query.span.source]} AS source WHERE false HAVING count(*) = 0"
    return fetch(
        connection,
        f"SELECT {query.typed} FROM {instants} AS instants, LATERAL ({none}) AS part ORDER BY instants.as_of",
    )


def aligned_columns(
    groups: pa.Table, pair_index: Integers, defaults: Callable[[], pa.Table], instants: Integers
) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """Return the name and values of each column of `groups`, aligned with the requested pairs.

    Parameters
    ----------
    groups : the aggregates of each pair that has rows.
    pair_index : for each group the index of its pair; -1 if the pair was not requested.
    defaults : returns the aggregates over no rows, by instant, for the pairs without a group.
    instants : for each pair the index of its instant among the rows of `defaults`.

    """
    # The extra last element takes the groups of index -1.
    row_of = np.full(len(instants) + 1, -1, np.int64)
    row_of[pair_index] = np.arange(len(groups))
    row_of = row_of[:-1]
    absent = row_of < 0
    if absent.any():
        row_of[absent] = len(groups) + instants[absent]
        groups = pa.concat_tables([groups, defaults()])
    aligned = groups.combine_chunks().take(pa.array(row_of))
    return zip(aligned.column_names, aligned.columns, strict=True)
