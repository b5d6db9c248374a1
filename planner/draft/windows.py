"""Draft feature views over rows with times: counts and recency, means, sums, categories, last values."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from feature_repo.files.duck import identifier, literal
from planner.profile.names import plan_name
from planner.profile.patterns import KEY_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from planner.draft.calendar import Calendar
    from planner.draft.entity_rows import Events
    from planner.draft.sheet import Sheet
    from planner.draft.task import WindowTask
    from planner.profile.column import Column

#: Windows in hours; those are taken that the history fills, from a quarter of the horizon on.
_WINDOWS = (1, 3, 6, 24, 3 * 24, 7 * 24, 14 * 24, 30 * 24, 90 * 24, 180 * 24)
_MOST_WINDOWS, _DAY = 4, 24
#: Share of the instants at which an entity has a row, from which on the rows are a series.
_REGULAR = 0.7
#: Columns of numbers, columns whose last value is a feature, their levels, and the levels that are counted.
_MOST_NUMBERS, _MOST_VALUES, _MOST_LEVELS, _MOST_COUNTED = 8, 12, 50, 6
_LONGEST_NAME = 40
#: Names of angles, whose mean means nothing: that of 350 and 10 degrees is 180.
_ANGLE = re.compile(r"(^|_)(dir|direction|bearing|heading|azimuth|angle|course|wd)($|_)")
_QUARTER, _CIRCLE = 90, 360

Features = dict[str, dict[str, Any]]


def view_name(events: Events) -> str:
    """Return the name of the view over a table's rows."""
    return f"{events.table.name[:32]}_rows"


def draft_view(sheet: Sheet, events: Events, calendar: Calendar, closes: timedelta, label: Features) -> None:
    """Put the view of a table's rows into the sheet; `label` are features by which the label itself is continued."""
    history = (calendar.end - events.first).days
    windows = _windows(history * _DAY, closes)
    features = {**_facts(events, windows), **label, **_last_values(events)}
    path = f"build_features.views.{view_name(events)}"
    sheet.put(path, {"source": events.table.name, "ttl": calendar.ttl, "every": calendar.cadence})
    why = f"windows of {', '.join(map(_text, windows))}, of a history of {history} days before the last instant"
    why = "one row for each key: its age and its values" if events.is_one_row else why
    sheet.put(f"{path}.features", features, why)


def _facts(events: Events, windows: Sequence[int]) -> Features:
    """Return the features of rows by what they are: one for each key, a measure at every instant, or events."""
    if events.is_one_row:
        return _ages(events)
    if is_series(events):  # how many rows there are and how old they are tells the date alone
        return _means(events, windows)
    return {**_ages(events), **_counts(events, windows), **_numbers(events, windows), **_categories(events, windows)}


def is_series(events: Events) -> bool:
    """Return whether almost every entity has a row at almost every time, as a station has a temperature each hour."""
    if events.through or not events.time.is_exact:
        return False
    return events.table.rows >= _REGULAR * events.time.distinct * events.key.distinct


def _windows(history: int, closes: timedelta) -> list[int]:
    """Return the lengths of windows in hours."""
    hours = closes.total_seconds() / 3600
    least = 1 if hours < _DAY else hours / 4
    able = [length for length in _WINDOWS if least <= length <= history and (hours < _DAY or length >= _DAY)]
    return able[:_MOST_WINDOWS] or [max(_DAY, history)]


def _text(hours: int) -> str:
    return f"{hours}h" if hours < _DAY else f"{hours // _DAY}d"


def _ages(events: Events) -> Features:
    ends = {"first": "min"} if events.is_one_row else {"first": "min", "last": "max"}
    return {
        f"days_since_{name}": {
            "sql": f"(epoch(as_of) - epoch({end}(event_time))) / 86400",
            "dtype": "float64",
            "unit": "days",
        }
        for name, end in ends.items()
    }


def _counts(events: Events, windows: Sequence[int]) -> Features:
    """Return the numbers of rows, so far and in windows, and how the shortest window differs from the longest."""
    rows = f"rows of {events.table.name}"
    found: Features = {"rows_so_far": {"sql": "count(*)", "dtype": "int64", "meaning": rows}}
    for hours in windows:
        meaning = f"{rows} in {_text(hours)}"
        found[f"rows_{_text(hours)}"] = {
            "sql": "count(*)",
            "window": _text(hours),
            "dtype": "int64",
            "meaning": meaning,
        }
    if len(windows) > 1:
        short, long = windows[0], windows[-1]
        sql = f"ln((1 + rows_{_text(short)}) / (1 + rows_{_text(long)} * {short / long!r}))"
        meaning = f"logarithm of the {rows} in {_text(short)} against those in {_text(long)}"
        found["rows_trend"] = {"over": "features", "sql": sql, "dtype": "float64", "meaning": meaning}
    return found


def _measures(events: Events) -> list[Column]:
    return [one for one in events.table.columns if one.is_numeric and not is_number_of(one, events.key)][:_MOST_NUMBERS]


def _means(events: Events, windows: Sequence[int]) -> Features:
    """Return the means of the columns of numbers in windows."""
    return {
        f"{name}_mean_{_text(hours)}": {
            "sql": f"avg({sql})",
            "window": _text(hours),
            "dtype": "float64",
            "unit": unit,
        }
        for one in _measures(events)
        for name, sql, unit in _averaged(one)
        for hours in windows
    }


def _averaged(column: Column) -> list[tuple[str, str, str]]:
    """Return (name, SQL, unit) of what is averaged of a column: its values, or of an angle in degrees its sine and cosine."""
    value, name = identifier(column.name), column.name[:28]
    is_angle = _ANGLE.search(column.name) is not None and bool(column.quantiles)
    if not is_angle or column.quantiles[0] < 0 or not _QUARTER < column.quantiles[-1] <= _CIRCLE:
        return [(name, value, f"unit of {column.name}")]
    return [(f"{name[:24]}_{way}", f"{way}(radians({value}))", f"{way} of {column.name}") for way in ("sin", "cos")]


