"""The rows that the offline store looks for without an entity frame: keys and instants of views, ranges and their order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL

from feature_repo.join.time_line import INSTANT, NEVER, instants, microseconds
from feature_repo.stores.entity_frame import AS_OF

if TYPE_CHECKING:
    from feature_repo.join.point_in_time import Part, ViewJoin

#: The as-of column of `every_key`; no column of a file has this name.
END = "\0end"


def aware(time: datetime) -> datetime:
    """Return the time with its zone; a naive one is UTC, by Feast's convention."""
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def every_key(view: ViewJoin, end: datetime) -> pa.Table:
    """Return the distinct keys of a view's rows, each as of `end`."""
    names = [name for name, _ in view.keys]
    if not names:
        return pa.table({END: pa.array([end], INSTANT)})
    keys = pa.concat_tables(_distinct(read(names)) for read in view.parts)
    keys = _distinct(keys)
    return keys.append_column(END, pa.array([end] * len(keys), INSTANT))


def _distinct(rows: pa.Table) -> pa.Table:
    return rows.group_by(rows.column_names, use_threads=False).aggregate([])


def every_instant(views: list[ViewJoin], start: datetime, end: datetime) -> pa.Table:
    """Return the distinct (keys, instant) of the views' rows from `start` to `end`; with the cutoff, when each was known."""
    instants_of_parts = pa.concat_tables(
        (_instants_of(view, read, start, end) for view in views for read in view.parts), promote_options="permissive"
    )
    rows = _distinct(instants_of_parts)
    return rows.sort_by([(name, "ascending") for name in [AS_OF, *rows.drop_columns(AS_OF).column_names]])


def _instants_of(view: ViewJoin, read: Part, start: datetime, end: datetime) -> pa.Table:
    rows = read(view.key_and_time_columns)
    known = microseconds(rows.column(view.event_time), view.event_time)
    if view.cutoff and view.created_time:
        created = microseconds(rows.column(view.created_time), view.created_time)
        known = np.where(created == NEVER, NEVER, np.maximum(known, created))
    columns = {entity_key: rows.column(key) for entity_key, key in view.keys}
    return _distinct(between(pa.table({**columns, AS_OF: instants(known)}), AS_OF, start, end))


def between(rows: pa.Table, timestamp_field: str, start: datetime | None, end: datetime | None) -> pa.Table:
    """Return the rows with start <= time <= end; naive bounds are UTC, by Feast's convention."""
    times = microseconds(rows.column(timestamp_field), timestamp_field)
    inside = times != NEVER
    if start is not None:
        inside &= times >= _microseconds_of(start)
    if end is not None:
        inside &= times <= _microseconds_of(end)
    return rows if inside.all() else rows.filter(pa.array(inside))


def in_order(rows: pa.Table, times: list[str]) -> pa.Table:
    """Return the rows sorted by event time, then created time, so that a sequential writer ends with the latest."""
    return rows.take(np.lexsort([microseconds(rows.column(name), name) for name in reversed(times)]))


def _microseconds_of(time: datetime) -> int:
    return (aware(time) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def with_dummy_key(rows: pa.Table, keys: list[str]) -> pa.Table:
    """Return rows of a view without an entity with Feast's dummy key; other rows as they are."""
    if keys:
        return rows
    return rows.append_column(DUMMY_ENTITY_ID, pa.array([DUMMY_ENTITY_VAL] * len(rows), pa.string()))
