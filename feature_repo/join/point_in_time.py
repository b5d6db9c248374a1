"""The point-in-time join: for each (entity, as of), the row of a view that was knowable then, and no later one.

A row counts when its event time <= as of and, under the cutoff, its created time <= as of. Among those the one with the
latest event time wins, among equal event times the one created last, among equals the one that stands last. A winner
whose event time is before as of - ttl is expired: nothing is joined.

Only keys and times are looked at to find the winners, in arrays that are sorted once and searched by bisection. Their
features are then taken from the files, one part of a view's files after another, as they are stored.
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
from feature_repo.join.arrow_arrays import blank, gather
from feature_repo.join.key_codes import KeyCodes, common_type, encode
from feature_repo.join.time_line import NEVER, TimeLine, in_order, microseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    Integers = npt.NDArray[np.int64]
    #: Reads the columns that it is asked for: always the same rows, in the same order.
    Part = Callable[[list[str]], pa.Table]
    #: Key columns of the entity rows with the types in which they are compared.
    Keys = tuple[tuple[str, pa.DataType], ...]

#: Rows of so many bytes, at their mean length, are taken at once.
_CHUNK_BYTES = 1 << 28
#: Entity rows that are looked up at once: what is computed of them stays in the processor's cache.
_BLOCK = 1 << 13
#: Views that are worked on at the same time, hence parts that are in memory.
_AT_ONCE = 4


@dataclass(frozen=True)
class ViewJoin:
    """One view to be joined.

    Attributes
    ----------
    parts : the rows of the view, at least one part; one at a time is held in memory.
    keys : pairs (column in the entity rows, column in the parts); none for a view that is about no entity.
    event_time, created_time : timestamp columns of the parts; times without a zone are UTC.
    cutoff : whether a row counts from its created time on only; else that only breaks ties.
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
    def compared(self) -> list[str]:
        """The columns of keys and times in the parts."""
        created = [self.created_time] if self.created_time else []
        return list(dict.fromkeys([*(theirs for _, theirs in self.keys), self.event_time, *created]))


def point_in_time_join(entity_rows: pa.Table, as_of: str, views: Sequence[ViewJoin]) -> pa.Table:
    """Join the views, one after another, to `entity_rows`; the order and number of its rows are kept.

    Parameters
    ----------
    entity_rows : table with the key columns and the timestamp column `as_of`; a row with a null in them finds nothing.
    as_of : its name.
    views : what to join, in the order of the result's columns.

    Returns
    -------
    The columns of `entity_rows`, then those of each view; null where nothing was knowable or all was expired.

    Raises
    ------
    SourceError
        If keys cannot be compared, a time column holds no times, or two columns of the result have the same name.

    """
    _check_names(entity_rows, views)
    times = microseconds(entity_rows.column(as_of), as_of)

    asked = _Askers(entity_rows, times)

    def features(view: ViewJoin) -> pa.Table:
        return _features(view, *_find_winners(view, asked))

    result = entity_rows
    with ThreadPoolExecutor(_AT_ONCE) as beside:
        for view, found in zip(views, beside.map(features, views), strict=True):
            for theirs, name in view.columns:
                result = result.append_column(name, found.column(theirs))
    return result


