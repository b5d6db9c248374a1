"""The prepared handle: read the online rows of many entities in several views, in one round trip.

A handle is built once, for the features of the loaded releases; its statements are composed then. Views that share a joint
table are read from it. The handle looks for joint tables once a minute.
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
from feature_repo.online.joint_tables import JOINT_POSITIONS
from feature_repo.online.query import (
    EntityLookup,
    JointPosition,
    LinkedKey,
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

# Module constants, since an enumeration looks its members up by name at every access.
_FRESH, _STALE, _MISSING = Freshness.FRESH, Freshness.STALE, Freshness.MISSING
_MICROSECOND = timedelta(microseconds=1)
_TIMESTAMPTZ = 1184
_SECONDS_BETWEEN_LOOKS = 60.0
#: The errors of a statement whose table has been dropped or may not be read.
_TABLE_ERRORS = (UndefinedTable, UndefinedColumn, InsufficientPrivilege)


@dataclass(frozen=True)
class HandleLink:
    """The view and column with the key of a linked entity, and the name of that key in the entity's own views."""

    view: str
    column: str
    key: str


@dataclass(frozen=True)
class HandleView:
    """One view to read.

    Attributes
    ----------
    ttl : how long a row is fresh.
    columns : the features to read, in order.
    link : where the key of the view's entity is read, if the entity is linked; None if it is the requested one.
    packed : all features of the table, each with its dtype, if the table is packed.

    """

    name: str
    online_table: str
    ttl: timedelta
    columns: tuple[str, ...]
    link: HandleLink | None = None
    packed: tuple[tuple[str, str], ...] = ()


def view_parts(views: Sequence[HandleView], entity_key: str) -> tuple[ViewPart, ...]:
    """Return the parts of a statement that read `views` of the entity with the key column `entity_key`."""
    index_of = {view.name: index for index, view in enumerate(views)}

    def part(view: HandleView) -> ViewPart:
        link = view.link
        key = (link.key, LinkedKey(index_of[link.view], link.column)) if link else (entity_key, 0)
        return ViewPart(view.online_table, (key,), view.columns, packed=view.packed)

    return tuple(map(part, views))


@dataclass(frozen=True)
class _Statements:
    """The statements that read `parts`, for any number of keys and for a single key."""

    many: bytes
    one: bytes
    dtype: str

    @classmethod
    def compose(cls, parts: tuple[ViewPart, ...], dtype: str, lookup: EntityLookup | None) -> _Statements:
        many, one = (read_statement(parts, (dtype,), one=one, lookup=lookup) for one in (False, True))
        return cls(many, one, dtype)

    def for_keys(self, keys: Sequence[Key]) -> tuple[bytes, list[object]]:
        """Return the statement for `keys`, and its parameters."""
        if len(keys) == 1:
            return self.one, [key_parameter(keys[0], self.dtype)]
        return self.many, [key_array(keys, self.dtype)]


class _Cursors(Generic[Connections, RawCursors]):
    """A cache of idle cursors by connection and statement.

    A cursor that runs the same statement again reuses its dumpers and loaders. Finding them takes a sixth of the time of a
    read of one row.
    """

    def __init__(self, make: Callable[[Connections], RawCursors]) -> None:
        self._make: Callable[[Connections], RawCursors] = make
        self._idle: dict[tuple[Connections, bytes], RawCursors] = {}

    def take(self, connection: Connections, statement: bytes) -> RawCursors:
        """Return a cursor for `statement`, for exclusive use until `put_back`."""
        cursor = self._idle.pop((connection, statement), None)
        if cursor is not None:
            return cursor
        for used in list(self._idle):
            if used[0].closed:
                self._idle.pop(used, None)
        return _with_integer_times(self._make(connection))

    def put_back(self, cursor: RawCursors, connection: Connections, statement: bytes) -> None:
        """Keep `cursor` for the next read after a read that succeeded."""
        self._idle[connection, statement] = cursor


