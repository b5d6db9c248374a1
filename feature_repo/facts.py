"""What of a feature view is an aggregate over rows: which rows it looks at, and its SQL for given (entity, as of) pairs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from feature_repo.duck import SQL_TYPES, identifier

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import duckdb

    from core.plan import Feature, View


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


#: For each span, by name, aggregates over the columns of its rows and `as_of`.
Facts = dict[Span, dict[str, str]]


def facts_of(view: View) -> Facts:
    """Sort the features of `view` that are aggregates by their spans."""
    facts: Facts = {}
    for name, feature in view.features.items():
        if feature.over == "rows":
            span = Span(feature.source or view.source, feature.window, feature.lag or timedelta())
            facts.setdefault(span, {})[name] = cast(feature)
    return facts


def cast(feature: Feature) -> str:
    """Write the SQL of a feature in its dtype."""
    return f"CAST(({feature.sql}) AS {SQL_TYPES[feature.dtype]})"


def within(span: Span, as_of: Callable[[timedelta], str]) -> str:
    """Write which rows of `source` are in `span`; `as_of` writes the as-of instant, moved by a length of time."""
    last, known, before = span.moves
    bounds = [f"source.event_time <= {as_of(last)}"]
    if span.knowable:
        bounds.append(f"source.created_time <= {as_of(known)}")
    if span.window is not None:
        bounds.append(f"source.event_time > {as_of(before)}")
    return " AND ".join(bounds)


def _moved_as_of(move: timedelta) -> str:
    seconds = int(move.total_seconds())
    return f"(grid.as_of + INTERVAL ({seconds}) SECOND)" if seconds else "grid.as_of"


def named(members: Mapping[str, str]) -> str:
    """Write the aggregates of a span under their names."""
    return ", ".join(f"{sql} AS {identifier(name)}" for name, sql in members.items())


def open_empty(connection: duckdb.DuckDBPyConnection, facts: Facts, rows: Mapping[str, str], instants: str) -> None:
    """Make the table `empty` of what the facts are over no row at each of `instants`, as SQL has it: a count is 0."""
    chosen = "".join(
        f", (SELECT {sql} FROM {rows[span.source]} AS source WHERE false HAVING count(*) = 0) AS {identifier(name)}"
        for span, members in facts.items()
        for name, sql in members.items()
    )
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE empty AS
            SELECT instants.as_of{chosen} FROM {instants} AS instants"""
    )


def pair_facts(
    connection: duckdb.DuckDBPyConnection, facts: Facts, key: str, rows: Mapping[str, str], grid: str
) -> str:
    """Write the query of the facts of every pair in `grid`, for scattered pairs.

    Parameters
    ----------
    connection : on which the query is to be run; it gets the table `empty`.
    key, rows, grid : as for `feature_repo.view_rows.compute_view`.

    """
    open_empty(connection, facts, rows, f"(SELECT DISTINCT as_of FROM {grid})")
    key = identifier(key)
    chosen, joins = "", ""
    for number, (span, members) in enumerate(facts.items()):
        part = f"part{number}"
        on = f"source.{key} = grid.{key} AND {within(span, _moved_as_of)}"
        pairs = f"SELECT source.*, grid.as_of FROM {grid} AS grid JOIN {rows[span.source]} AS source ON {on}"
        joins += f"""
        LEFT JOIN (SELECT {key}, as_of, {named(members)} FROM ({pairs}) GROUP BY {key}, as_of) AS {part}
        USING ({key}, as_of)"""
        for name in map(identifier, members):
            chosen += f", CASE WHEN {part}.{key} IS NULL THEN empty.{name} ELSE {part}.{name} END AS {name}"
    return f"""
        SELECT grid.{key}, grid.as_of{chosen}
        FROM {grid} AS grid JOIN empty USING (as_of){joins}"""