def _check_names(entity_rows: pa.Table, views: Sequence[ViewJoin]) -> None:
    names = [*entity_rows.column_names, *(name for view in views for _, name in view.columns)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SourceError(
            f"the result would have more than one column {', '.join(map(repr, twice))}; "
            "ask with full_feature_names=True, or rename the columns of the entity rows"
        )


@dataclass(frozen=True)
class _Asked:
    """The entity rows, sorted by the code of their key and their as-of time; without those that can find nothing.

    Attributes
    ----------
    keys : the codes of the keys that were asked for.
    place : where each sorted row stands in the entity rows.

    """

    keys: KeyCodes
    place: Integers
    codes: Integers
    times: Integers

    @classmethod
    def of(cls, columns: list[pa.ChunkedArray], times: Integers) -> _Asked:
        keys, codes = encode(columns, len(times))
        place = np.flatnonzero((codes >= 0) & (times != NEVER))
        if len(place) < len(times):
            codes, times = gather(codes, place), gather(times, place)
        (points,) = TimeLine.fit(len(keys), times).points(codes, times)
        order, _ = in_order(points)
        if order is None:
            return cls(keys, place, codes, times)
        return cls(keys, gather(place, order), gather(codes, order), gather(times, order))


class _Askers:
    """The entity rows, sorted once for all views that have the same keys."""

    def __init__(self, entity_rows: pa.Table, times: Integers) -> None:
        self._rows = entity_rows
        self._times = times
        self._sorted: dict[Keys, _Asked] = {}
        self._lock = Lock()

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self._rows)

    def by(self, keys: Keys) -> _Asked:
        """Give them sorted by key columns in the given types."""
        with self._lock:
            if keys not in self._sorted:
                columns = [self._rows.column(name).cast(dtype) for name, dtype in keys]
                self._sorted[keys] = _Asked.of(columns, self._times)
            return self._sorted[keys]

    def keys(self, view: ViewJoin, table: pa.Table) -> Keys:
        """Name the key columns of a view, and the types in which they can be compared with those of its rows."""
        return tuple(
            (ours, common_type(ours, self._rows.column(ours).type, theirs, table.column(theirs).type))
            for ours, theirs in view.keys
        )


@dataclass(frozen=True)
class _Rows:
    """What of a part's rows is compared.

    Attributes
    ----------
    place : where each row stands in the part; None where that is its own number.
    codes : of the keys.

    """

    place: Integers | None
    codes: Integers
    event: Integers
    created: Integers

    def at(self, chosen: Integers) -> _Rows:
        place = chosen if self.place is None else gather(self.place, chosen)
        return _Rows(place, gather(self.codes, chosen), gather(self.event, chosen), gather(self.created, chosen))

    def places(self, chosen: Integers) -> Integers:
        """Say where the `chosen` of these rows stand in the part; -1 stays -1."""
        if self.place is None or not len(self.place):
            return chosen
        return np.where(chosen < 0, -1, gather(self.place, chosen))


def _find_winners(view: ViewJoin, asked: _Askers) -> tuple[Integers, list[int]]:
    """Find for each entity row its winner: its number among the rows of all parts, and -1 where there is none.

    Returns
    -------
    The winners, and the number with which each part starts.

    """
    winners, starts = blank(asked.rows), [0]
    winners.fill(-1)
    newest = _Newest(asked.rows if len(view.parts) > 1 else 0)
    for read in view.parts:
        table = read(view.compared)
        keys = asked.keys(view, table)
        frame = asked.by(keys)
        rows = _comparable(view, table, frame.keys, keys)
        rows, best = _best_known(frame, rows, cutoff=view.cutoff, ttl=view.ttl)
        place, found = frame.place, rows.places(best)
        if len(view.parts) > 1:
            newer = newest.take_in(place, rows, best)
            place, found = place[newer], starts[-1] + found[newer]
        winners[place] = found
        starts.append(starts[-1] + len(table))
    return winners, starts


class _Newest:
    """The times of the best row that each entity row has found in the parts so far."""

    def __init__(self, rows: int) -> None:
        self._event = np.full(rows, NEVER)
        self._created = np.full(rows, NEVER)

    def take_in(self, place: Integers, rows: _Rows, best: Integers) -> Integers:
        """Take in the `best` of another part's rows for the entity rows at `place`; tell which are the best now."""
        found = np.flatnonzero(best >= 0)
        place, event, created = place[found], rows.event[best[found]], rows.created[best[found]]
        newer = event > self._event[place]
        newer |= (event == self._event[place]) & (created >= self._created[place])
        self._event[place[newer]], self._created[place[newer]] = event[newer], created[newer]
        return found[newer]


