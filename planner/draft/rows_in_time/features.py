"""Features of rows as of their own times: their columns, the calendar, and the earlier rows of the same key."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from feature_repo.files.duck import identifier, literal
from planner.draft.flat import VIEW
from planner.draft.windows import Features, is_number_of
from planner.profile.column import column_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import duckdb

    from planner.draft.rows_in_time.times import RowTimes
    from planner.draft.sheet import Sheet
    from planner.draft.target import Target
    from planner.profile.column import Column
    from planner.profile.profile import Table

#: Windows in days over earlier rows; as many as the history fills twice.
_WINDOWS, _MOST_WINDOWS = (1, 7, 30, 90, 365), 3
_MOST_MEASURES = 4
#: Days of history from which on weekdays repeat, and months.
_WEEKS, _YEARS = 14, 400
#: Pairs of rows with the same key up to which there is a snapshot at each row; else one each day.
_MOST_PAIRS = 30_000_000


def row_view(
    sheet: Sheet,
    table: Table,
    features: Sequence[Column],
    keys: Mapping[str, str],
    times: RowTimes,
    zone: str,
    days: int,
) -> None:
    """Put the view of the rows' own columns into the sheet."""
    path = f"build_features.views.{VIEW}"
    own = {one.name: _own(one) for one in features}
    own |= {
        name: {"sql": f"last({sql} ORDER BY event_time)", "dtype": "string", "meaning": "key of a look-up"}
        for name, sql in keys.items()
    }
    sheet.put(path, {"source": table.name, "ttl": f"{longest_window(days)}d", "every": "row"})
    why = f"the row itself, as of {times.instant.raw!r}, and what the calendar says of that instant"
    sheet.put(f"{path}.features", {**own, **_distances(times, own), **_calendar(times.instant, zone, days, own)}, why)


def _own(column: Column) -> dict[str, Any]:
    dtype = "text" if column.kind == "text" else column.dtype
    meaning = f"free text of {column.name}" if dtype == "text" else f"column {column.name}"
    return {"sql": f"last({identifier(column.name)} ORDER BY event_time)", "dtype": dtype, "meaning": meaning}


def _distances(times: RowTimes, taken: Features) -> Features:
    """Return the days from the instant to each other time that is known then."""
    found: Features = {}
    for one in times.known:
        name = f"days_to_{one.name}"[:40]
        if name not in taken:
            value = f"epoch(last({identifier(one.name)} ORDER BY event_time))"
            sql = f"({value} - epoch(max(event_time))) / 86400"
            found[name] = {"sql": sql, "dtype": "float64", "unit": "days"}
    return found


def _calendar(instant: Column, zone: str, days: int, taken: Features) -> Features:
    """Return the hour, the weekday and the month of an instant, as far as they repeat."""
    local = "max(event_time)" if zone == "UTC" else f"timezone({literal(zone)}, max(event_time))"
    if instant.kind == "date":
        local = f"last({identifier(instant.name)} ORDER BY event_time)"
    found: Features = {}
    if instant.kind != "date":
        found["hour_of_day"] = {"sql": f"hour({local})", "dtype": "int32", "unit": "hours"}
    if days > _WEEKS:
        found["weekday"] = {"sql": f"dayofweek({local})", "dtype": "int32", "meaning": "0 is Sunday"}
    if days > _YEARS:
        found["month"] = {"sql": f"month({local})", "dtype": "int32", "meaning": "month of the year"}
    return {name: feature for name, feature in found.items() if name not in taken}


def longest_window(days: int) -> int:
    """Return the length in days of the longest window over a history of so many days."""
    return _windows(days)[-1]


def _windows(days: int) -> tuple[int, ...]:
    return tuple(one for one in _WINDOWS if 2 * one <= days)[-_MOST_WINDOWS:] or _WINDOWS[:1]