class OnlineHandle:
    """A reader of fixed views and of the value of `lookup`, on connections of the caller; it keeps only cursors on them."""

    def __init__(
        self, views: Sequence[HandleView], entity_key: str, entity_dtype: str, lookup: EntityLookup | None = None
    ) -> None:
        self.views = tuple(views)
        self._lookup = lookup
        self._dtype = entity_dtype
        #: The index of each linked view, and the name of the view with its link.
        self._links = [(index, view.link.view) for index, view in enumerate(self.views) if view.link]

        self._parts = view_parts(self.views, entity_key)
        self._tables = [[view.online_table for view in self.views]]
        #: The statements over the views' own tables, and those over the joint tables of the last look.
        self._plain = self._statements = _Statements.compose(self._parts, entity_dtype, lookup)
        #: When to look for joint tables next, on the monotonic clock.
        self._next_look = -math.inf
        self._cursors: _Cursors[AsyncConnection, AsyncRawCursor[Any]] = _Cursors(AsyncRawCursor)
        self._blocking_cursors: _Cursors[Connection, RawCursor[Any]] = _Cursors(RawCursor)
        ends = list(accumulate(1 + len(part.reading.columns) for part in self._parts))
        #: For each view, the index of its event time in a row, the end of its values, and the read of a missing row.
        self._slices = [
            (view, begin, end, ViewRead(None, _MISSING, (None,) * len(view.columns)))
            for view, begin, end in zip(self.views, [0, *ends], ends, strict=False)
        ]
        #: The indices of features in a row, and how the features of packed tables are read.
        self._features = [index for _, begin, end, _ in self._slices for index in range(begin + 1, end)]
        self._packed = {part.online_table: part.reading for part in self._parts if part.packed}

    async def read(
        self, connection: AsyncConnection, keys: Sequence[Key], as_of: datetime
    ) -> list[dict[str, ViewRead]]:
        """Fetch the rows of `keys`, in their order, as of `as_of`.

        A row is MISSING if it is absent or if its event time is after `as_of`, since it was not knowable then. A row older
        than the view's ttl is STALE. A linked view is MISSING unless the row with its link is FRESH: an old link may name
        the wrong entity.

        A joint table may be dropped at any time; then the views' own tables are read. Inside a transaction they are always
        read, since a failed statement would abort it.

        Raises
        ------
        psycopg.Error
            Any error of the driver; the caller owns the connection.

        """
        return self.judge(await self.fetch(connection, keys), as_of)

    async def look(self, connection: AsyncConnection) -> None:
        """Look for joint tables now, so that no read of the next minute does."""
        self._next_look = time.monotonic() + _SECONDS_BETWEEN_LOOKS
        self._use_joint_tables(await _joint_positions(connection, self._tables))

    async def fetch(self, connection: AsyncConnection, keys: Sequence[Key]) -> list[tuple[Any, ...]]:
        """Fetch the rows of `keys`, in their order, for `judge`; the last value of each is that of `lookup`, if any.

        Raises
        ------
        psycopg.Error
            Any error of the driver; the caller owns the connection.

        """
        if self._is_time_to_look(connection):
            await self.look(connection)
        statements = self._statements_for(connection)
        try:
            return await self._fetch(connection, statements, keys)
        except _TABLE_ERRORS:
            if statements == self._plain:
                raise
            self._statements = self._plain
            return await self._fetch(connection, self._plain, keys)

    def read_blocking(self, connection: Connection, keys: Sequence[Key], as_of: datetime) -> list[dict[str, ViewRead]]:
        """Fetch what `read` fetches, on a blocking connection."""
        if self._is_time_to_look(connection):
            self._use_joint_tables(_joint_positions_blocking(connection, self._tables))
        statements = self._statements_for(connection)
        try:
            rows = self._fetch_blocking(connection, statements, keys)
        except _TABLE_ERRORS:
            if statements == self._plain:
                raise
            self._statements = self._plain
            rows = self._fetch_blocking(connection, self._plain, keys)
        return self.judge(rows, as_of)

    async def _fetch(
        self, connection: AsyncConnection, statements: _Statements, keys: Sequence[Key]
    ) -> list[tuple[Any, ...]]:
        statement, parameters = statements.for_keys(keys)
        cursor = self._cursors.take(connection, statement)
        await cursor.execute(statement, parameters, prepare=True, binary=True)
        rows = self._with_instants(await cursor.fetchall(), cursor.pgresult)
        self._cursors.put_back(cursor, connection, statement)
        return rows

    def _fetch_blocking(
        self, connection: Connection, statements: _Statements, keys: Sequence[Key]
    ) -> list[tuple[Any, ...]]:
        statement, parameters = statements.for_keys(keys)
        cursor = self._blocking_cursors.take(connection, statement)
        cursor.execute(statement, parameters, prepare=True, binary=True)
        rows = self._with_instants(cursor.fetchall(), cursor.pgresult)
        self._blocking_cursors.put_back(cursor, connection, statement)
        return rows

    def _is_time_to_look(self, connection: Connection | AsyncConnection) -> bool:
        """Return whether the caller must look for joint tables; true for one caller a minute."""
        now = time.monotonic()
        if now < self._next_look or not _can_retry(connection):
            return False
        self._next_look = now + _SECONDS_BETWEEN_LOOKS
        return True

    def _use_joint_tables(self, found: Sequence[tuple[str, str, int]]) -> None:
        """Compose the statements, with those joint tables from which at least two views are read."""
        positions = {table: JointPosition(joint_table, position) for table, joint_table, position in found}
        parts = [replace(part, joint=positions.get(part.online_table)) for part in self._parts]
        sharing = Counter((part.joint.joint_table, part.keys) for part in parts if part.joint)
        chosen = tuple(
            part if part.joint and sharing[part.joint.joint_table, part.keys] > 1 else replace(part, joint=None)
            for part in parts
        )
        self._statements = _Statements.compose(chosen, self._dtype, self._lookup)

    def _statements_for(self, connection: Connection | AsyncConnection) -> _Statements:
        return self._statements if _can_retry(connection) else self._plain

    def _with_instants(self, rows: list[tuple[Any, ...]], result: PGresult | None) -> list[tuple[Any, ...]]:
        """Return `rows` with timestamp features as datetimes."""
        times = [index for index in self._features if result.ftype(index) == _TIMESTAMPTZ] if result else []
        return [_with_instants(row, times) for row in rows] if times else rows

    def judge(self, rows: Sequence[tuple[Any, ...]], as_of: datetime) -> list[dict[str, ViewRead]]:
        """Return each view's part of each row as FRESH, STALE, or MISSING (absent, or later than `as_of`)."""
        now = microseconds_of(as_of)
        # The constructor of a named tuple takes twice as long as the tuple's.
        new_tuple = tuple.__new__
        reads: list[dict[str, ViewRead]] = [{} for _ in rows]
        for view, index, end, missing in self._slices:
            name, begin, oldest = view.name, index + 1, now - view.ttl // _MICROSECOND
            reading = self._packed.get(view.online_table)
            for read, row in zip(reads, rows, strict=True):
                event = row[index]
                if event is None or event > now:
                    read[name] = missing
                else:
                    values = row[begin:end] if reading is None else reading.unpack_microseconds(row[begin:end])
                    read[name] = new_tuple(ViewRead, (event, _FRESH if event >= oldest else _STALE, values))
        for linked, holder in self._links:
            name, missing = self.views[linked].name, self._slices[linked][-1]
            for read in reads:
                if read[holder].status is not _FRESH:
                    read[name] = missing
        return reads