def _comparable(view: ViewJoin, table: pa.Table, codes: KeyCodes, keys: Keys) -> _Rows:
    """Keep the rows of a part whose key was asked for and whose times are known."""
    columns = [table.column(theirs).cast(dtype) for (_, theirs), (_, dtype) in zip(view.keys, keys, strict=True)]
    event = microseconds(table.column(view.event_time), view.event_time)
    created = event if view.created_time is None else microseconds(table.column(view.created_time), view.created_time)
    rows = _Rows(None, codes.of(columns, len(table)), event, created)
    counts = (rows.codes >= 0) & (event != NEVER)
    if view.cutoff:
        counts &= created != NEVER
    return rows if counts.all() else rows.at(np.flatnonzero(counts))


def _best_known(asked: _Asked, rows: _Rows, *, cutoff: bool, ttl: timedelta | None) -> tuple[_Rows, Integers]:
    """Find the best of the rows of a part for each entity row.

    Returns
    -------
    The rows in order, and which of them is the best for each: -1 where there is none.

    """
    best = blank(len(asked.codes))
    if not len(rows.codes):
        best.fill(-1)
        return rows, best
    known = np.maximum(rows.event, rows.created, out=blank(len(rows.codes))) if cutoff else rows.event
    line = TimeLine.fit(len(asked.keys), rows.event, known, asked.times)
    happened, *became_known = line.points(rows.codes, *((rows.event, known) if cutoff else (rows.event,)))
    order, points = in_order(happened, rows.created)
    if order is not None:
        rows = rows.at(order)
    if cutoff:
        points = _first_known(became_known[0] if order is None else gather(became_known[0], order))
    for start in range(0, len(best), _BLOCK):
        block = slice(start, start + _BLOCK)
        codes, times = asked.codes[block], asked.times[block]
        (instants,) = line.points(codes, times)
        # They lie in order, so none is found outside of what the first and the last find.
        begin, end = np.searchsorted(points, instants[[0, -1]], side="right")
        last = np.searchsorted(points[begin:end], instants, side="right")
        last += begin - 1
        found = (last >= 0) & (rows.codes[last] == codes)
        if ttl is not None:
            found &= times - rows.event[last] <= ttl // timedelta(microseconds=1)
        best[block] = np.where(found, last, -1)
    return rows, best


def _first_known(known: Integers) -> Integers:
    """Of rows in the order of their events, say from when on one of them, this or a later one, is known.

    These never fall, and where they rise it is the row itself that becomes known then. So the last of them that is not after
    an instant belongs to the latest event that was known.

    Parameters
    ----------
    known : when the rows became known, as points on a line, hence the rows of one key are compared among themselves. It is
        overwritten.

    """
    return np.minimum.accumulate(known[::-1], out=known[::-1])[::-1]


def _features(view: ViewJoin, winners: Integers, starts: list[int]) -> pa.Table:
    """Read the features of the winners: a table with one row for each entity row."""
    columns = list(dict.fromkeys(theirs for theirs, _ in view.columns))
    if len(view.parts) == 1:
        return _take(view.parts[0](columns), winners)
    taken: list[pa.Table] = []
    found, count = np.full(len(winners), -1), 0
    part = np.searchsorted(starts, winners, side="right") - 1
    for number in np.unique(part[part >= 0]).tolist() or [0]:
        place = np.flatnonzero(part == number)
        found[place] = np.arange(count, count + len(place))
        taken.append(_take(view.parts[number](columns), winners[place] - starts[number]))
        count += len(place)
    return _take(pa.concat_tables(taken), found)


def _take(table: pa.Table, rows: Integers) -> pa.Table:
    """Take rows of a table by their places; -1 gives a row of nulls."""
    if len(rows) and rows.max() >= len(table):
        raise SourceError(
            f"a view has {len(table)} rows where it had more; its files changed while it was read; ask again"
        )
    none = rows < 0
    places = pa.array(rows, mask=none if none.any() else None)
    # A chunk of text is reached by 32-bit offsets.
    at_once = _CHUNK_BYTES // max(1, table.nbytes // max(1, len(table))) + 1
    return pa.concat_tables(
        # Arrow would check the places again for every column.
        pc.take(table, places.slice(start, at_once), boundscheck=False)
        for start in range(0, max(len(rows), 1), at_once)
    )
