"""The prepared handle: read the online rows of many entities in several views, in one round trip.

It is built once, from what the loaded releases need; a read builds no message. Views that lie in one joint table are read
from there; which ones do is looked up once a minute.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from psycopg import AsyncRawCursor, RawCursor
from psycopg.errors import InsufficientPrivilege, UndefinedColumn, UndefinedTable
from psycopg.pq import TransactionStatus
from psycopg.types.numeric import Int8BinaryLoader

from core.contracts import Freshness, Key, ViewRead, instant_of, microseconds_of
from feature_repo.online.joint_tables import PLACES
from feature_repo.online.query import (
    EntityLookup,
    JointPlace,
    KeyOf,
    ViewPart,
    key_array,
    key_parameter,
    read_statement,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from psycopg import AsyncConnection, Connection
    from psycopg._connection_base import BaseConnection
    from psycopg.pq.abc import PGresult

Connections = TypeVar("Connections", bound="BaseConnection[Any]")
RawCursors = TypeVar("RawCursors", RawCursor[Any], AsyncRawCursor[Any])

# Asked of the enumeration once: it looks a name up by name every time.
_FRESH, _STALE, _MISSING = Freshness.FRESH, Freshness.STALE, Freshness.MISSING
_MICROSECOND = timedelta(microseconds=1)
_TIMESTAMPTZ = 1184
_SECONDS_BETWEEN_LOOKS = 60.0
#: What a statement fails with when a table that it names has been dropped, or may not be read.
_GONE = (UndefinedTable, UndefinedColumn, InsufficientPrivilege)


@dataclass(frozen=True)
class HandleLink:
    """Which column of which other view holds the key of a linked entity, and what its own views call that key."""

    view: str
    column: str
    key: str


@dataclass(frozen=True)
class HandleView:
    """One view to read: its online table, how long its rows are fresh, and which of its columns, in order.

    With a `link` it is about another entity than the one that is asked for: the one that the link names. `packed` are all
    features of the table, each with its dtype, if it is packed.
    """

    name: str
    online_table: str
    ttl: timedelta
    columns: tuple[str, ...]
    link: HandleLink | None = None
    packed: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class _Statements:
    """The statement that reads `parts` for any number of keys, and the one for a single key."""

    many: bytes
    one: bytes
    dtype: str

    @classmethod
    def of(cls, parts: tuple[ViewPart, ...], dtype: str, lookup: EntityLookup | None) -> _Statements:
        many, one = (read_statement(parts, (dtype,), one=one, lookup=lookup) for one in (False, True))
        return cls(many, one, dtype)

    def ask(self, keys: Sequence[Key]) -> tuple[bytes, list[object]]:
        """Give the statement for `keys`, and its parameters."""
        if len(keys) == 1:
            return self.one, [key_parameter(keys[0], self.dtype)]
        return self.many, [key_array(keys, self.dtype)]


class _Cursors(Generic[Connections, RawCursors]):
    """Cursors at rest, each with the connection and the statement that it has read by.

    A cursor that runs the statement that it ran last knows how its parameters are written and its columns are read. To find
    that out takes a sixth of the time of a read of one row.
    """

    def __init__(self, make: Callable[[Connections], RawCursors]) -> None:
        self._make: Callable[[Connections], RawCursors] = make
        self._resting: dict[tuple[Connections, bytes], RawCursors] = {}

    def take(self, connection: Connections, statement: bytes) -> RawCursors:
        """Give a cursor to run `statement` by, which nobody else has until it is back."""
        cursor = self._resting.pop((connection, statement), None)
        if cursor is not None:
            return cursor
        for place in list(self._resting):
            if place[0].closed:
                self._resting.pop(place, None)
        return _counting(self._make(connection))

    def put_back(self, cursor: RawCursors, connection: Connections, statement: bytes) -> None:
        """Let `cursor` rest after a read that succeeded."""
        self._resting[connection, statement] = cursor


class OnlineHandle:
    """Reads the views it was built with, and the value of `lookup`; of the connections it is lent it keeps only cursors."""

    def __init__(
        self, views: Sequence[HandleView], entity_key: str, entity_dtype: str, lookup: EntityLookup | None = None
    ) -> None:
        self.views = tuple(views)
        self._lookup = lookup
        self._dtype = entity_dtype
        place_of = {view.name: place for place, view in enumerate(self.views)}
        #: The place of each linked view, and the name of the view that holds its link.
        self._links = [(place, view.link.view) for place, view in enumerate(self.views) if view.link]

        def part(view: HandleView) -> ViewPart:
            link = view.link
            key = (link.key, KeyOf(place_of[link.view], link.column)) if link else (entity_key, 0)
            return ViewPart(view.online_table, (key,), view.columns, packed=view.packed)

        self._parts = tuple(map(part, self.views))
        self._tables = [[view.online_table for view in self.views]]
        #: The statements over the views' own tables, those with the joint tables that were found, and when to look next.
        self._plain = self._statements = _Statements.of(self._parts, entity_dtype, lookup)
        self._look_at = -math.inf
        self._cursors: _Cursors[AsyncConnection, AsyncRawCursor[Any]] = _Cursors(AsyncRawCursor)
        self._blocking_cursors: _Cursors[Connection, RawCursor[Any]] = _Cursors(RawCursor)
        ends = list(accumulate(1 + len(part.reading.columns) for part in self._parts))
        #: For each view where in a row its event time stands and its values end, and what it is where it is missing.
        self._places = [
            (view, begin, end, ViewRead(None, _MISSING, (None,) * len(view.columns)))
            for view, begin, end in zip(self.views, [0, *ends], ends, strict=False)
        ]
        #: Where in a row features stand, and how those of packed tables are read from it.
        self._features = [place for _, begin, end, _ in self._places for place in range(begin + 1, end)]
        self._packed = {part.online_table: part.reading for part in self._parts if part.packed}

    async def read(
        self, connection: AsyncConnection, keys: Sequence[Key], as_of: datetime
    ) -> list[dict[str, ViewRead]]:
        """Read the rows of `keys`, in their order, as they stand for a request as of `as_of`.

        A row whose event time is after `as_of` was not knowable then, so it is MISSING, as is one that is not there. A row
        older than the view's ttl is STALE. A linked view is MISSING unless the row that holds its link is FRESH: an old
        link may name the wrong entity.

        A joint table may be dropped at any time; then the views' own tables are read. Inside of a transaction, which would
        fail with the statement, they are read at once.

        Raises
        ------
        psycopg.Error
            As the driver does: the caller owns the connection.

        """
        return self.judge(await self.fetch(connection, keys), as_of)

    async def look(self, connection: AsyncConnection) -> None:
        """Look now for joint tables, so that the reads of the next minute need not."""
        self._look_at = time.monotonic() + _SECONDS_BETWEEN_LOOKS
        self._take_up(await _places(connection, self._tables))

    async def fetch(self, connection: AsyncConnection, keys: Sequence[Key]) -> list[tuple[Any, ...]]:
        """Return the rows of `keys`, in their order, for `judge`; the last value of each is that of the look-up, if any.

        Raises
        ------
        psycopg.Error
            As the driver does: the caller owns the connection.

        """
        if self._is_time_to_look(connection):
            await self.look(connection)
        statements = self._statements_for(connection)
        try:
            return await self._fetch(connection, statements, keys)
        except _GONE:
            if statements == self._plain:
                raise
            self._statements = self._plain
            return await self._fetch(connection, self._plain, keys)

    def read_blocking(self, connection: Connection, keys: Sequence[Key], as_of: datetime) -> list[dict[str, ViewRead]]:
        """Do what `read` does, for a caller that waits."""
        if self._is_time_to_look(connection):
            self._take_up(_places_blocking(connection, self._tables))
        statements = self._statements_for(connection)
        try:
            rows = self._fetch_blocking(connection, statements, keys)
        except _GONE:
            if statements == self._plain:
                raise
            self._statements = self._plain
            rows = self._fetch_blocking(connection, self._plain, keys)
        return self.judge(rows, as_of)

    async def _fetch(
        self, connection: AsyncConnection, statements: _Statements, keys: Sequence[Key]
    ) -> list[tuple[Any, ...]]:
        statement, parameters = statements.ask(keys)
        cursor = self._cursors.take(connection, statement)
        await cursor.execute(statement, parameters, prepare=True, binary=True)
        rows = self._with_instants(await cursor.fetchall(), cursor.pgresult)
        self._cursors.put_back(cursor, connection, statement)
        return rows

    def _fetch_blocking(
        self, connection: Connection, statements: _Statements, keys: Sequence[Key]
    ) -> list[tuple[Any, ...]]:
        statement, parameters = statements.ask(keys)
        cursor = self._blocking_cursors.take(connection, statement)
        cursor.execute(statement, parameters, prepare=True, binary=True)
        rows = self._with_instants(cursor.fetchall(), cursor.pgresult)
        self._blocking_cursors.put_back(cursor, connection, statement)
        return rows

    def _is_time_to_look(self, connection: Connection | AsyncConnection) -> bool:
        """Say whether to look for joint tables; whoever asks and is told so is the one who looks."""
        now = time.monotonic()
        if now < self._look_at or not _may_fail(connection):
            return False
        self._look_at = now + _SECONDS_BETWEEN_LOOKS
        return True

    def _take_up(self, found: Sequence[tuple[str, str, int]]) -> None:
        """Read from joint tables what at least two views can be read from at once."""
        places = {table: JointPlace(joint_table, position) for table, joint_table, position in found}
        parts = [replace(part, joint=places.get(part.online_table)) for part in self._parts]
        sharing = Counter((part.joint.joint_table, part.keys) for part in parts if part.joint)
        chosen = tuple(
            part if part.joint and sharing[part.joint.joint_table, part.keys] > 1 else replace(part, joint=None)
            for part in parts
        )
        self._statements = _Statements.of(chosen, self._dtype, self._lookup)

    def _statements_for(self, connection: Connection | AsyncConnection) -> _Statements:
        return self._statements if _may_fail(connection) else self._plain

    def _with_instants(self, rows: list[tuple[Any, ...]], result: PGresult | None) -> list[tuple[Any, ...]]:
        """Give the features of `rows` that are times as such."""
        times = [place for place in self._features if result.ftype(place) == _TIMESTAMPTZ] if result else []
        return [_with_instants(row, times) for row in rows] if times else rows

    def judge(self, rows: Sequence[tuple[Any, ...]], as_of: datetime) -> list[dict[str, ViewRead]]:
        """Return each view's part of each row as FRESH, STALE, or MISSING (absent, or later than `as_of`)."""
        now = microseconds_of(as_of)
        # The constructor of a named tuple takes twice as long as the tuple's.
        make = tuple.__new__
        reads: list[dict[str, ViewRead]] = [{} for _ in rows]
        for view, place, end, missing in self._places:
            name, begin, oldest = view.name, place + 1, now - view.ttl // _MICROSECOND
            reading = self._packed.get(view.online_table)
            for read, row in zip(reads, rows, strict=True):
                event = row[place]
                if event is None or event > now:
                    read[name] = missing
                else:
                    values = row[begin:end] if reading is None else reading.unpack_counted(row[begin:end])
                    read[name] = make(ViewRead, (event, _FRESH if event >= oldest else _STALE, values))
        for linked, of in self._links:
            name, missing = self.views[linked].name, self._places[linked][-1]
            for read in reads:
                if read[of].status is not _FRESH:
                    read[name] = missing
        return reads


def _may_fail(connection: Connection | AsyncConnection) -> bool:
    """Say whether a statement that fails takes nothing else with it, so that another can be tried."""
    return connection.autocommit and connection.pgconn.transaction_status == TransactionStatus.IDLE


async def _places(connection: AsyncConnection, tables: Sequence[object]) -> list[tuple[str, str, int]]:
    """Look up in which joint tables the online tables stand; nowhere, if one may not know."""
    try:
        return await (await AsyncRawCursor(connection).execute(PLACES, tables)).fetchall()
    except _GONE:
        return []


def _places_blocking(connection: Connection, tables: Sequence[object]) -> list[tuple[str, str, int]]:
    try:
        return RawCursor(connection).execute(PLACES, tables).fetchall()
    except _GONE:
        return []


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