def _can_retry(connection: Connection | AsyncConnection) -> bool:
    """Return whether a failed statement aborts no transaction, so that another statement can follow."""
    return connection.autocommit and connection.pgconn.transaction_status == TransactionStatus.IDLE


async def _joint_positions(connection: AsyncConnection, tables: Sequence[object]) -> list[tuple[str, str, int]]:
    """Fetch the joint tables of online tables and their positions; none if the role may not read them."""
    try:
        return await (await AsyncRawCursor(connection).execute(JOINT_POSITIONS, tables)).fetchall()
    except _TABLE_ERRORS:
        return []


def _joint_positions_blocking(connection: Connection, tables: Sequence[object]) -> list[tuple[str, str, int]]:
    try:
        return RawCursor(connection).execute(JOINT_POSITIONS, tables).fetchall()
    except _TABLE_ERRORS:
        return []


def _with_integer_times(cursor: RawCursors) -> RawCursors:
    """Return `cursor`, loading timestamps as raw int64 microseconds: a datetime would double the cost of a short row."""
    cursor.adapters.register_loader(_TIMESTAMPTZ, Int8BinaryLoader)
    return cursor


def _with_instants(row: tuple[Any, ...], times: list[int]) -> tuple[Any, ...]:
    values = list(row)
    for index in times:
        if values[index] is not None:
            values[index] = instant_of(values[index])
    return tuple(values)
