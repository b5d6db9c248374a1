"""What Feast's client asks of the online store, as one statement, and its rows as the messages that the client expects."""

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
# Asked of the enumeration once: it looks a name up by name every time.
_PRESENT, _NOT_FOUND, _OUTSIDE_MAX_AGE = (
    int(status) for status in (FieldStatus.PRESENT, FieldStatus.NOT_FOUND, FieldStatus.OUTSIDE_MAX_AGE)
)
#: A key is looked for as the widest type of its kind, so that one out of range is unknown and not an error.
_WIDE = {"int32": "int64", "float32": "float64"}


class Row(NamedTuple):
    """The row of an entity in one view: all None where there is none."""

    event_time: datetime | None
    values: tuple[Any, ...]


@dataclass(frozen=True)
class AskedView:
    """What is asked of one view: the names of features, in their order, and for how long a row is fresh."""

    view: StoredView
    features: tuple[str, ...]
    ttl: timedelta

    @property
    def reading(self) -> Reading:
        """From which columns the features are read, and where in these."""
        return reading(self.view.table.packed_features, self.features)

    def expired(self, row: Row, now: datetime) -> bool:
        """Say whether a row is older than the view's ttl."""
        return row.event_time is not None and now - row.event_time > self.ttl


@dataclass(frozen=True)
class Asked:
    """A statement, its parameters, and the views that its rows tell of, one after another."""

    statement: bytes
    parameters: Sequence[object]
    views: tuple[AskedView, ...]

    def split(self, rows: Sequence[tuple[Any, ...]]) -> list[list[Row]]:
        """Take the rows apart, by view."""
        parts, place = [], 0
        for asked in self.views:
            reading = asked.reading
            begin, end = place + 1, place + 1 + len(reading.columns)
            unpack = reading.unpack
            parts.append([Row(row[place], unpack(row[begin:end])) for row in rows])
            place = end
        return parts


class _Parameters:
    """The arrays of a statement; a list of keys that several views ask for is sent once."""

    def __init__(self) -> None:
        self.dtypes: list[str] = []
        self.arrays: list[object] = []
        self._places: dict[tuple[int, str], int] = {}

    def place(self, values: Sequence[object], dtype: str) -> int:
        wide = _WIDE.get(dtype, dtype)
        self.dtypes.append(wide)
        self.arrays.append(key_array(values, wide))
        return len(self.arrays) - 1

    def place_of_messages(self, view: StoredView, name: str, messages: Sequence[Value]) -> int:
        asked = (id(messages), view.keys[name].field)
        if asked not in self._places:
            values = [view.sought(name, message) for message in messages]
            self._places[asked] = self.place(values, view.keys[name].dtype)
        return self._places[asked]


def ask_one(config: RepoConfig, view: FeatureView, keys: Sequence[EntityKey], features: Sequence[str] | None) -> Asked:
    """Ask one view for the rows of `keys`; without `features` for all of them."""
    stored, parameters = stored_view(config, view), _Parameters()
    columns = list(zip(*(stored.sought_key(key) for key in keys), strict=True))
    placed = tuple(
        (name, parameters.place(column, codec.dtype))
        for (name, codec), column in zip(stored.keys.items(), columns, strict=True)
    )
    asked = AskedView(stored, tuple(features or (name for name, _ in stored.table.features)), time_to_live(view))
    return _asked([asked], [placed], parameters)


