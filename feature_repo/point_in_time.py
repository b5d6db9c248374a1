"""The point-in-time join: for each (entity, as of), the row of a view that was knowable then, and no later one.

A row counts when its event time <= as of and, under the cutoff, its created time <= as of. Among those the one with the
latest event time wins, among equal event times the one created last, among equals the one that stands last. A winner
whose event time is before as of - ttl is expired: nothing is joined.

Only keys and times are looked at to find the winners, in arrays that are sorted once and searched by bisection. Their
features are then taken from the files, one view and one part of its files after another, as they are stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from core.errors import SourceError
from feature_repo.key_codes import KeyCodes, common_type, encode
from feature_repo.time_line import NEVER, TimeLine, microseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    Integers = npt.NDArray[np.int64]
    #: Reads the columns that it is asked for: always the same rows, in the same order.
    Part = Callable[[list[str]], pa.Table]
    #: Key columns of the entity rows with the types in which they are compared.
    Keys = tuple[tuple[str, pa.DataType], ...]

#: Rows that are taken at once, so that a chunk of text stays far below the 2 GiB that 32-bit offsets reach.
_TAKEN = 1 << 17


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

    @cache
    def asked(keys: Keys) -> _Asked:
        return _Asked.of([entity_rows.column(name).cast(dtype) for name, dtype in keys], times)

    result = entity_rows
    for view in views:
        features = _take_winners(view, _find_winners(view, entity_rows, times, asked))
        for theirs, name in view.columns:
            result = result.append_column(name, features.column(theirs))
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
        place = place[TimeLine.fit(len(keys), times[place]).order(codes[place], times[place])]
        return cls(keys, place, codes[place], times[place])


@dataclass(frozen=True)
class _Rows:
    """What of a part's rows is compared.

    Attributes
    ----------
    place : where each row stands in the part.
    codes : of the keys.

    """

    place: Integers
    codes: Integers
    event: Integers
    created: Integers

    def at(self, chosen: npt.NDArray[np.bool_] | Integers | slice) -> _Rows:
        return _Rows(self.place[chosen], self.codes[chosen], self.event[chosen], self.created[chosen])


@dataclass(frozen=True)
class _Winners:
    """For each entity row the number of the part that has its winner, and the row there; -1 where there is none."""

    part: Integers
    row: Integers


def _find_winners(view: ViewJoin, entity_rows: pa.Table, times: Integers, asked: Callable[[Keys], _Asked]) -> _Winners:
    part, row = np.full(len(times), -1), np.full(len(times), -1)
    event, created = np.full(len(times), NEVER), np.full(len(times), NEVER)
    for number, read in enumerate(view.parts):
        table = read(view.compared)
        keys = tuple(
            (ours, common_type(ours, entity_rows.column(ours).type, theirs, table.column(theirs).type))
            for ours, theirs in view.keys
        )
        place, rows = _best_known(asked(keys), _comparable(view, table, asked(keys).keys, keys), cutoff=view.cutoff)
        newer = (rows.event > event[place]) | ((rows.event == event[place]) & (rows.created >= created[place]))
        place, rows = place[newer], rows.at(newer)
        part[place], row[place], event[place], created[place] = number, rows.place, rows.event, rows.created
    if view.ttl is not None:
        part[(part >= 0) & (times - event > view.ttl // timedelta(microseconds=1))] = -1
    return _Winners(part, row)


def _comparable(view: ViewJoin, table: pa.Table, codes: KeyCodes, keys: Keys) -> _Rows:
    """Keep the rows of a part whose key was asked for and whose times are known."""
    columns = [table.column(theirs).cast(dtype) for (_, theirs), (_, dtype) in zip(view.keys, keys, strict=True)]
    event = microseconds(table.column(view.event_time), view.event_time)
    created = event if view.created_time is None else microseconds(table.column(view.created_time), view.created_time)
    rows = _Rows(np.arange(len(table)), codes.of(columns, len(table)), event, created)
    counts = (rows.codes >= 0) & (event != NEVER)
    if view.cutoff:
        counts &= created != NEVER
    return rows if counts.all() else rows.at(counts)


def _best_known(asked: _Asked, rows: _Rows, *, cutoff: bool) -> tuple[Integers, _Rows]:
    """Find the best of the rows of a part; return where the entity rows stand that have one, and the row of each."""
    known = np.maximum(rows.event, rows.created) if cutoff else rows.event
    line = TimeLine.fit(len(asked.keys), known, asked.times)
    order = line.order(rows.codes, known, rows.event, rows.created)
    rows, known = rows.at(order), known[order]
    if cutoff and (known > rows.event).any():
        surpassing = _surpassing(rows, len(asked.keys))
        rows, known = rows.at(surpassing), known[surpassing]
    if not len(known):
        return asked.place[:0], rows
    latest = np.searchsorted(line.points(rows.codes, known), line.points(asked.codes, asked.times), side="right") - 1
    found = (latest >= 0) & (rows.codes[latest] == asked.codes)
    return asked.place[found], rows.at(latest[found])


def _surpassing(rows: _Rows, codes: int) -> npt.NDArray[np.bool_]:
    """Of rows in the order in which they became known, tell those whose event is no older than any known before.

    Rows may become known out of the order of their events. One that is older than what was known already is never the best;
    without those, the latest known row is the best.
    """
    events = TimeLine.fit(codes, rows.event).points(rows.codes, rows.event)
    surpassing: npt.NDArray[np.bool_] = events >= np.maximum.accumulate(events)
    return surpassing


def _take_winners(view: ViewJoin, winners: _Winners) -> pa.Table:
    """Read the features of the winners: a table with one row for each entity row."""
    columns = list(dict.fromkeys(theirs for theirs, _ in view.columns))
    if len(view.parts) == 1:
        return _take(view.parts[0](columns), np.where(winners.part >= 0, winners.row, -1))
    taken: list[pa.Table] = []
    found, count = np.full(len(winners.row), -1), 0
    for number in np.unique(winners.part[winners.part >= 0]).tolist() or [0]:
        place = np.flatnonzero(winners.part == number)
        found[place] = np.arange(count, count + len(place))
        taken.append(_take(view.parts[number](columns), winners.row[place]))
        count += len(place)
    return _take(pa.concat_tables(taken), found)


def _take(table: pa.Table, rows: Integers) -> pa.Table:
    """Take rows of a table by their places; -1 gives a row of nulls."""
    places = pa.array(rows, mask=rows < 0)
    starts = range(0, max(len(rows), 1), _TAKEN)
    return pa.concat_tables(table.take(places.slice(start, _TAKEN)) for start in starts)