def _numbers(events: Events, windows: Sequence[int]) -> Features:
    """Return means and sums of the columns of numbers: of all rows, and in some windows."""
    chosen = list(dict.fromkeys([windows[0], windows[len(windows) // 2], windows[-1]]))
    found = _means(events, chosen)
    for one in _measures(events):
        column, short = identifier(one.name), one.name[:28]
        stated = {"dtype": "float64", "unit": f"unit of {one.name}"}
        found[f"{short}_mean"] = {"sql": f"avg({column})", **stated}
        for hours in chosen[1:] or chosen:
            found[f"{short}_{_text(hours)}"] = {"sql": f"coalesce(sum({column}), 0)", "window": _text(hours), **stated}
    return found


def _categories(events: Events, windows: Sequence[int]) -> Features:
    """Return the number of rows of each value of columns with few values."""
    hours = windows[-1]
    found: Features = {}
    for column in events.table.columns:
        is_few = 1 < column.distinct <= min(_MOST_COUNTED, len(column.top))
        if column.kind != "string" or not is_few or column.treatment == "remove" or column.name == events.key.name:
            continue
        for text, _ in column.top:
            name = f"{plan_name(f'{column.name} {text}', 'value')[: _LONGEST_NAME - 6]}_{_text(hours)}"
            sql = f"count(*) FILTER ({identifier(column.name)} = {literal(text)})"
            meaning = f"rows with the {column.name} {text} in {_text(hours)}"
            found.setdefault(name, {"sql": sql, "window": _text(hours), "dtype": "int64", "meaning": meaning})
    return found


def label_features(task: WindowTask, horizon: timedelta, closes: timedelta, history: timedelta) -> Features:
    """Return features that continue the label: its value in earlier windows, and at the same time of earlier days."""
    return {
        name: {
            "sql": f"CAST({task.value} AS DOUBLE)",
            "window": _duration(horizon),
            **({"lag": _duration(lag)} if lag else {}),
            "dtype": "float64",
            "meaning": meaning,
        }
        for name, lag, meaning in _earlier(horizon, closes, history)
    } | _shares(task, horizon, history)


def _earlier(horizon: timedelta, closes: timedelta, history: timedelta) -> Iterator[tuple[str, timedelta | None, str]]:
    """Yield (name, lag, meaning) of windows as long as the label's: the last one, and those in step with the days."""
    day = timedelta(days=1)
    yield "label_before", None, "what is predicted, in the last window before the instant"
    if closes >= day:
        if history > 3 * horizon:
            yield "label_two_before", horizon, "what is predicted, in the window before the last"
        return
    yield "label_at_this_hour", day - horizon, "what is predicted, a day before the instant"
    for days in (1, 2):
        yield f"label_{days}_days_before", days * day - closes, f"what is predicted, {days} days before its own time"


_FILTER = re.compile(r"FILTER \((?P<only>[^()]*)\)")


def _shares(task: WindowTask, horizon: timedelta, history: timedelta) -> Features:
    """Return the share of the rows that fulfil the condition of the task, of all rows and in a window of four horizons."""
    found = _FILTER.search(task.value)
    if found is None:
        return {}
    stated = {"sql": f"avg(CAST(({found['only']}) AS INTEGER))", "dtype": "float64"}
    meaning = f"share of the rows with {found['only']}"
    shares: Features = {"share_so_far": {**stated, "meaning": meaning}}
    if history > 4 * horizon:
        shares["share_recent"] = {**stated, "window": _duration(4 * horizon), "meaning": f"{meaning}, lately"}
    return shares


def _duration(length: timedelta) -> str:
    seconds = int(length.total_seconds())
    if seconds % 86400 == 0:
        return f"{seconds // 86400}d"
    return f"{seconds}s" if seconds % 3600 else f"{seconds // 3600}h"


def calendar_features(calendar: Calendar) -> Features:
    """Return the hour and the weekday of an instant, as far as the instants differ in them and repeat."""
    found: Features = {}
    days, every = (calendar.end - calendar.start).days, calendar.every.total_seconds() / 86400
    if every < 1:
        found["hour_of_day"] = {"sql": "hour(as_of)", "dtype": "int32", "unit": "hours"}
    if every < 7 and days > 14:  # noqa: PLR2004 - a week, two weeks
        found["weekday"] = {"sql": "dayofweek(as_of)", "dtype": "int32", "meaning": "0 is Sunday"}
    return found


def is_number_of(column: Column, key: Column) -> bool:
    """Return whether numbers are not a measure, but a key, or the number of a row or another object."""
    return column.name == key.name or column.is_unique or KEY_NAME.search(column.name) is not None


def _is_value(column: Column, events: Events) -> bool:
    """Return whether a number is a value of the entity, as in a table with one row for each key."""
    return events.is_one_row and column.is_numeric and not is_number_of(column, events.key)


def _last_values(events: Events) -> Features:
    texts = [
        one
        for one in events.table.columns
        if ((one.kind in {"string", "bool"} and 1 < one.distinct <= _MOST_LEVELS) or _is_value(one, events))
        and one.name != events.key.name
        and one.treatment != "remove"
    ]
    return {
        f"last_{one.name}"[:_LONGEST_NAME]: {
            "sql": f"arg_max({identifier(one.name)}, event_time)",
            "dtype": one.dtype,
            "meaning": f"{one.name} of the last row",
        }
        for one in texts[:_MOST_VALUES]
    }
