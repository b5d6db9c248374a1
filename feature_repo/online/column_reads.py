"""Read the online rows of many entities as columns, without a Python object for each row.

The statement is that of the service, and PostgreSQL aggregates each of its columns to an array. The elements of arrays of
numbers and times have eight bytes, so that NumPy reads them as they were sent. COPY is slower: the driver returns its rows one
by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql
from psycopg.types.string import ByteaBinaryLoader

from core.contracts import Freshness, microseconds_of
from core.dtypes import NUMERIC, TEXTS
from feature_repo.online.handle import view_parts
from feature_repo.online.pgcopy import EPOCH_SHIFT
from feature_repo.online.query import key_array, read_statement
from feature_repo.online.table import SCHEMA, column_identifier, listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from core.contracts import Key
    from feature_repo.online.handle import HandleView
    from feature_repo.online.query import ViewPart

#: The codes of statuses in `ViewColumns.statuses`, by their index.
STATUSES = (Freshness.FRESH, Freshness.STALE, Freshness.MISSING)
_FRESH, _STALE, _MISSING = range(len(STATUSES))
_MICROSECOND = timedelta(microseconds=1)
#: PostgreSQL's -infinity, which stands for NULL in a column of times.
_NO_TIME = np.iinfo(np.int64).min
#: The types int8[], float8[] and timestamptz[]; the bytes before their elements; and an element: its length and its bits.
_FIXED_ARRAYS = (1016, 1022, 1185)
_ARRAY_HEAD = 20
_ELEMENT = np.dtype([("length", ">i4"), ("bits", ">i8")])


@dataclass(frozen=True)
class ViewColumns:
    """The online rows of entities in one view, as columns in the order of the entities.

    Attributes
    ----------
    statuses : for each entity the index of its status in `STATUSES`.
    event_times : event times in UTC; null where the status is MISSING.
    values : the column of each feature, by name; null where the feature, or the row, is missing.

    """

    statuses: NDArray[np.int8]
    event_times: pa.Array
    values: Mapping[str, pa.Array]

    @property
    def is_missing(self) -> NDArray[np.bool_]:
        """Which rows are MISSING."""
        return np.equal(self.statuses, _MISSING)

    @property
    def is_stale(self) -> NDArray[np.bool_]:
        """Which rows are STALE."""
        return np.equal(self.statuses, _STALE)


@dataclass(frozen=True)
class _Column:
    """A feature to read: the index of its view, its name and dtype, and its value in the rows of the statement."""

    view: int
    name: str
    dtype: str
    value: sql.Composable


class ColumnReader:
    """A reader of fixed views for many keys; the freshness of its rows is that of `OnlineHandle.judge`.

    Parameters
    ----------
    views : the views to read; the name of each is that of its online table.
    dtypes : for each view the features to return, with their dtypes.

    """

    def __init__(
        self, views: Sequence[HandleView], dtypes: Mapping[str, Mapping[str, str]], entity_key: str, entity_dtype: str
    ) -> None:
        self.views = tuple(views)
        self._dtype = entity_dtype
        self._key = column_identifier(entity_key)
        self._parts = view_parts(self.views, entity_key)
        self._begins = _begins(self._parts)
        self._width = self._begins.pop()
        self._values = list(self._columns(dtypes))
        self._statement = self._composed()

    def keys(self, connection: psycopg.Connection) -> pa.Array:
        """Fetch the keys of all entities that have a row in some view, in ascending order."""
        tables = [view.online_table for view in self.views if not view.link]
        each = [sql.SQL("SELECT {} FROM {}").format(self._key, sql.Identifier(SCHEMA, table)) for table in tables]
        union = sql.SQL("SELECT array_agg({key} ORDER BY {key}{order}) FROM ({each}) AS every").format(
            key=self._key,
            each=sql.SQL(" UNION ").join(each),
            order=sql.SQL("" if self._dtype == "int64" else ' COLLATE "C"'),
        )
        (keys,) = _fetched(connection, union.as_bytes(), [])
        if self._dtype == "int64":
            return pa.array(_bits(keys))
        return pa.array(keys or [], pa.string())

    def read(self, connection: psycopg.Connection, keys: Sequence[Key], as_of: datetime) -> dict[str, ViewColumns]:
        """Fetch the rows of `keys` in each view, by its name, with one statement.

        Raises
        ------
        psycopg.Error
            Any error of the driver; the caller owns the connection.

        """
        arrays = _fetched(connection, self._statement, [key_array(keys, self._dtype)])
        count = len(self.views)
        values: list[dict[str, pa.Array]] = [{} for _ in self.views]
        for column, array in zip(self._values, arrays[count:], strict=True):
            values[column.view][column.name] = _array(array, column.dtype)
        return self._judged([_bits(array) for array in arrays[:count]], values, as_of)

    def _composed(self) -> bytes:
        """Compose the statement: arrays of the event times of each view, then arrays of the values."""
        times = [_time(_stored(begin)) for begin in self._begins]
        arrays = [sql.SQL("array_agg({})").format(value) for value in (*times, *map(_element, self._values))]
        columns = listed(map(_stored, range(self._width)))
        return b"SELECT %b FROM (%b) AS stored (%b)" % (
            listed(arrays).as_bytes(),
            read_statement(self._parts, (self._dtype,)),
            columns.as_bytes(),
        )

    def _columns(self, dtypes: Mapping[str, Mapping[str, str]]) -> Iterator[_Column]:
        for index, (view, part, begin) in enumerate(zip(self.views, self._parts, self._begins, strict=True)):
            for name, position in zip(view.columns, part.reading.positions, strict=True):
                value: sql.Composable = _stored(begin + 1 + position.column)
                if position.element is not None:
                    value = sql.SQL("{}[{}]").format(value, sql.Literal(position.element + 1))
                if name in dtypes.get(view.name, ()):
                    yield _Column(index, name, dtypes[view.name][name], value)

    def _judged(
        self, events: Sequence[NDArray[np.int64]], values: Sequence[Mapping[str, pa.Array]], as_of: datetime
    ) -> dict[str, ViewColumns]:
        now = microseconds_of(as_of)
        statuses = {
            view.name: _statuses(events[index], now, view.ttl // _MICROSECOND) for index, view in enumerate(self.views)
        }
        for view in self.views:
            if view.link:  # an old link may name the wrong entity
                statuses[view.name][statuses[view.link.view] != _FRESH] = _MISSING
        return {
            view.name: _known(statuses[view.name], events[index], values[index])
            for index, view in enumerate(self.views)
        }


def _begins(parts: Sequence[ViewPart]) -> list[int]:
    """Return the index of each part's event time in a row, and last the number of columns."""
    begins = [0]
    for part in parts:
        begins.append(begins[-1] + 1 + len(part.reading.columns))
    return begins


