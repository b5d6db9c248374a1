"""The prepared handle: read the online rows of many entities in several views, in one round trip.

It is built once, from what the loaded releases need; a read resolves nothing and builds no message.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from psycopg import AsyncRawCursor, RawCursor

from core.contracts import Freshness, Key, Value, ViewRead
from feature_repo.online_query import KeyOf, ViewPart, key_array, read_statement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import AsyncConnection, Connection

# Asked of the enumeration once: it looks a name up by name every time.
_FRESH, _STALE, _MISSING = Freshness.FRESH, Freshness.STALE, Freshness.MISSING


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
        #: The place of each linked view, and of the view that holds its link.
        self._links = [(place_of[view.name], place_of[view.link.view]) for view in self.views if view.link]

        def part(view: HandleView) -> ViewPart:
            link = view.link
            key = (link.key, KeyOf(place_of[link.view], link.column)) if link else (entity_key, 0)
            return ViewPart(view.online_table, (key,), view.columns)

        self._statement = read_statement(tuple(map(part, self.views)), (entity_dtype,))
        ends = list(accumulate(1 + len(view.columns) for view in self.views))
        #: For each view its ttl, and where in a row its event time stands and its values end.
        self._places = [(view.ttl, begin, end) for view, begin, end in zip(self.views, [0, *ends], ends, strict=False)]

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
        cursor = AsyncRawCursor(connection)
        await cursor.execute(self._statement, self._parameters(keys), prepare=True, binary=True)
        return self._split(await cursor.fetchall(), as_of)

    def read_blocking(self, connection: Connection, keys: Sequence[Key], as_of: datetime) -> list[dict[str, ViewRead]]:
        """Do what `read` does, for a caller that waits."""
        cursor = RawCursor(connection).execute(self._statement, self._parameters(keys), prepare=True, binary=True)
        return self._split(cursor.fetchall(), as_of)

    def _parameters(self, keys: Sequence[Key]) -> list[object]:
        return [key_array(keys, self._dtype)]

    def _split(self, rows: Sequence[tuple[Any, ...]], as_of: datetime) -> list[dict[str, ViewRead]]:
        names = [view.name for view in self.views]
        reads = [
            [judge(row[place], row[place + 1 : end], oldest, as_of) for row in rows]
            for oldest, place, end in [(oldest_fresh(as_of, ttl), place, end) for ttl, place, end in self._places]
        ]
        for linked, link in self._links:
            missing = judge(None, (None,) * len(self.views[linked].columns), as_of, as_of)
            reads[linked] = [
                read if of.status is _FRESH else missing for read, of in zip(reads[linked], reads[link], strict=True)
            ]
        return [dict(zip(names, of_entity, strict=True)) for of_entity in zip(*reads, strict=True)]


def oldest_fresh(as_of: datetime, ttl: timedelta) -> datetime:
    """Give the event time of the oldest row that is fresh at `as_of`."""
    try:
        return as_of - ttl
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def judge(event_time: datetime | None, values: tuple[Value, ...], oldest: datetime, as_of: datetime) -> ViewRead:
    """Say whether a row is FRESH (at `as_of` no older than `oldest`), STALE, or MISSING (absent, or of a later time)."""
    if event_time is None or event_time > as_of:
        return ViewRead(None, _MISSING, (None,) * len(values))
    return ViewRead(event_time, _FRESH if event_time >= oldest else _STALE, values)
