"""Read the online store for Feast's client: one statement for all views, and its rows as Feast's messages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from feast import utils
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus, GetOnlineFeaturesResponse
from google.protobuf.timestamp_pb2 import Timestamp

from feature_repo.online.packed_columns import reading
from feature_repo.online.query import ViewPart, key_array, read_statement
from feature_repo.stores.stored_views import StoredView, stored_view, time_to_live

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from feast import FeatureView
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value
    from feast.repo_config import RepoConfig

    from feature_repo.online.packed_columns import Reading
    from feature_repo.stores.feast_values import Codec

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_MICROSECOND = timedelta(microseconds=1)
# Module constants, since an enumeration looks its members up by name at every access.
_PRESENT, _NOT_FOUND, _OUTSIDE_MAX_AGE = (
    int(status) for status in (FieldStatus.PRESENT, FieldStatus.NOT_FOUND, FieldStatus.OUTSIDE_MAX_AGE)
)
#: Keys are compared in the widest type of their kind, so that a key out of range is not found instead of an error.
_WIDE = {"int32": "int64", "float32": "float64"}


class Row(NamedTuple):
    """The row of an entity in one view; all None if there is no row."""

    event_time: datetime | None
    values: tuple[Any, ...]


@dataclass(frozen=True)
class QueriedView:
    """The features to read from one view, in order, and for how long a row is fresh."""

    view: StoredView
    features: tuple[str, ...]
    ttl: timedelta

    @property
    def reading(self) -> Reading:
        """The columns to read, and the position of each feature in them."""
        return reading(self.view.table.packed_features, self.features)

    def expired(self, row: Row, now: datetime) -> bool:
        """Return whether a row is older than the view's ttl."""
        return row.event_time is not None and now - row.event_time > self.ttl


@dataclass(frozen=True)
class OnlineQuery:
    """A statement, its parameters, and the views whose columns its rows have, one view after another."""

    statement: bytes
    parameters: Sequence[object]
    views: tuple[QueriedView, ...]

    def split(self, rows: Sequence[tuple[Any, ...]]) -> list[list[Row]]:
        """Return the rows of each view."""
        parts, index = [], 0
        for view in self.views:
            reading = view.reading
            begin, end = index + 1, index + 1 + len(reading.columns)
            unpack = reading.unpack
            parts.append([Row(row[index], unpack(row[begin:end])) for row in rows])
            index = end
        return parts


class _Parameters:
    """The array parameters of a statement; a list of keys that several views share is sent once."""

    def __init__(self) -> None:
        self.dtypes: list[str] = []
        self.arrays: list[object] = []
        self._index_of: dict[tuple[int, str], int] = {}

    def add(self, values: Sequence[object], dtype: str) -> int:
        """Append an array of keys; return its index."""
        wide = _WIDE.get(dtype, dtype)
        self.dtypes.append(wide)
        self.arrays.append(key_array(values, wide))
        return len(self.arrays) - 1

    def add_messages(self, view: StoredView, name: str, messages: Sequence[Value]) -> int:
        """Append the keys in `messages` unless the same list was appended before; return the index of the array."""
        identity = (id(messages), view.keys[name].field)
        if identity not in self._index_of:
            values = [view.lookup_value(name, message) for message in messages]
            self._index_of[identity] = self.add(values, view.keys[name].dtype)
        return self._index_of[identity]


def query_view(
    config: RepoConfig, view: FeatureView, keys: Sequence[EntityKey], features: Sequence[str] | None
) -> OnlineQuery:
    """Compose the query for the rows of `keys` in one view; without `features`, for all its features."""
    stored, parameters = stored_view(config, view), _Parameters()
    columns = list(zip(*(stored.lookup_key(key) for key in keys), strict=True))
    key_indices = tuple(
        (name, parameters.add(column, codec.dtype))
        for (name, codec), column in zip(stored.keys.items(), columns, strict=True)
    )
    queried = QueriedView(stored, tuple(features or (name for name, _ in stored.table.features)), time_to_live(view))
    return _query([queried], [key_indices], parameters)


