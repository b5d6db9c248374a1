"""The times of a table whose rows are predicted: the instant of a row, times that are known then, and times that come later."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.errors import PantheraError
from core.plan.times import parse_duration
from planner.profile.column import column_value
from planner.profile.links import singular
from planner.profile.times import time_columns

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    import duckdb

    from planner.draft.sheet import Sheet
    from planner.profile.column import Column
    from planner.profile.profile import Table

#: The answer that a table has no instants of rows.
NO_TIME = "none"
#: Distinct times below which rows are not ordered in time, and the largest share of rows at one time.
_LEAST_TIMES, _MOST_AT_ONCE = 10, 0.4
#: Share of rows from which on a time comes after another one.
_HALF = 0.5
#: Rows for each value of a key from which on a time that is constant for each value is a time of the key.
_ROWS_OF_KEY = 1.5


def _words(words: str) -> re.Pattern[str]:
    return re.compile(rf"(^|_)({words})(_|$)")


#: Names of times that tell when somebody or something began, of earlier events, of later events, and of planned ones.
_BEGINNING = _words(
    "joined|join|since|sign_?up|signed_?up|registered|registration|member|born|birth|dob|hired?|built|founded|"
    "established|renovated|installed|first|onboarded|enrolled"
)
_EARLIER = _words("last|prev|previous|prior")
_LATER = _words(
    "ended|closed|cancell?ed|cancellation|returned|resolved|resolution|delivered|completed|finished|paid|shipped|arrived|"
    "actual|discharged?|death|died|terminated|termination|exit|left|updated|modified|settled|outcome|churned|failed|stopped"
)
_PLANNED = _words(
    "planned|scheduled|sched|due|expected|promised|deadline|valid|expir\\w*|estimated|target|booked_for|for"
)


@dataclass(frozen=True)
class RowTimes:
    """The times of a table.

    Attributes
    ----------
    instant : the time of a row, as of which it is predicted.
    known : other times that are known at the instant.
    later : times that are known only after the instant, with a value in most rows.
    delay : the time from a row until its target is known.

    """

    instant: Column
    known: tuple[Column, ...]
    later: tuple[Column, ...]
    delay: timedelta


def row_times(
    sheet: Sheet, connection: duckdb.DuckDBPyConnection, table: Table, target: Column, time: str | None
) -> RowTimes | None:
    """Return the times of a table whose rows are predicted; None if its rows have no instant.

    Raises
    ------
    PantheraError
        If the named time cannot be the instant of rows.

    """
    named = time or sheet.answers.get(f"time.{table.name}") or sheet.answers.get("time")
    if named == NO_TIME:
        return None
    others = [one for one in table.columns if one.is_time and one.name != target.name and not one.is_constant]
    able = [one for one in time_columns(others) if _is_spread(one)]
    if named is not None and any(named in {one.name, one.raw} for one in table.columns):
        chosen = next((one for one in able if named in {one.name, one.raw}), None)
        if chosen is None:
            raise PantheraError(
                f"{named!r} is no column with a time in every row of {table.name} and at least {_LEAST_TIMES} different "
                f"ones; name another with --time, or {NO_TIME} if the rows have no time"
            )
    elif not able:
        return None
    else:
        chosen = _instant(sheet, connection, table, able)
    if chosen is None:
        return None
    later = tuple(one for one in others if one is not chosen and _comes_later(sheet, connection, table, chosen, one))
    known = tuple(one for one in others if one is not chosen and one not in later and one.personal is None)
    return RowTimes(chosen, known, later, _delay(sheet, connection, table, chosen, later, target))


def _is_spread(column: Column) -> bool:
    most = column.top[0][1] if column.top else 0
    return column.distinct >= _LEAST_TIMES and most <= _MOST_AT_ONCE * column.values


def _instant(
    sheet: Sheet, connection: duckdb.DuckDBPyConnection, table: Table, able: Sequence[Column]
) -> Column | None:
    """Return the most likely instant; it is a question if several times are as likely, or none is."""
    events = [one for one in able if not _is_of_another(connection, table, one)]
    for later in (_LATER, _PLANNED):
        events = [one for one in events if not later.search(one.name)] or events
    if len(events) == 1:
        return events[0]
    own = _words(re.escape(singular(table.name)))

    def rank(time: Column) -> tuple[bool, int, int]:
        earlier = [one for one in events if one is not time and _share_before(connection, table, one, time) > _HALF]
        return own.search(time.name) is None, len(earlier), able.index(time)

    default = min(events, key=rank).raw if events else NO_TIME
    asks = f"As of which time is a row of {table.name} predicted? Choose {NO_TIME} if all rows are as of now."
    changes = "what is known of a row, and whether the rows are split in time"
    answer = sheet.ask(f"time.{table.name}", asks, default, [*(one.raw for one in able), NO_TIME], changes, 85)
    return next((one for one in able if answer in {one.name, one.raw}), None)


def _is_of_another(connection: duckdb.DuckDBPyConnection, table: Table, time: Column) -> bool:
    """Return whether a time is a beginning or an earlier event, or the same in all rows of each value of another column."""
    if _BEGINNING.search(time.name) is not None or _EARLIER.search(time.name) is not None:
        return True
    keys = [
        one
        for one in table.columns
        if one.kind in {"integer", "string"}
        and one.name != time.name
        and not one.nulls
        and time.distinct <= one.distinct <= table.rows / _ROWS_OF_KEY
    ]
    if not keys:
        return False
    value = column_value(table.loaded, time)
    return any(
        connection.execute(
            f"SELECT max(times) = 1 FROM (SELECT count(DISTINCT {value}) AS times FROM {table.loaded.relation} "
            f"GROUP BY {column_value(table.loaded, key)})"
        ).fetchall()[0][0]
        for key in keys
    )


def _share_before(connection: duckdb.DuckDBPyConnection, table: Table, first: Column, second: Column) -> float:
    """Return the share of the rows with both times in which `first` is before `second`."""
    one, two = (f"CAST({column_value(table.loaded, each)} AS TIMESTAMP)" for each in (first, second))
    ((share,),) = connection.execute(
        f"SELECT avg(CAST({one} < {two} AS INTEGER)) FROM {table.loaded.relation}"
    ).fetchall()
    return float(share or 0.0)


def _comes_later(
    sheet: Sheet, connection: duckdb.DuckDBPyConnection, table: Table, instant: Column, time: Column
) -> bool:
    """Return whether a time is known only after the instant: by its name, or since rows without it are still open.

    A time that is not after the instant, or that is planned, is known. For other times a person's answer decides.
    """
    if _share_before(connection, table, instant, time) < _HALF:
        return False
    if _PLANNED.search(time.name):
        return False
    if time.nulls or _LATER.search(time.name):
        return True
    asks = f"Is {time.raw!r} known at the instant {instant.raw!r} of a row? It is later than it in most rows."
    answer = sheet.ask(f"known.{time.name}", asks, "no", ["no", "yes"], "whether it is a feature", 65)
    return answer.lower() not in {"yes", "true"}


def _delay(
    sheet: Sheet,
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    instant: Column,
    later: Sequence[Column],
    target: Column,
) -> timedelta:
    """Return the days from a row until its target is known: measured, or the answer to a question.

    It is measured by later times, and by the last rows if none of them has a target yet.
    """
    open_days = _days_without(connection, table, instant, target)
    measured = max(_days_until(connection, table, instant, later), open_days)
    asks = f"How long after {instant.raw!r} is {target.raw!r} known?"
    if open_days > 1:
        asks += f" No row of the last {open_days} days has it."
    changes = "the gap between training and test rows, and which earlier outcomes features read"
    answer = sheet.ask("delay", asks, f"{measured}d", [], changes, 72)
    try:
        return parse_duration(answer)
    except ValueError as error:
        raise PantheraError(f"delay is {answer!r}: {error}") from None


def _days_until(connection: duckdb.DuckDBPyConnection, table: Table, instant: Column, later: Sequence[Column]) -> int:
    """Return the days in which 95 % of the later times come; one day without such times."""
    begin, longest = column_value(table.loaded, instant), 1
    for one in later:
        ((days,),) = connection.execute(
            f"SELECT quantile_cont(epoch({column_value(table.loaded, one)}) - epoch({begin}), 0.95) / 86400 "
            f"FROM {table.loaded.relation}"
        ).fetchall()
        longest = max(longest, math.ceil(days or 0))
    return longest


def _days_without(connection: duckdb.DuckDBPyConnection, table: Table, instant: Column, target: Column) -> int:
    """Return the days from the last row with a target to the last row."""
    at, value = column_value(table.loaded, instant), column_value(table.loaded, target)
    ((seconds,),) = connection.execute(
        f"SELECT epoch(max({at})) - epoch(max({at}) FILTER ({value} IS NOT NULL)) FROM {table.loaded.relation}"
    ).fetchall()
    return math.ceil((seconds or 0) / 86400)


def later_notes(times: RowTimes) -> list[str]:
    """Return a note for each time that is known only after the instant."""
    return [
        f"{one.raw!r} is no feature: it is later than {times.instant.raw!r}, as of which a row is predicted"
        for one in times.later
    ]
