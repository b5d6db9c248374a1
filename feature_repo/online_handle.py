"""The prepared handle: read the online rows of many entities in several views, in one round trip.

It is built once, from what the loaded releases need; a read resolves nothing and builds no message.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeVar

from psycopg import AsyncRawCursor, RawCursor
from psycopg.types.numeric import Int8BinaryLoader

from core.contracts import Freshness, Key, ViewRead, instant_of, microseconds_of
from feature_repo.online_query import KeyOf, ViewPart, key_array, read_statement

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from psycopg import AsyncConnection, Connection

RawCursors = TypeVar("RawCursors", RawCursor[Any], AsyncRawCursor[Any])

# Asked of the enumeration once: it looks a name up by name every time.
_FRESH, _STALE, _MISSING = Freshness.FRESH, Freshness.STALE, Freshness.MISSING
_MICROSECOND = timedelta(microseconds=1)
_TIMESTAMPTZ = 1184


@dataclass(frozen=True)
class HandleLink:
    """Which column of which other view holds the key of a linked entity, and what its own views call that key."""

    view: str
    column: str
    key: str


@dataclass(frozen=True)
class HandleView:
    """One view to read: its online table, how long its rows are fresh, and which of its columns, in order.

    With a `link` it is about another entity than the one that is asked for: the one that the link names.
    """

    name: str
    online_table: str
    ttl: timedelta
    columns: tuple[str, ...]
    link: HandleLink | None = None


class OnlineHandle:
    """Reads the views it was built with; holds no connection."""

    def __init__(self, views: Sequence[HandleView], entity_key: str, entity_dtype: str) -> None:
        self.views = tuple(views)
        self._dtype = entity_dtype
        place_of = {view.name: place for place, view in enumerate(self.views)}
        #: The place of each linked view, and the name of the view that holds its link.
        self._links = [(place, view.link.view) for place, view in enumerate(self.views) if view.link]

        def part(view: HandleView) -> ViewPart:
            link = view.link
            key = (link.key, KeyOf(place_of[link.view], link.column)) if link else (entity_key, 0)
            return ViewPart(view.online_table, (key,), view.columns)

        self._statement = read_statement(tuple(map(part, self.views)), (entity_dtype,))
        ends = list(accumulate(1 + len(view.columns) for view in self.views))
        #: For each view where in a row its event time stands and its values end, and what it is where it is missing.
        self._places = [
            (view, begin, end, ViewRead(None, _MISSING, (None,) * len(view.columns)))
            for view, begin, end in zip(self.views, [0, *ends], ends, strict=False)
        ]
        #: Where in a row features stand.
        self._features = [place for _, begin, end, _ in self._places for place in range(begin + 1, end)]

    async def read(
        self, connection: AsyncConnection, keys: Sequence[Key], as_of: datetime
    ) -> list[dict[str, ViewRead]]:
        """Read the rows of `keys`, in their order, as they stand for a request as of `as_of`.

        A row whose event time is after `as_of` was not knowable then, so it is MISSING, as is one that is not there. A row
        older than the view's ttl is STALE. A linked view is MISSING unless the row that holds its link is FRESH: an old
        link may name the wrong entity.

        Raises
        ------
        psycopg.Error
            As the driver does: the caller owns the connection.

        """
        cursor = _counting(AsyncRawCursor(connection))
        await cursor.execute(self._statement, self._parameters(keys), prepare=True, binary=True)
        return self._split(await cursor.fetchall(), self._times(cursor), as_of)

    def read_blocking(self, connection: Connection, keys: Sequence[Key], as_of: datetime) -> list[dict[str, ViewRead]]:
        """Do what `read` does, for a caller that waits."""
        cursor = _counting(RawCursor(connection))
        cursor.execute(self._statement, self._parameters(keys), prepare=True, binary=True)
        return self._split(cursor.fetchall(), self._times(cursor), as_of)

    def _parameters(self, keys: Sequence[Key]) -> list[object]:
        return [key_array(keys, self._dtype)]

    def _times(self, cursor: RawCursor[Any] | AsyncRawCursor[Any]) -> list[int]:
        """List where in a row features stand that are times."""
        result = cursor.pgresult
        return [place for place in self._features if result.ftype(place) == _TIMESTAMPTZ] if result else []

    def _split(self, rows: Sequence[tuple[Any, ...]], times: list[int], as_of: datetime) -> list[dict[str, ViewRead]]:
        if times:
            rows = [_with_instants(row, times) for row in rows]
        now = microseconds_of(as_of)
        views = [
            (view.name, begin, begin + 1, end, now - view.ttl // _MICROSECOND, missing)
            for view, begin, end, missing in self._places
        ]
        reads = [_judged(row, views, now) for row in rows]
        for linked, of in self._links:
            name, missing = self.views[linked].name, self._places[linked][-1]
            for read in reads:
                if read[of].status is not _FRESH:
                    read[name] = missing
        return reads


def _counting(cursor: RawCursors) -> RawCursors:
    """Have a cursor give times as PostgreSQL counts them: an instant takes the driver as long as all else in a short row."""
    cursor.adapters.register_loader(_TIMESTAMPTZ, Int8BinaryLoader)
    return cursor


def _with_instants(row: tuple[Any, ...], times: list[int]) -> tuple[Any, ...]:
    values = list(row)
    for place in times:
        if values[place] is not None:
            values[place] = instant_of(values[place])
    return tuple(values)


def _judged(
    row: tuple[Any, ...], views: Sequence[tuple[str, int, int, int, int, ViewRead]], now: int
) -> dict[str, ViewRead]:
    """Say of each view's part of a row whether it is FRESH, STALE, or MISSING (absent, or later than `now`)."""
    # The constructor of a named tuple takes twice as long as the tuple's.
    make = tuple.__new__
    reads = {}
    for name, place, begin, end, oldest, missing in views:
        event = row[place]
        if event is None or event > now:
            reads[name] = missing
        else:
            reads[name] = make(ViewRead, (event, _FRESH if event >= oldest else _STALE, row[begin:end]))
    return reads