def query_views(
    config: RepoConfig,
    references: Sequence[tuple[FeatureView, list[str]]],
    keys: Mapping[str, list[Value]],
    entity_keys: Mapping[str, str],
) -> OnlineQuery:
    """Compose the query for the rows of one request in several views.

    Parameters
    ----------
    references : each view with the names of its features.
    keys : the values of the join keys, by their names in the request.
    entity_keys : the join key of each entity, by the entity's name.

    Raises
    ------
    KeyError
        If the request lacks a join key of one of the views.

    """
    parameters, key_indices = _Parameters(), []
    views = [
        QueriedView(stored_view(config, view), tuple(features), time_to_live(view)) for view, features in references
    ]
    for queried, (view, _) in zip(views, references, strict=True):
        given = utils._get_table_entity_values(view, entity_keys, keys)  # noqa: SLF001 - Feast has no public function
        missing = sorted(queried.view.keys.keys() - given.keys())
        if missing:
            raise KeyError(
                f"the request has no value for the join keys {missing} of {view.name!r}; it has {sorted(keys)}"
            )
        key_indices.append(
            tuple((name, parameters.add_messages(queried.view, name, given[name])) for name in queried.view.keys)
        )
    return _query(views, key_indices, parameters)


def _query(
    views: Sequence[QueriedView], key_indices: Sequence[tuple[tuple[str, int], ...]], parameters: _Parameters
) -> OnlineQuery:
    parts = tuple(
        ViewPart(queried.view.table.name, keys, queried.features, packed=queried.view.table.packed_features)
        for queried, keys in zip(views, key_indices, strict=True)
    )
    return OnlineQuery(read_statement(parts, tuple(parameters.dtypes)), parameters.arrays, tuple(views))


def fetch(connection: psycopg.Connection, query: OnlineQuery) -> list[list[Row]]:
    """Fetch the rows of each view."""
    cursor = psycopg.RawCursor(connection)
    return query.split(cursor.execute(query.statement, query.parameters, prepare=True, binary=True).fetchall())


async def fetch_async(connection: psycopg.AsyncConnection, query: OnlineQuery) -> list[list[Row]]:
    """Fetch the rows of each view without blocking."""
    cursor = psycopg.AsyncRawCursor(connection)
    await cursor.execute(query.statement, query.parameters, prepare=True, binary=True)
    return query.split(await cursor.fetchall())


def messages(
    queried: QueriedView, rows: Sequence[Row], now: datetime
) -> list[tuple[datetime | None, dict[str, Value] | None]]:
    """Return the rows of one view as `OnlineStore.online_read` does; for an expired row, only its event time."""
    codecs = [queried.view.features[name] for name in queried.features]
    return [
        (row.event_time, None)
        if row.event_time is None or queried.expired(row, now)
        else (
            row.event_time,
            {name: codec.load(value) for name, codec, value in zip(queried.features, codecs, row.values, strict=True)},
        )
        for row in rows
    ]


def add_to_response(
    response: GetOnlineFeaturesResponse, names: Sequence[str], queried: QueriedView, rows: Sequence[Row], now: datetime
) -> None:
    """Append the features of one view to the response, under `names`."""
    statuses = [_status(queried, row, now) for row in rows]
    times = [_timestamp(row.event_time) for row in rows]
    columns = zip(*(row.values for row in rows), strict=True)
    response.metadata.feature_names.val.extend(names)
    for name, column in zip(queried.features, columns, strict=True):
        vector = response.results.add()
        values = [value if status == _PRESENT else None for value, status in zip(column, statuses, strict=True)]
        _add_values(vector.values, queried.view.features[name], values)
        vector.statuses.extend(statuses)
        vector.event_timestamps.extend(times)


def _add_values(vector: Any, codec: Codec, values: Sequence[Any]) -> None:
    """Construct the messages inside `vector`, without copies; this takes most of the time of a read of many entities."""
    add, field, load = vector.add, codec.field, codec.from_column
    if not field:
        vector.extend([codec.load(value) for value in values])
        return
    for value in values:
        if value is None:
            add()
        else:
            add(**{field: load(value)})


def _status(queried: QueriedView, row: Row, now: datetime) -> int:
    if row.event_time is None:
        return _NOT_FOUND
    return _OUTSIDE_MAX_AGE if queried.expired(row, now) else _PRESENT


def _timestamp(time: datetime | None) -> Timestamp:
    if time is None:
        return Timestamp()
    seconds, rest = divmod(time - _EPOCH, _SECOND)
    return Timestamp(seconds=seconds, nanos=rest // _MICROSECOND * 1000)
