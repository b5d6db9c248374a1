"""Draft feature views over rows with times: counts and recency, sums of numbers, last values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from feature_repo.files.duck import identifier
from planner.profile.patterns import KEY_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.draft.calendar import Calendar
    from planner.draft.entity_rows import Events
    from planner.draft.sheet import Sheet
    from planner.profile.column import Column

#: Windows of features in days; those that the history does not fill are left out.
_WINDOWS = (7, 30, 90, 180)
#: Columns that are added up, and columns whose last value is a feature, with at most so many levels.
_MOST_NUMBERS, _MOST_VALUES, _MOST_LEVELS = 8, 12, 50


def draft_view(sheet: Sheet, events: Events, calendar: Calendar) -> str:
    """Put the view of a table's rows into the sheet: counts and recency, sums of numbers, last values of texts."""
    name = f"{events.table.name[:32]}_rows"
    history = (calendar.end - events.first).days
    windows = [days for days in _WINDOWS if days <= history] or [max(1, history)]
    of_rows = {} if events.key.is_unique else {**_counts(events, windows), **_sums(events, windows)}
    features = {**_ages(events), **of_rows, **_last_values(events)}
    path = f"build_features.views.{name}"
    every = calendar.cadence
    sheet.put(path, {"source": events.table.name, "ttl": f"{calendar.every.days + 5}d", "every": every})
    why = f"windows of {', '.join(map(str, windows))} days, of a history of {history} before the last instant"
    why = "one row for each key: its age and its values" if events.key.is_unique else why
    sheet.put(f"{path}.features", features, why)
    return name


def _ages(events: Events) -> dict[str, Any]:
    ends = {"first": "min"} if events.key.is_unique else {"first": "min", "last": "max"}
    return {
        f"days_since_{name}": {
            "sql": f"(epoch(as_of) - epoch({end}(event_time))) / 86400",
            "dtype": "float64",
            "unit": "days",
        }
        for name, end in ends.items()
    }


def _counts(events: Events, windows: Sequence[int]) -> dict[str, Any]:
    so_far = {"sql": "count(*)", "dtype": "int64", "meaning": f"rows of {events.table.name}"}
    found: dict[str, Any] = {"rows_so_far": so_far}
    for days in windows:
        meaning = f"rows of {events.table.name} in {days} days"
        found[f"rows_{days}d"] = {"sql": "count(*)", "window": f"{days}d", "dtype": "int64", "meaning": meaning}
    return found


def _sums(events: Events, windows: Sequence[int]) -> dict[str, Any]:
    numbers = [one for one in events.table.columns if one.is_numeric and not _is_number_of(one, events)][:_MOST_NUMBERS]
    days = windows[-1]
    found: dict[str, Any] = {}
    for one in numbers:
        column, short = identifier(one.name), one.name[:28]
        unit = f"unit of {one.name}"
        found[f"{short}_mean"] = {"sql": f"avg({column})", "dtype": "float64", "unit": unit}
        total = f"coalesce(sum({column}), 0)"
        found[f"{short}_{days}d"] = {"sql": total, "window": f"{days}d", "dtype": "float64", "unit": unit}
    return found


def _is_number_of(column: Column, events: Events) -> bool:
    """Return whether numbers are not a measure, but a key, or the number of a row or another object."""
    return column.name == events.key.name or column.is_unique or KEY_NAME.search(column.name) is not None


def _is_value(column: Column, events: Events) -> bool:
    """Return whether a number is a value of the entity, as in a table with one row for each key."""
    return events.key.is_unique and column.is_numeric and not _is_number_of(column, events)


def _last_values(events: Events) -> dict[str, Any]:
    texts = [
        one
        for one in events.table.columns
        if ((one.kind in {"string", "bool"} and 1 < one.distinct <= _MOST_LEVELS) or _is_value(one, events))
        and one.name != events.key.name
        and one.treatment != "remove"
    ]
    return {
        f"last_{one.name}"[:40]: {
            "sql": f"arg_max({identifier(one.name)}, event_time)",
            "dtype": one.dtype,
            "meaning": f"{one.name} of the last row",
        }
        for one in texts[:_MOST_VALUES]
    }
