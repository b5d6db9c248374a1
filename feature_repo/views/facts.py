"""What of a feature view is an aggregate over rows: which rows it looks at, its SQL, and where its values belong.

However many aggregates there are, a query computes a bounded number of them, and its columns are laid out by position at the
(entity, as of) pairs that were asked for. So the time and memory of a view grow with its features and no faster.
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
    """Which rows a fact looks at: those of `source` with as_of - lag - window < event time <= as_of - lag.

    Without a window they reach back without end. Unless `knowable` is false, only rows known by as_of count.
    """

    source: str
    window: timedelta | None = None
    lag: timedelta = timedelta()
    knowable: bool = True

    @property
    def moves(self) -> tuple[timedelta, timedelta, timedelta]:
        """How far from as of lie the last event time, the last created time and the bound before the first event time."""
        return -self.lag, timedelta(), -self.lag - (self.window or timedelta())

    @property
    def reach(self) -> timedelta | None:
        """How long before as of a row may have happened; None if without end."""
        return None if self.window is None else self.lag + self.window


class Fact(NamedTuple):
    """An aggregate over the columns of a span's rows and `as_of`; without a dtype it is of the type that its SQL has."""

    sql: str
    dtype: str = ""


#: For each span, its facts by name.
Facts = dict[Span, dict[str, Fact]]

#: The aggregates of one query: the time in which DuckDB plans it grows faster than their number.
_MOST_AGGREGATES = 256


@dataclass(frozen=True)
class FactQuery:
    """Some of the aggregates over the rows of one span, which one query computes, by name."""

    span: Span
    members: Mapping[str, Fact]

    @property
    def columns(self) -> str:
        """The aggregates in SQL, under their names and in the types that they have."""
        return ", ".join(f"{enclosed(fact.sql)} AS {identifier(name)}" for name, fact in self.members.items())

    @property
    def typed(self) -> str:
        """The columns that `columns` makes, in their dtypes: outside of the aggregates, which so stand once."""
        return ", ".join(f"{_typed(name, fact)} AS {identifier(name)}" for name, fact in self.members.items())


def _typed(name: str, fact: Fact) -> str:
    return exact_or_error(identifier(name), fact.dtype) if fact.dtype else identifier(name)


def queries_of(facts: Facts) -> list[FactQuery]:
    """Split the aggregates of `facts` into queries."""
    return [
        FactQuery(span, dict(list(members.items())[begin : begin + _MOST_AGGREGATES]))
        for span, members in facts.items()
        for begin in range(0, len(members), _MOST_AGGREGATES)
    ]


def facts_of(view: View) -> Facts:
    """Sort the features of `view` that are aggregates by their spans."""
    facts: Facts = {}
    for name, feature in view.features.items():
        if feature.over == "rows":
            span = Span(feature.source or view.source, feature.window, feature.lag or timedelta())
            facts.setdefault(span, {})[name] = Fact(feature.sql, feature.dtype)
    return facts


def cast(feature: Feature) -> str:
    """Compose the SQL of a feature over features in its dtype."""
    return exact_or_error(enclosed(feature.sql), feature.dtype)


def enclosed(sql: str) -> str:
    """Compose `sql` of the plan in brackets; one that ends in a comment ends before the closing one."""
    return f"({sql}\n)"


def within(span: Span, as_of: Callable[[timedelta], str]) -> str:
    """Write which rows of `source` are in `span`; `as_of` writes the as-of instant, moved by a length of time."""
    last, known, before = span.moves
    bounds = [f"source.event_time <= {as_of(last)}"]
    if span.knowable:
        bounds.append(f"source.created_time <= {as_of(known)}")
    if span.window is not None:
        bounds.append(f"source.event_time > {as_of(before)}")
    return " AND ".join(bounds)


def over_no_row(
    connection: duckdb.DuckDBPyConnection, query: FactQuery, rows: Mapping[str, str], instants: str
) -> pa.Table:
    """Compute what the aggregates of `query` are over no row, as SQL has it: a count is 0.

    Returns a row for each instant of the relation `instants`, in their order.
    """
    # Without HAVING, an expression that aggregates nothing would give no row.
    none = f"SELECT {query.columns} FROM {rows[query.span.source]} AS source WHERE false HAVING count(*) = 0"
    return fetch(
        connection,
        f"SELECT {query.typed} FROM {instants} AS instants, LATERAL ({none}) AS part ORDER BY instants.as_of",
    )


def laid_out(
    groups: pa.Table, places: Integers, over_none: Callable[[], pa.Table], instants: Integers
) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """Lay the columns of `groups` out at the places of the pairs that were asked for.

    Parameters
    ----------
    groups : the aggregates of each pair that has rows.
    places : of each group; one whose place is -1 belongs to no pair.
    over_none : returns what the aggregates are over no row, by instant, for the pairs that have no group.
    instants : for each pair the index of its instant among the rows of `over_none`.

    """
    chosen = np.full(len(instants) + 1, -1, np.int64)
    chosen[places] = np.arange(len(groups))
    chosen = chosen[:-1]
    absent = chosen < 0
    if absent.any():
        chosen[absent] = len(groups) + instants[absent]
        groups = pa.concat_tables([groups, over_none()])
    laid = groups.combine_chunks().take(pa.array(chosen))
    return zip(laid.column_names, laid.columns, strict=True)
