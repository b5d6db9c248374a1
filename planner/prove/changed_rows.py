"""Accepted rows with random changes in all that was not knowable at an instant; everything else is unchanged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_repo.join.time_line import INSTANT, microseconds

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    import numpy.typing as npt

    from planner.prove.later_times import LaterTimes

    Booleans = npt.NDArray[np.bool_]
    Integers = npt.NDArray[np.int64]
    Places = npt.NDArray[np.intp]

#: The columns that stay: by its times a row stays unknown, and its number tells it from others.
_KEPT = frozenset({"event_timestamp", "created_timestamp", "source_row"})
_REMOVED_SHARE = 0.5
_NEVER = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Changeable:
    """What may change in the rows of a source.

    Attributes
    ----------
    key : its entity's key column.
    has_time : whether its rows have times; otherwise every row is known, and only its later times change.
    later : the columns that were filled in after the rows.

    """

    key: str
    has_time: bool
    later: LaterTimes

    @property
    def changes(self) -> bool:
        """Whether anything in its rows depends on the instant."""
        return self.has_time or bool(self.later.happened)


def write_changed_rows(
    accepted: Path, sources: Mapping[str, Changeable], as_of: datetime, folder: Path, rng: np.random.Generator
) -> int:
    """Write accepted rows to `folder`, with changes in what was not knowable at `as_of`; return the number of changed rows.

    Parameters
    ----------
    accepted : folder of the accepted rows.
    sources : what may change in each source; the tables of other sources are linked, not copied.

    """
    changed = 0
    for table in sorted(path for path in accepted.iterdir() if path.is_dir()):
        source = sources.get(table.name)
        if source is None or not source.changes:
            (folder / table.name).symlink_to(table.resolve(), target_is_directory=True)
            continue
        (folder / table.name).mkdir()
        for file in sorted(table.glob("*.parquet")):
            rows, number = _changed(pq.read_table(file), source, as_of, rng)
            changed += number
            pq.write_table(rows, folder / table.name / file.name)
    return changed


def _changed(rows: pa.Table, source: Changeable, as_of: datetime, rng: np.random.Generator) -> tuple[pa.Table, int]:
    """Return rows with changes in what was not knowable at `as_of`, and the number of changed rows."""
    unknown = _unknown_rows(rows, source, as_of)
    later = _later_cells(rows, source, as_of) & ~unknown[:, np.newaxis]
    filled = _with_later_cells(rows, source, later, rng)
    return (
        _with_changes(filled, np.flatnonzero(unknown), source, rng),
        int(np.count_nonzero(unknown | later.any(axis=1))),
    )


def _unknown_rows(rows: pa.Table, source: Changeable, as_of: datetime) -> Booleans:
    """Return whether each row happened or became known after `as_of`."""
    if not source.has_time:
        return np.zeros(len(rows), bool)
    times = [microseconds(rows.column(name), name) for name in ("event_timestamp", "created_timestamp")]
    times += [_times(rows.column(name)) for name in source.later.arrived]
    return np.asarray(np.max(times, axis=0) > _microseconds(as_of))


def _microseconds(as_of: datetime) -> int:
    (time,) = microseconds(pa.chunked_array([[as_of]], INSTANT), "as_of")
    return int(time)


def _times(column: pa.ChunkedArray) -> Integers:
    """Return dates and times in microseconds; a null is earlier than all times."""
    times = column.cast(pa.timestamp("us", column.type.tz if pa.types.is_timestamp(column.type) else None))
    return np.asarray(pc.fill_null(times.cast(pa.int64()), _NEVER).to_numpy(zero_copy_only=False))


def _later_cells(rows: pa.Table, source: Changeable, as_of: datetime) -> Booleans:
    """Return whether each row states a later time than `as_of`, by column of `happened` and then of `updated`."""
    names = [*source.later.happened, *source.later.updated]
    cells = [_times(rows.column(name)) > _microseconds(as_of) for name in names]
    return np.stack(cells, axis=1) if cells else np.zeros((len(rows), 0), bool)


def _with_later_cells(rows: pa.Table, source: Changeable, later: Booleans, rng: np.random.Generator) -> pa.Table:
    """Return `rows` with changes in the cells that were filled in later.

    Half of what happened later has not happened any more: the time and what came with it are null. The other half happens
    even later. Of a row that was updated later, all values but its key and its times become those of random rows.
    """
    times = source.later
    for place, (time, others) in enumerate(times.happened.items()):
        is_later = later[:, place]
        is_null = is_later & (rng.random(len(rows)) < _REMOVED_SHARE)
        postponed = _postponed(rows.column(time), rng)
        rows = _replaced(_replaced(rows, time, is_later, postponed), time, is_null, None)
        for other in others:
            rows = _replaced(_replaced(rows, other, is_later, _drawn(rows, other, rng)), other, is_null, None)
    is_updated = np.asarray(later[:, len(times.happened) :].any(axis=1), np.bool_)
    kept = {*_KEPT, source.key, *times.happened, *times.updated, *times.arrived}
    for other in rows.column_names if times.updated else ():
        if other not in kept:
            rows = _replaced(rows, other, is_updated, _drawn(rows, other, rng))
    return rows


def _replaced(rows: pa.Table, name: str, places: Booleans, values: pa.ChunkedArray | None) -> pa.Table:
    """Return `rows` with other values of a column at `places`; null without `values`."""
    old = rows.column(name)
    new = pa.scalar(None, old.type) if values is None else values
    return rows.set_column(rows.column_names.index(name), name, pc.if_else(pa.array(places), new, old))


def _postponed(column: pa.ChunkedArray, rng: np.random.Generator) -> pa.ChunkedArray:
    plain = pa.int32() if pa.types.is_date32(column.type) else pa.int64()
    bounds = pc.min_max(column.cast(plain)).as_py()
    spread = (bounds["max"] or 0) - (bounds["min"] or 0) + 2
    return pc.add(column.cast(plain), pa.array(rng.integers(1, spread, len(column))).cast(plain)).cast(column.type)


def _drawn(rows: pa.Table, name: str, rng: np.random.Generator) -> pa.ChunkedArray:
    """Return values of random rows, moved."""
    whole = rows.column(name)
    return _moved(whole.take(pa.array(rng.integers(0, len(rows), len(rows)))), whole, rng) if len(rows) else whole


def _with_changes(rows: pa.Table, unknown: Places, source: Changeable, rng: np.random.Generator) -> pa.Table:
    """Return `rows` with half of the `unknown` rows removed; the others get random values, column by column.

    A key becomes the key of a random row. Any other value becomes that of a random row, moved so that it may exceed their
    range.
    """
    if not len(unknown):
        return rows
    removed = rng.random(len(unknown)) < _REMOVED_SHARE
    removed[0] = True
    kept = np.delete(np.arange(len(rows)), unknown[removed])
    is_changed = np.isin(kept, unknown)

    def column(name: str) -> pa.ChunkedArray:
        whole = rows.column(name)
        if name in _KEPT or name in source.later.arrived:
            return whole.take(pa.array(kept))
        places = np.where(is_changed, rng.integers(0, len(rows), len(kept)), kept)
        drawn = whole.take(pa.array(places))
        return drawn if name == source.key else pc.if_else(pa.array(is_changed), _moved(drawn, whole, rng), drawn)

    return pa.table({name: column(name) for name in rows.column_names})


def _moved(drawn: pa.ChunkedArray, whole: pa.ChunkedArray, rng: np.random.Generator) -> pa.ChunkedArray:
    """Return `drawn` with each value moved; nulls stay, and so do values of types without arithmetic."""
    number, kind = len(drawn), drawn.type
    if pa.types.is_boolean(kind):
        return pc.xor(drawn, pa.array(rng.random(number) < _REMOVED_SHARE))
    if pa.types.is_string(kind):
        return pc.binary_join_element_wise(drawn, pa.array(rng.integers(0, 1000, number)).cast(pa.string()), "~")
    if pa.types.is_temporal(kind):
        plain = pa.int32() if pa.types.is_date32(kind) else pa.int64()
        return _moved(drawn.cast(plain), whole.cast(plain), rng).cast(kind)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        bounds = pc.min_max(whole.cast(pa.float64())).as_py()
        spread = (bounds["max"] or 0) - (bounds["min"] or 0) + 1
        return pc.add(drawn, pa.array(np.rint(rng.normal(0, spread, number))).cast(kind, safe=False))
    return drawn