def _stored(index: int) -> sql.Identifier:
    return sql.Identifier(f"c{index}")


def _time(value: sql.Composable) -> sql.Composed:
    return sql.SQL("coalesce({}, '-infinity'::timestamptz)").format(value)


def _element(column: _Column) -> sql.Composable:
    """Compose an element of a column's array: a text, a time, or a number as float8, whose NULL is NaN as in encoded rows."""
    if column.dtype in TEXTS:
        return column.value
    if column.dtype == "timestamp":
        return _time(column.value)
    if column.dtype not in NUMERIC:
        raise AssertionError(f"no model takes the dtype {column.dtype}")
    number = sql.SQL("{}::int4" if column.dtype == "bool" else "{}").format(column.value)
    return sql.SQL("coalesce({}::float8, 'NaN')").format(number)


def _fetched(connection: psycopg.Connection, statement: bytes, parameters: Sequence[object]) -> tuple[Any, ...]:
    """Fetch the only row of a statement; arrays of numbers and times as the bytes that were sent."""
    cursor = psycopg.RawCursor(connection)
    for oid in _FIXED_ARRAYS:
        cursor.adapters.register_loader(oid, ByteaBinaryLoader)
    row: tuple[Any, ...] | None = cursor.execute(statement, parameters, binary=True).fetchone()
    assert row is not None, "an aggregate returns one row"
    return row


def _bits(array: bytes | None) -> NDArray[np.int64]:
    """Return the bits of the elements of an array that was sent in binary; none if it is NULL."""
    elements = np.frombuffer((array or b"")[_ARRAY_HEAD:], _ELEMENT)
    return np.ascontiguousarray(elements["bits"], dtype=np.int64)


def _array(array: Any, dtype: str) -> pa.Array:
    if dtype in TEXTS:
        return pa.array(array, pa.string())
    bits = _bits(array)
    return _times(bits, np.equal(bits, _NO_TIME)) if dtype == "timestamp" else pa.array(bits.view(np.float64))


def _times(microseconds: NDArray[np.int64], absent: NDArray[np.bool_]) -> pa.Array:
    since_1970 = np.where(absent, 0, microseconds) + EPOCH_SHIFT
    return pa.array(since_1970, pa.int64(), mask=absent).cast(pa.timestamp("us", tz="UTC"))


def _statuses(events: NDArray[np.int64], now: int, ttl: int) -> NDArray[np.int8]:
    statuses = np.where(events >= now - ttl, _FRESH, _STALE).astype(np.int8)
    statuses[(events > now) | (events == _NO_TIME)] = _MISSING
    return statuses


def _known(statuses: NDArray[np.int8], events: NDArray[np.int64], values: Mapping[str, pa.Array]) -> ViewColumns:
    """Return the columns of a view without the values of rows that are MISSING."""
    missing = statuses == _MISSING
    kept = {name: hidden(column, missing) for name, column in values.items()}
    return ViewColumns(statuses, _times(events, missing), kept)


def hidden(column: pa.Array, rows: NDArray[np.bool_]) -> pa.Array:
    """Return a column with null in the rows of a mask."""
    return pc.if_else(pa.array(rows), pa.scalar(None, column.type), column) if rows.any() else column
