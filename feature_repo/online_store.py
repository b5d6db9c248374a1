"""Feast's online store over this project's wide tables, so that Feast's own client reads and writes what the service does.

The service itself reads through `feature_repo.online_handle`, which resolves nothing for a request.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey as EntityKeyProto
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from feast.type_map import feast_value_type_to_python_type, python_values_to_proto_values
from feast.types import Bool as FeastBool
from feast.types import Float32, Float64, Int32, Int64, String, UnixTimestamp
from psycopg import sql

from core.contracts import Freshness
from core.database import connect, ensure_database
from core.errors import StaleStateError
from core.settings import read_settings
from feature_repo import online_tables
from feature_repo.online_handle import judge
from feature_repo.online_tables import OnlineTable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from feast import Entity, FeatureView

_Row = tuple[EntityKeyProto, dict[str, ValueProto], datetime, datetime | None]
_DTYPES = {
    Int32: "int32",
    Int64: "int64",
    Float32: "float32",
    Float64: "float64",
    String: "string",
    FeastBool: "bool",
    UnixTimestamp: "timestamp",
}


class PantheraOnlineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """Configuration: where the database is stands in the environment alone."""

    type: str = "feature_repo.online_store.PantheraOnlineStore"


def table_of(view: FeatureView) -> OnlineTable:
    """Read from the tags and schema of a registered view which table holds it."""
    name = view.tags.get("online_table")
    if name is None:
        raise StaleStateError(f"the feature view {view.name!r} names no online table; run `panthera repair`")
    key = view.entity_columns[0]
    features = tuple((field.name, _DTYPES[field.dtype]) for field in view.features)
    return OnlineTable(name, ((key.name, _DTYPES[key.dtype]),), features)


def _aware(time: datetime | None) -> datetime | None:
    return time.replace(tzinfo=UTC) if time is not None and time.tzinfo is None else time


class PantheraOnlineStore(OnlineStore):  # type: ignore[misc]
    """Wide typed rows; writes never take a row back in time, reads never return an expired one."""

    def online_write_batch(  # noqa: D102
        self,
        config: RepoConfig,  # noqa: ARG002
        table: FeatureView,
        data: list[_Row],
        progress: Callable[[int], Any] | None,
    ) -> None:
        target = table_of(table)
        rows = [
            (
                feast_value_type_to_python_type(key.entity_values[0]),
                _aware(event_time),
                _aware(created) or _aware(event_time),
                *(
                    feast_value_type_to_python_type(values[name]) if name in values else None
                    for name, _ in target.features
                ),
            )
            for key, values, event_time, created in data
        ]
        with connect(ensure_database(read_settings())) as connection:
            online_tables.merge_values(connection, target, rows)
        if progress:
            progress(len(rows))

    def online_read(  # noqa: D102
        self,
        config: RepoConfig,  # noqa: ARG002
        table: FeatureView,
        entity_keys: list[EntityKeyProto],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, ValueProto] | None]]:
        target = table_of(table)
        names = requested_features or [name for name, _ in target.features]
        keys = [feast_value_type_to_python_type(key.entity_values[0]) for key in entity_keys]
        columns = sql.SQL(", ").join(map(sql.Identifier, [target.key_names[0], "event_timestamp", *names]))
        query = sql.SQL("SELECT {} FROM {} WHERE {} = ANY(%s)").format(
            columns, target.identifier, sql.Identifier(target.key_names[0])
        )
        with connect(ensure_database(read_settings())) as connection:
            found = {row[0]: row for row in connection.execute(query, [keys])}
        types = {field.name: field.dtype.to_value_type() for field in table.features}
        now, ttl = datetime.now(UTC), table.ttl or timedelta.max
        answers: list[tuple[datetime | None, dict[str, ValueProto] | None]] = []
        for key in keys:
            _, event_time, *values = found.get(key, (key, None, *(None for _ in names)))
            read = judge(event_time, tuple(values), ttl, now)
            if read.status is not Freshness.FRESH:
                answers.append((None, None))
                continue
            protos = [
                python_values_to_proto_values([value], types[name])[0]
                for name, value in zip(names, read.values, strict=True)
            ]
            answers.append((event_time, dict(zip(names, protos, strict=True))))
        return answers

    def update(  # noqa: D102
        self,
        config: RepoConfig,  # noqa: ARG002
        tables_to_delete: Sequence[FeatureView],  # noqa: ARG002 - a release may still read them
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],  # noqa: ARG002
        entities_to_keep: Sequence[Entity],  # noqa: ARG002
        partial: bool,  # noqa: ARG002
    ) -> None:
        with connect(ensure_database(read_settings())) as connection:
            for view in tables_to_keep:
                online_tables.create(connection, table_of(view))

    def teardown(  # noqa: D102
        self,
        config: RepoConfig,  # noqa: ARG002
        tables: Sequence[FeatureView],
        entities: Sequence[Entity],  # noqa: ARG002
    ) -> None:
        with connect(ensure_database(read_settings())) as connection:
            for view in tables:
                connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(table_of(view).identifier))
