"""The times of a table: the distances between its rows, gaps, and how late rows became known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from planner.profile.column import column_value
from planner.profile.patterns import KNOWN_NAME, TIME_NAMES
from planner.profile.texts import column_texts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import duckdb

    from planner.profile.column import Column
    from planner.profile.tables import Loaded

_BARS = 24
_LATE_DAYS = 400


@dataclass(frozen=True)
class Times:
    """The times of one column of a table.

    Attributes
    ----------
    first, last : the earliest and the latest time, in UTC.
    days, span_days : the number of days with a row, and of all days from the first to the last.
    longest_gap_days : the longest distance between two consecutive days with rows.
    counts : the number of rows in each of 24 equal parts of the range.
    later : for a column of when rows became known, the median delay after `event` in days, and the share with a delay.

    """

    column: str
    first: datetime
    last: datetime
    days: int
    span_days: int
    longest_gap_days: int
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Delay:
    """The delay from the time `event` of a row to the time `known`, in days: the median and the 99th percentile."""

    event: str
    known: str
    median_days: float
    late_days: float


def time_columns(columns: Sequence[Column]) -> list[Column]:
    """Return the columns that may be the event time of a row, the most likely by name first."""
    able = [column for column in columns if column.is_time and not column.is_constant and not column.nulls]
    able = [column for column in able if column.personal is None]
    return sorted(able, key=lambda column: (_rank(column.name), -column.distinct))


def _rank(name: str) -> int:
    if KNOWN_NAME.match(name):
        return len(TIME_NAMES)
    return next((rank for rank, pattern in enumerate(TIME_NAMES) if pattern.search(name)), len(TIME_NAMES) - 1)


def known_column(columns: Sequence[Column], event: str) -> Column | None:
    """Return the column with the time at which a row became known, by its name; None if there is none besides `event`."""
    found = (column for column in columns if column.is_time and KNOWN_NAME.match(column.name) and column.name != event)
    return next(found, None)


def measure_times(connection: duckdb.DuckDBPyConnection, table: Loaded, column: Column) -> Times | None:
    """Return the times of a column; None if it has no valid time."""
    value = f"CAST({column_value(table, column)} AS TIMESTAMP)"
    texts = column_texts(connection, table, column)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE times AS SELECT {value} AS instant, {texts.rows} AS rows "
        f"FROM {texts.relation} GROUP BY 1"
    )
    ((first, last),) = connection.execute("SELECT min(instant), max(instant) FROM times").fetchall()
    if first is None:
        return None
    ((days, longest),) = connection.execute(
        "SELECT count(*), coalesce(max(day - before), 0) FROM (SELECT day, lag(day) OVER (ORDER BY day) AS before "
        "FROM (SELECT DISTINCT CAST(instant AS DATE) AS day FROM times WHERE instant IS NOT NULL))"
    ).fetchall()
    return Times(
        column.name, first, last, int(days), (last - first).days + 1, int(longest), _bars(connection, first, last)
    )


def _bars(connection: duckdb.DuckDBPyConnection, first: datetime, last: datetime) -> tuple[int, ...]:
    width = max((last - first).total_seconds(), 1.0) / _BARS
    rows = connection.execute(
        f"SELECT least(CAST(floor((epoch(instant) - epoch(TIMESTAMP '{first}')) / {width!r}) AS INTEGER), {_BARS - 1}), "
        "CAST(sum(rows) AS BIGINT) FROM times WHERE instant IS NOT NULL GROUP BY 1"
    ).fetchall()
    counts = dict(rows)
    return tuple(int(counts.get(place, 0)) for place in range(_BARS))


def measure_delay(connection: duckdb.DuckDBPyConnection, table: Loaded, event: Column, known: Column) -> Delay | None:
    """Return how late rows became known; None if a row was known before its event, or years after it."""
    started, arrived = (column_value(table, column) for column in (event, known))
    days = f"(epoch({arrived}) - epoch({started})) / 86400"
    ((least, median, late),) = connection.execute(
        f"SELECT min({days}), quantile_cont({days}, 0.5), quantile_cont({days}, 0.99) FROM {table.relation}"
    ).fetchall()
    if least is None or least < -1 or late > _LATE_DAYS:
        return None
    return Delay(event.name, known.name, float(median), float(late))
