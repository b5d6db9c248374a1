"""Read the online rows of many entities as columns, without a Python object for each row.

Numbers and times come by a binary COPY whose fields all have eight bytes, so that a portion of rows is one array. Texts come
by a second statement of the same transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import IsolationLevel, sql

from core.contracts import Freshness, microseconds_of
from core.dtypes import NUMERIC, TEXTS
from feature_repo.online.handle import view_parts
from feature_repo.online.pgcopy import EPOCH_SHIFT, HEADER, TRAILER
from feature_repo.online.query import bulk_statement
from feature_repo.online.table import SCHEMA, column_identifier, listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    import psycopg
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
    """A feature to read: the index of its view, its name and dtype, and its value in the rows of `bulk_statement`."""

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
        columns = list(self._columns(dtypes))
        self._fixed = [column for column in columns if column.dtype not in TEXTS]
        self._texts = [column for column in columns if column.dtype in TEXTS]

    def keys(self, connection: psycopg.Connection) -> pa.Array:
        """Fetch the keys of all entities that have a row in some view, in ascending order."""
        tables = [view.online_table for view in self.views if not view.link]
        each = [sql.SQL("SELECT {} FROM {}").format(self._key, sql.Identifier(SCHEMA, table)) for table in tables]
        union = sql.SQL("SELECT {key} FROM ({each}) AS every ORDER BY {key}{order}").format(
            key=self._key,
            each=sql.SQL(" UNION ").join(each),
            order=sql.SQL("" if self._dtype == "int64" else ' COLLATE "C"'),
        )
        with connection.transaction():
            if self._dtype == "int64":
                return pa.array(_copied(connection, union, 1)[:, 0])
            return pa.array([key for (key,) in connection.execute(union)], pa.string())

    def read(self, connection: psycopg.Connection, keys: Sequence[Key], as_of: datetime) -> dict[str, ViewColumns]:
        """Fetch the rows of `keys` in each view, by its name, in a transaction of its own.

        Raises
        ------
        psycopg.Error
            Any error of the driver; the caller owns the connection.

        """
        connection.isolation_level = IsolationLevel.REPEATABLE_READ  # both statements read the same rows
        with connection.transaction():
            statement = bulk_statement(self._parts, keys, self._dtype)
            times = [sql.SQL("coalesce({}, '-infinity'::timestamptz)").format(_stored(begin)) for begin in self._begins]
            fixed = [*times, *map(_eight_bytes, self._fixed)]
            numbers = _copied(connection, self._selected(fixed, statement), len(fixed))
            texts: list[tuple[Any, ...]] = []
            if self._texts:
                texts = connection.execute(
                    self._selected([column.value for column in self._texts], statement)
                ).fetchall()
        count = len(self.views)
        values: list[dict[str, pa.Array]] = [{} for _ in self.views]
        for index, column in enumerate(self._fixed):
            values[column.view][column.name] = _array(numbers[:, count + index], column.dtype)
        for column, texts_of in zip(self._texts, zip(*texts, strict=True), strict=True):
            values[column.view][column.name] = pa.array(texts_of, pa.string())
        return self._judged(numbers[:, :count], values, as_of)

    def _columns(self, dtypes: Mapping[str, Mapping[str, str]]) -> Iterator[_Column]:
        for index, (view, part, begin) in enumerate(zip(self.views, self._parts, self._begins, strict=True)):
            for name, position in zip(view.columns, part.reading.positions, strict=True):
                value: sql.Composable = _stored(begin + 1 + position.column)
                if position.element is not None:
                    value = sql.SQL("{}[{}]").format(value, sql.Literal(position.element + 1))
                if name in dtypes.get(view.name, ()):
                    yield _Column(index, name, dtypes[view.name][name], value)

    def _selected(self, values: Sequence[sql.Composable], statement: sql.Composed) -> sql.Composed:
        return sql.SQL("SELECT {} FROM ({}) AS stored ({})").format(
            listed(values), statement, listed(map(_stored, range(self._width)))
        )

    def _judged(
        self, events: NDArray[np.int64], values: Sequence[Mapping[str, pa.Array]], as_of: datetime
    ) -> dict[str, ViewColumns]:
        now = microseconds_of(as_of)
        statuses = {
            view.name: _statuses(events[:, index], now, view.ttl // _MICROSECOND)
            for index, view in enumerate(self.views)
        }
        for view in self.views:
            if view.link:  # an old link may name the wrong entity
                statuses[view.name][statuses[view.link.view] != _FRESH] = _MISSING
        return {
            view.name: _known(statuses[view.name], events[:, index], values[index])
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


def _eight_bytes(column: _Column) -> sql.Composed:
    """Compose a value of eight bytes: a time, or a number as float8, whose NULL is NaN, as in the encoded rows."""
    if column.dtype == "timestamp":
        return sql.SQL("coalesce({}, '-infinity'::timestamptz)").format(column.value)
    if column.dtype not in NUMERIC:
        raise AssertionError(f"no model takes the dtype {column.dtype}")
    number = sql.SQL("{}::int4" if column.dtype == "bool" else "{}").format(column.value)
    return sql.SQL("coalesce({}::float8, 'NaN')").format(number)


def _copied(connection: psycopg.Connection, query: sql.Composed, width: int) -> NDArray[np.int64]:
    """Fetch the rows of a query whose `width` columns have eight bytes each; return their bits, of shape (rows, width)."""
    with connection.cursor().copy(sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(query)) as copy:
        content = b"".join(copy)
    row = np.dtype([("count", ">i2"), ("fields", [("length", ">i4"), ("bits", ">i8")], (width,))])
    rows = np.frombuffer(content[len(HEADER) : -len(TRAILER)], row)
    bits: NDArray[np.int64] = rows["fields"]["bits"].astype(np.int64)
    return bits


def _array(bits: NDArray[np.int64], dtype: str) -> pa.Array:
    if dtype == "timestamp":
        return _times(bits, bits == _NO_TIME)
    return pa.array(np.ascontiguousarray(bits).view(np.float64))


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