def ask_several(
    config: RepoConfig,
    references: Sequence[tuple[FeatureView, list[str]]],
    keys: Mapping[str, list[Value]],
    entity_keys: Mapping[str, str],
) -> Asked:
    """Ask several views for the rows of the same request.

    Parameters
    ----------
    references : each view with the names of its features.
    keys : the values of the join keys, by the name that the request has for them.
    entity_keys : the join key of each entity, by the entity's name.

    Raises
    ------
    KeyError
        If the request lacks a join key of one of the views.

    """
    parameters, placed = _Parameters(), []
    views = [AskedView(stored_view(config, view), tuple(features), time_to_live(view)) for view, features in references]
    for asked, (view, _) in zip(views, references, strict=True):
        given = utils._get_table_entity_values(view, entity_keys, keys)  # noqa: SLF001 - Feast gives a store no other way
        missing = sorted(asked.view.keys.keys() - given.keys())
        if missing:
            raise KeyError(
                f"the request has no value for the join keys {missing} of {view.name!r}; it has {sorted(keys)}"
            )
        placed.append(
            tuple((name, parameters.place_of_messages(asked.view, name, given[name])) for name in asked.view.keys)
        )
    return _asked(views, placed, parameters)


def _asked(views: Sequence[AskedView], placed: Sequence[tuple[tuple[str, int], ...]], parameters: _Parameters) -> Asked:
    parts = tuple(
        ViewPart(asked.view.table.name, keys, asked.features, packed=asked.view.table.packed_features)
        for asked, keys in zip(views, placed, strict=True)
    )
    return Asked(read_statement(parts, tuple(parameters.dtypes)), parameters.arrays, tuple(views))


def fetch(connection: psycopg.Connection, asked: Asked) -> list[list[Row]]:
    """Read the rows, by view."""
    cursor = psycopg.RawCursor(connection)
    return asked.split(cursor.execute(asked.statement, asked.parameters, prepare=True, binary=True).fetchall())


async def fetch_async(connection: psycopg.AsyncConnection, asked: Asked) -> list[list[Row]]:
    """Do what `fetch` does without blocking."""
    cursor = psycopg.AsyncRawCursor(connection)
    await cursor.execute(asked.statement, asked.parameters, prepare=True, binary=True)
    return asked.split(await cursor.fetchall())


def messages(
    asked: AskedView, rows: Sequence[Row], now: datetime
) -> list[tuple[datetime | None, dict[str, Value] | None]]:
    """Give the rows of one view as `OnlineStore.online_read` does: of an expired row, its event time alone."""
    codecs = [asked.view.features[name] for name in asked.features]
    return [
        (row.event_time, None)
        if row.event_time is None or asked.expired(row, now)
        else (
            row.event_time,
            {name: codec.load(value) for name, codec, value in zip(asked.features, codecs, row.values, strict=True)},
        )
        for row in rows
    ]


def add_to_response(
    response: GetOnlineFeaturesResponse, names: Sequence[str], asked: AskedView, rows: Sequence[Row], now: datetime
) -> None:
    """Add the features of one view to the response, under `names`."""
    statuses = [_status(asked, row, now) for row in rows]
    times = [_timestamp(row.event_time) for row in rows]
    columns = zip(*(row.values for row in rows), strict=True)
    response.metadata.feature_names.val.extend(names)
    for name, column in zip(asked.features, columns, strict=True):
        vector = response.results.add()
        values = [value if status == _PRESENT else None for value, status in zip(column, statuses, strict=True)]
        _add_values(vector.values, asked.view.features[name], values)
        vector.statuses.extend(statuses)
        vector.event_timestamps.extend(times)


def _add_values(vector: Any, codec: Codec, values: Sequence[Any]) -> None:
    """Make the messages where they are to be: this is most of the time that a read of many entities takes."""
    add, field, load = vector.add, codec.field, codec.from_column
    if not field:
        vector.extend([codec.load(value) for value in values])
        return
    for value in values:
        if value is None:
            add()
        else:
            add(**{field: load(value)})


def _status(asked: AskedView, row: Row, now: datetime) -> int:
    if row.event_time is None:
        return _NOT_FOUND
    return _OUTSIDE_MAX_AGE if asked.expired(row, now) else _PRESENT


def _timestamp(time: datetime | None) -> Timestamp:
    if time is None:
        return Timestamp()
    seconds, rest = divmod(time - _EPOCH, _SECOND)
    return Timestamp(seconds=seconds, nanos=rest // _MICROSECOND * 1000)
