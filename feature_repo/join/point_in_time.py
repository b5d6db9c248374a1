"""The point-in-time join: for each (entity, as_of), the latest row of a view that was knowable then.

A row counts if its event time <= as_of and, under the cutoff, its created time <= as_of. The row with the latest event time
wins; ties go to the latest created time, then to the last position. A winner with event time < as_of - ttl is expired, and
nulls are joined.

Finding the winners reads keys and times only, in arrays that are sorted once and searched by bisection. The features of the
winners are then read from the files, one part of a view's files after another.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.errors import SourceError
from feature_repo.join.arrow_arrays import empty, gather
from feature_repo.join.key_codes import KeyCodes, common_type, encode
from feature_repo.join.time_line import NEVER, TimeLine, in_order, microseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    Integers = npt.NDArray[np.int64]
    #: Reads the given columns; every call returns the same rows in the same order.
    Part = Callable[[list[str]], pa.Table]
    #: Key columns of the entity rows with the types in which they are compared.
    Keys = tuple[tuple[str, pa.DataType], ...]

#: Bytes of the rows that one call takes from a table, by their mean length.
_CHUNK_BYTES = 1 << 28
#: Entity rows in one lookup, few enough that intermediate arrays stay in the processor's cache.
_BLOCK = 1 << 13
#: Views that are joined concurrently, hence the most parts in memory.
_CONCURRENT_VIEWS = 4


@dataclass(frozen=True)
class ViewJoin:
    """One view to be joined.

    Attributes
    ----------
    parts : the rows of the view, at least one part; one part at a time is in memory.
    keys : pairs (column in the entity rows, column in the parts); empty for a view without an entity.
    event_time, created_time : timestamp columns of the parts; times without a zone are UTC.
    cutoff : whether a row counts only from its created time on; otherwise the created time only breaks ties.
    ttl : None: a row never expires.
    columns : pairs (column in the parts, name in the result).

    """

    parts: Sequence[Part]
    keys: tuple[tuple[str, str], ...]
    event_time: str
    created_time: str | None
    cutoff: bool
    ttl: timedelta | None
    columns: tuple[tuple[str, str], ...]

    @property
    def key_and_time_columns(self) -> list[str]:
        """The columns of keys and times in the parts."""
        created = [self.created_time] if self.created_time else []
        return list(dict.fromkeys([*(theirs for _, theirs in self.keys), self.event_time, *created]))


def point_in_time_join(entity_rows: pa.Table, as_of: str, views: Sequence[ViewJoin]) -> pa.Table:
    """Return `entity_rows` with the features of each view; order and number of rows stay.

    Parameters
    ----------
    entity_rows : table with the key columns and the timestamp column `as_of`; a row with a null in them matches nothing.
    as_of : name of the timestamp column.
    views : the views to join, in the order of the result's columns.

    Returns
    -------
    The columns of `entity_rows`, then those of each view; null where no row was knowable or the winner was expired.

    Raises
    ------
    SourceError
        If keys cannot be compared, a time column holds no times, or two columns of the result have the same name.

    """
    _check_names(entity_rows, views)
    sorted_rows = _SortedEntityRows(entity_rows, microseconds(entity_rows.column(as_of), as_of))

    def features(view: ViewJoin) -> pa.Table:
        return _features(view, *_find_winners(view, sorted_rows))

    result = entity_rows
    with ThreadPoolExecutor(_CONCURRENT_VIEWS) as pool:
        for view, joined in zip(views, pool.map(features, views), strict=True):
            for column, name in view.columns:
                result = result.append_column(name, joined.column(column))
    return result


def _check_names(entity_rows: pa.Table, views: Sequence[ViewJoin]) -> None:
    names = [*entity_rows.column_names, *(name for view in views for _, name in view.columns)]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise SourceError(
            f"the result would have more than one column {', '.join(map(repr, repeated))}; "
            "ask with full_feature_names=True, or rename the columns of the entity rows"
        )


@dataclass(frozen=True)
class _Lookup:
    """The entity rows that can match, sorted by key code and as_of.

    Attributes
    ----------
    encoder : the codes of the keys of the entity rows.
    index : the index of each sorted row in the entity rows.
    codes : the code of the key of each sorted row.
    times : the as_of of each sorted row.

    """

    encoder: KeyCodes
    index: Integers
    codes: Integers
    times: Integers

    @classmethod
    def from_columns(cls, columns: list[pa.ChunkedArray], times: Integers) -> _Lookup:
        encoder, codes = encode(columns, len(times))
        index = np.flatnonzero((codes >= 0) & (times != NEVER))
        if len(index) < len(times):
            codes, times = gather(codes, index), gather(times, index)
        (points,) = TimeLine.fit(len(encoder), times).points(codes, times)
        order, _ = in_order(points)
        if order is None:
            return cls(encoder, index, codes, times)
        return cls(encoder, gather(index, order), gather(codes, order), gather(times, order))


class _SortedEntityRows:
    """The entity rows, sorted once for all views with the same keys."""

    def __init__(self, entity_rows: pa.Table, times: Integers) -> None:
        self._rows = entity_rows
        self._times = times
        self._sorted: dict[Keys, _Lookup] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._rows)

    def by(self, keys: Keys) -> _Lookup:
        """Return the rows sorted by key columns in the given types."""
        with self._lock:
            if keys not in self._sorted:
                columns = [self._rows.column(name).cast(dtype) for name, dtype in keys]
                self._sorted[keys] = _Lookup.from_columns(columns, self._times)
            return self._sorted[keys]

    def keys(self, view: ViewJoin, table: pa.Table) -> Keys:
        """Return the key columns of a view, with the types in which they are compared with those of `table`."""
        return tuple(
            (entity_key, common_type(entity_key, self._rows.column(entity_key).type, key, table.column(key).type))
            for entity_key, key in view.keys
        )


@dataclass(frozen=True)
class _ViewRows:
    """The keys and times of a part's rows.

    Attributes
    ----------
    index : the index of each row in the part; None if the rows are all rows of the part in order.
    codes : the code of each row's key.
    event, created : the times of each row in microseconds.

    """

    index: Integers | None
    codes: Integers
    event: Integers
    created: Integers

    def at(self, chosen: Integers) -> _ViewRows:
        index = chosen if self.index is None else gather(self.index, chosen)
        return _ViewRows(index, gather(self.codes, chosen), gather(self.event, chosen), gather(self.created, chosen))

    def index_in_part(self, chosen: Integers) -> Integers:
        """Return the index in the part of the `chosen` rows; -1 stays -1."""
        if self.index is None or not len(self.index):
            return chosen
        return np.where(chosen < 0, -1, gather(self.index, chosen))


def _find_winners(view: ViewJoin, entity_rows: _SortedEntityRows) -> tuple[Integers, list[int]]:
    """Return the winner of each entity row.

    Returns
    -------
    The index of each winner among the rows of all parts, -1 where there is none; and the index where each part starts.

    """
    winners, starts = empty(len(entity_rows)), [0]
    winners.fill(-1)
    newest = _Newest(len(entity_rows) if len(view.parts) > 1 else 0)
    for read in view.parts:
        table = read(view.key_and_time_columns)
        keys = entity_rows.keys(view, table)
        lookup = entity_rows.by(keys)
        rows = _comparable(view, table, lookup.encoder, keys)
        rows, best = _best_known(lookup, rows, cutoff=view.cutoff, ttl=view.ttl)
        index, found = lookup.index, rows.index_in_part(best)
        if len(view.parts) > 1:
            newer = newest.update(index, rows, best)
            index, found = index[newer], starts[-1] + found[newer]
        winners[index] = found
        starts.append(starts[-1] + len(table))
    return winners, starts


class _Newest:
    """The times of the best row for each entity row in the parts so far."""

    def __init__(self, rows: int) -> None:
        self._event = np.full(rows, NEVER)
        self._created = np.full(rows, NEVER)

    def update(self, index: Integers, rows: _ViewRows, best: Integers) -> Integers:
        """Merge the `best` rows of the next part for the entity rows at `index`; return the positions that improved."""
        found = np.flatnonzero(best >= 0)
        index, event, created = index[found], rows.event[best[found]], rows.created[best[found]]
        newer = event > self._event[index]
        newer |= (event == self._event[index]) & (created >= self._created[index])
        self._event[index[newer]], self._created[index[newer]] = event[newer], created[newer]
        return found[newer]


def _comparable(view: ViewJoin, table: pa.Table, encoder: KeyCodes, keys: Keys) -> _ViewRows:
    """Return the rows of a part whose key occurs in the entity rows and whose times are not null."""
    columns = [table.column(name).cast(dtype) for (_, name), (_, dtype) in zip(view.keys, keys, strict=True)]
    event = microseconds(table.column(view.event_time), view.event_time)
    created = event if view.created_time is None else microseconds(table.column(view.created_time), view.created_time)
    rows = _ViewRows(None, encoder.codes(columns, len(table)), event, created)
    counts = (rows.codes >= 0) & (event != NEVER)
    if view.cutoff:
        counts &= created != NEVER
    return rows if counts.all() else rows.at(np.flatnonzero(counts))


def _best_known(lookup: _Lookup, rows: _ViewRows, *, cutoff: bool, ttl: timedelta | None) -> tuple[_ViewRows, Integers]:
    """Return the best row of a part for each entity row.

    Returns
    -------
    The rows sorted by key and event time, and for each entity row the index of the best of them; -1 where there is none.

    """
    best = empty(len(lookup.codes))
    if not len(rows.codes):
        best.fill(-1)
        return rows, best
    known = np.maximum(rows.event, rows.created, out=empty(len(rows.codes))) if cutoff else rows.event
    line = TimeLine.fit(len(lookup.encoder), rows.event, known, lookup.times)
    happened, *became_known = line.points(rows.codes, *((rows.event, known) if cutoff else (rows.event,)))
    order, points = in_order(happened, rows.created)
    if order is not None:
        rows = rows.at(order)
    if cutoff:
        points = _first_known(became_known[0] if order is None else gather(became_known[0], order))
    for start in range(0, len(best), _BLOCK):
        block = slice(start, start + _BLOCK)
        codes, times = lookup.codes[block], lookup.times[block]
        (instants,) = line.points(codes, times)
        # The instants are sorted, so the results of the first and the last bound those of all.
        begin, end = np.searchsorted(points, instants[[0, -1]], side="right")
        last = np.searchsorted(points[begin:end], instants, side="right")
        last += begin - 1
        found = (last >= 0) & (rows.codes[last] == codes)
        if ttl is not None:
            found &= times - rows.event[last] <= ttl // timedelta(microseconds=1)
        best[block] = np.where(found, last, -1)
    return rows, best


def _first_known(known: Integers) -> Integers:
    """Suffix minimum: when this event or any later one of its key was first known.

    The result never decreases, and where it increases the row itself became known at that point. So the last element that is
    not after an instant belongs to the latest event known then.

    Parameters
    ----------
    known : when each row became known, as points of a `TimeLine` (which separates the keys), in order of the events. It is
        overwritten.

    """
    return np.minimum.accumulate(known[::-1], out=known[::-1])[::-1]


def _features(view: ViewJoin, winners: Integers, starts: list[int]) -> pa.Table:
    """Read the features of the winners; return a table with one row for each entity row."""
    columns = list(dict.fromkeys(column for column, _ in view.columns))
    if len(view.parts) == 1:
        return _take(view.parts[0](columns), winners)
    tables: list[pa.Table] = []
    row_of, count = np.full(len(winners), -1), 0
    part = np.searchsorted(starts, winners, side="right") - 1
    for number in np.unique(part[part >= 0]).tolist() or [0]:
        index = np.flatnonzero(part == number)
        row_of[index] = np.arange(count, count + len(index))
        tables.append(_take(view.parts[number](columns), winners[index] - starts[number]))
        count += len(index)
    return _take(pa.concat_tables(tables), row_of)


def _take(table: pa.Table, rows: Integers) -> pa.Table:
    """Return rows of a table by index; -1 becomes a row of nulls."""
    if len(rows) and rows.max() >= len(table):
        raise SourceError(
            f"a view has {len(table)} rows where it had more; its files changed while it was read; run again"
        )
    absent = rows < 0
    index = pa.array(rows, mask=absent if absent.any() else None)
    # Arrow addresses a chunk of text by 32-bit offsets.
    chunk_rows = _CHUNK_BYTES // max(1, table.nbytes // max(1, len(table))) + 1
    return pa.concat_tables(
        # Arrow would check the bounds again for every column.
        pc.take(table, index.slice(start, chunk_rows), boundscheck=False)
        for start in range(0, max(len(rows), 1), chunk_rows)
    )