def history_view(
    sheet: Sheet,
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    key: Column,
    features: Sequence[Column],
    times: RowTimes,
    target: Target,
    days: int,
    entity: str | None,
) -> str:
    """Put the view over the earlier rows of the same key into the sheet; return its name. A linked key has an `entity`."""
    name = f"{key.name[:32]}_rows"
    windows, is_linked = _windows(days), {"entity": entity} if entity else {}
    every = "row" if _pairs(connection, table, key) <= _MOST_PAIRS else "1 day"
    fresh = windows[-1] if every == "row" else 3
    path = f"build_features.views.{name}"
    sheet.put(path, {"source": table.name, **is_linked, "ttl": f"{fresh}d", "every": every})
    found = {**_counts(times.instant, windows), **_measures(features, key, times, windows)}
    if table.delay is None:
        found |= _outcomes(target, times, windows)
    why = (
        f"earlier rows with the same {key.raw!r}, in windows of a history of {days} days; outcomes once they are known"
    )
    sheet.put(f"{path}.features", found, why)
    return name


def _pairs(connection: duckdb.DuckDBPyConnection, table: Table, key: Column) -> int:
    """Return the number of pairs of rows with the same key."""
    ((pairs,),) = connection.execute(
        f"SELECT sum(rows * rows) FROM (SELECT CAST(count(*) AS HUGEINT) AS rows FROM {table.loaded.relation} "
        f"GROUP BY {column_value(table.loaded, key)})"
    ).fetchall()
    return int(pairs or 0)


def _lag(instant: Column) -> dict[str, str]:
    """Return the lag of features: of dates without a time of day nothing tells which rows of a day come first."""
    return {"lag": "1d"} if instant.kind == "date" else {}


def _counts(instant: Column, windows: Sequence[int]) -> Features:
    found: Features = {
        f"rows_{days}d": {"sql": "count(*)", "window": f"{days}d", **_lag(instant), "dtype": "int64", "unit": "rows"}
        for days in windows
    }
    found["rows_so_far"] = {"sql": "count(*)", **_lag(instant), "dtype": "int64", "unit": "rows"}
    sql = "(epoch(as_of) - epoch(max(event_time) FILTER (event_time < as_of))) / 86400"
    found["days_since_row"] = {"sql": sql, **_lag(instant), "dtype": "float64", "unit": "days"}
    return found


def _measures(features: Sequence[Column], key: Column, times: RowTimes, windows: Sequence[int]) -> Features:
    """Return the means of columns of numbers over the last window."""
    able = [one for one in features if one.is_numeric and not is_number_of(one, key)][:_MOST_MEASURES]
    days = windows[-1]
    return {
        f"{one.name[:30]}_mean_{days}d": {
            "sql": f"avg({identifier(one.name)})",
            "window": f"{days}d",
            **_lag(times.instant),
            "dtype": "float64",
            "unit": f"unit of {one.name}",
        }
        for one in able
    }


def _outcomes(target: Target, times: RowTimes, windows: Sequence[int]) -> Features:
    """Return the mean target of earlier rows, in windows that end when the target is known; of classes the last one.

    Of rows at one time, the one with the largest target is the last, so that the value never depends on their order.
    """
    lag = f"{whole_days(times.delay)}d"
    value = label_value(target)
    if target.problem == "multiclass":
        sql = f"last({value} ORDER BY event_time, {value}) FILTER (({value}) IS NOT NULL)"
        dtype = target.column.dtype if "column" in target.section else "string"
        return {
            "target_last": {"sql": sql, "lag": lag, "dtype": dtype, "meaning": "target of the last row that is known"}
        }
    number = f"CAST(({value}) AS INTEGER)" if target.problem == "binary" else value
    stated = {"sql": f"avg({number})", "lag": lag, "dtype": "float64", "meaning": "mean target of earlier rows"}
    found = {f"target_{days}d": {**stated, "window": f"{days}d"} for days in windows[1:] or windows}
    last = f"last({number} ORDER BY event_time, {number}) FILTER (({value}) IS NOT NULL)"
    latest = {**stated, "sql": f"CAST({last} AS DOUBLE)", "meaning": "target of the last row that is known"}
    return {**found, "target_so_far": stated, "target_last": latest}


def label_value(target: Target) -> str:
    """Compose the SQL of the label over the columns by their names in the plan."""
    from core.plan.training_set import Label

    return Label.model_validate({key: one for key, one in target.section.items() if key != "delay"}).expression


def whole_days(length: timedelta) -> int:
    """Return a duration in days, rounded up."""
    return -(-length // timedelta(days=1))
