"""Draft a plan for a table whose rows are examples, each as of its own time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from core.plan.times import written
from feature_repo.files.duck import literal
from planner.draft.entity_rows import Events, entity_of
from planner.draft.events import draft_timed_source
from planner.draft.flat import VIEW, draft_features, put_groups, put_project, shape_of
from planner.draft.keys import draft_key, entity_name
from planner.draft.look_ups import draft_look_ups, key_features
from planner.draft.model import draft_model
from planner.draft.rows_in_time.features import history_view, row_view, whole_days
from planner.draft.rows_in_time.subject import repeated_keys, row_subject
from planner.draft.rows_in_time.times import later_notes
from planner.draft.target import draft_target
from planner.profile.column import column_value

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import duckdb

    from planner.draft.rows_in_time.times import RowTimes
    from planner.draft.sheet import Sheet
    from planner.draft.target import Target
    from planner.draft.task import ColumnTask
    from planner.profile.column import Column
    from planner.profile.profile import Profile, Table

_DAY = timedelta(days=1)
#: Rows with a label that each part needs, and of a class.
_LEAST_ROWS, _LEAST_OF_CLASS = 20, 5
#: Shares of the rows from which on the rows validate, and test.
_VALIDATION, _TEST = 0.6, 0.8
_LINKED_KEYS = 3


@dataclass(frozen=True)
class Parts:
    """The instants of a temporal split: first and last example, the first ones of the later parts, the end of the data."""

    start: datetime
    validation: datetime
    test: datetime
    end: datetime
    cut: datetime

    @property
    def days(self) -> int:
        """The length of the history in days."""
        return max(1, (self.end - self.start).days)


def find_parts(
    connection: duckdb.DuckDBPyConnection, table: Table, times: RowTimes, target: Target, zone: str
) -> Parts | None:
    """Return the parts of the rows in time, a delay of the label apart; None if a part had too few rows of a class."""
    at = f"CAST({column_value(table.loaded, times.instant)} AS TIMESTAMP)"
    if times.instant.kind == "date":
        at = f"({at} + INTERVAL 1 DAY)"
    elif zone != "UTC":
        at = f"timezone('UTC', timezone({literal(zone)}, {at}))"
    relation = f"(SELECT {at} AS instant, {target.sql} AS label FROM {table.loaded.relation})"
    ((first, last),) = connection.execute(f"SELECT min(instant), max(instant) FROM {relation}").fetchall()
    cut = _midnight(last) if last == _midnight(last) else _midnight(last) + _DAY
    start, end = _midnight(first), cut - times.delay
    for validation, test in _cuts(connection, relation, start, end, times.delay):
        bounds = [
            (start, validation - times.delay),
            (validation, test - times.delay),
            (test, end + timedelta(seconds=1)),
        ]
        if all(_is_enough(connection, relation, target, *each) for each in bounds):
            return Parts(*(one.replace(tzinfo=UTC) for one in (start, validation, test, end, cut)))
    return None


def _cuts(
    connection: duckdb.DuckDBPyConnection, relation: str, start: datetime, end: datetime, delay: timedelta
) -> Iterator[tuple[datetime, datetime]]:
    """Yield where to cut: at shares of the rows, and for a long delay at shares of the time besides the gaps."""
    ((validation, test),) = connection.execute(
        f"SELECT quantile_disc(instant, {_VALIDATION}), quantile_disc(instant, {_TEST}) FROM {relation} "
        f"WHERE label IS NOT NULL AND instant <= TIMESTAMP '{end}'"
    ).fetchall()
    if validation is not None:
        yield (_midnight(validation) + _DAY, _midnight(test) + _DAY)
        yield validation, test
    part = (end - start - 2 * delay) * (1 - _TEST)
    yield end - 2 * part - delay, end - part


def _is_enough(
    connection: duckdb.DuckDBPyConnection, relation: str, target: Target, begin: datetime, end: datetime
) -> bool:
    """Return whether enough labels lie in [begin, end), of two classes at least if there are classes."""
    rows = connection.execute(
        f"SELECT count(*) FROM {relation} WHERE label IS NOT NULL "
        f"AND instant >= TIMESTAMP '{begin}' AND instant < TIMESTAMP '{end}' "
        f"GROUP BY {'true' if target.problem == 'regression' else 'label'}"
    ).fetchall()
    counts = [int(count) for (count,) in rows]
    has_classes = target.problem == "regression" or sum(one >= _LEAST_OF_CLASS for one in counts) > 1
    return sum(counts) >= _LEAST_ROWS and has_classes


def _midnight(time: datetime) -> datetime:
    return datetime(time.year, time.month, time.day)  # noqa: DTZ001 - UTC without a zone, as DuckDB returns it


def draft_rows(
    sheet: Sheet,
    connection: duckdb.DuckDBPyConnection,
    profile: Profile,
    table: Table,
    column: Column,
    task: ColumnTask,
    times: RowTimes,
    key: str | None,
    folder: Path,
) -> bool:
    """Put all sections of a plan whose examples are rows as of their times into the sheet; return whether rows allow it.

    Raises
    ------
    PantheraError
        If the target, the key or the rows do not allow a plan.

    """
    target = draft_target(sheet, connection, table, column, task)
    zone = _zone(sheet, times.instant)
    parts = find_parts(connection, table, times, target, zone)
    if parts is None:
        why = f"too few rows in a part of the rows by {times.instant.raw!r}, or of one class"
        sheet.notes.append(f"the rows are split at random, not in time: {why}")
        return False
    timed = {one.name for one in table.columns if one.is_time}
    repeated = repeated_keys(profile, table, {column.name, *timed})
    own = row_subject(sheet, connection, table, repeated, times.instant, key)
    linked: list[Column] = []
    if own is None:
        table, own = draft_key(sheet, connection, table, column, key, folder)
        entity, linked = entity_name(table, own), repeated[:_LINKED_KEYS]
    else:
        entity = entity_of(own, None)
    features = draft_features(
        sheet, connection, table, {own.name, column.name, *timed, *(one.name for one in linked)}, target
    )
    put_project(sheet, table, target, task)
    sheet.put(f"entities.{entity}", {"key": own.name, "dtype": own.dtype, "source": table.name})
    events = Events(table, own, times.instant, parts.start, parts.end)
    draft_timed_source(sheet, connection, events, entity, parts.cut, folder)
    label = {**target.section, "delay": f"{whole_days(times.delay)}d"}
    sheet.put("label", label, f"{target.rows:,} of {table.rows:,} rows have a label", rows=table.rows)
    sheet.notes += later_notes(times)
    sheet.put("build_features.snapshots", {"start": written(parts.start), "end": written(parts.cut)})
    joined = draft_look_ups(sheet, connection, profile, table, folder)
    own_columns, keys = key_features(sheet, features)
    row_view(sheet, table, [*own_columns, *joined], keys, times, zone, parts.days)
    views = [VIEW]
    if not linked:
        views.append(history_view(sheet, connection, table, own, features, times, target, parts.days, None))
    views += [_linked(sheet, connection, table, one, features, times, target, parts.days) for one in linked]
    sheet.put("build_features.services", {"everything": [f"{view}.*" for view in views]})
    _training_set(sheet, table, times, parts)
    sheet.put("materialize.as_of", written(parts.cut))
    draft_model(sheet, sheet.plan["project"]["name"], shape_of(target, [*features, *joined]))
    put_groups(sheet, features)
    return True


def _linked(
    sheet: Sheet,
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    key: Column,
    features: list[Column],
    times: RowTimes,
    target: Target,
    days: int,
) -> str:
    """Put an entity that rows are linked to into the sheet, and the view over its earlier rows; return the view's name."""
    view, name, entity = "links", f"of_{key.name}"[:40], entity_of(key, None)
    if entity in sheet.plan["entities"]:
        entity = f"one_{key.name}"[:40]
    sheet.put(f"entities.{entity}", {"key": key.name, "dtype": key.dtype, "of": f"{view}.{name}"})
    stated = {"sql": f'last("{key.name}" ORDER BY event_time)', "dtype": key.dtype, "meaning": f"key of the {entity}"}
    section = sheet.plan["build_features"]["views"]
    ttl = section[VIEW]["ttl"]
    section.setdefault(view, {"source": table.name, "ttl": ttl, "every": "row", "features": {}})
    section[view]["features"][name] = stated
    return history_view(sheet, connection, table, key, features, times, target, days, entity)


def _zone(sheet: Sheet, instant: Column) -> str:
    has_own = instant.has_zone or instant.found == "TIMESTAMP WITH TIME ZONE"
    return "UTC" if has_own else str(sheet.answers.get("zone", "UTC"))


def _training_set(sheet: Sheet, table: Table, times: RowTimes, parts: Parts) -> None:
    sheet.put("training_set.service", "everything")
    as_of = {"start": written(parts.start), "end": written(parts.end), "each_row_of": table.name}
    why = f"each row is an example, as of {times.instant.raw!r}; the last ones are those whose target is known"
    sheet.put("training_set.as_of", as_of, why)
    split = {
        "kind": "temporal",
        "validation_from": written(parts.validation),
        "test_from": written(parts.test),
        "gap": f"{whole_days(times.delay)}d",
    }
    why = "in time: rows after the first 60 % and 80 % validate and test, and no label looks into the next part"
    sheet.put("training_set.split", split, why)
