"""Feast's online store over this project's online tables, so that Feast's client reads and writes the service's rows.

The service itself reads through `feature_repo.online.handle`, whose statements are prepared before any request.

A value that is older than its view's ttl is not returned: its status is OUTSIDE_MAX_AGE, with its event time. A write never
replaces a newer row by an older one. A write replaces whole rows: a feature without a value becomes null.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from feast import FeatureView, StreamFeatureView
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.supported_async_methods import SupportedAsyncMethods
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import FeastConfigBaseModel, RepoConfig

from core.clock import future_fault, is_ahead
from core.errors import SourceError, StaleStateError
from core.postgres.pool import lent, with_connection
from feature_repo.online import history, tables
from feature_repo.stores import view_versions
from feature_repo.stores.online_reads import (
    OnlineQuery,
    Row,
    add_to_response,
    fetch,
    fetch_async,
    messages,
    query_view,
    query_views,
)
from feature_repo.stores.registry import changing_features
from feature_repo.stores.registry_dialect import register_dialect
from feature_repo.stores.store_pools import StorePools
from feature_repo.stores.stored_views import StoredView, is_declared, stored_view

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import psycopg
    import pyarrow as pa
    from feast import Entity
    from feast.infra.infra_object import InfraObject
    from feast.protos.feast.core.Registry_pb2 import Registry
    from feast.protos.feast.serving.ServingService_pb2 import GetOnlineFeaturesResponse

    from feature_repo.online.table import OnlineTable

_Row = tuple[EntityKey, dict[str, Value], datetime, datetime | None]
_Read = tuple[datetime | None, dict[str, Value] | None]
_NO_VECTORS = (
    "the online store looks rows up by entity and has no vector search; use one of Feast's vector stores for the views "
    "that need it"
)


class PantheraOnlineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """Configuration in feature_store.yaml; the database's address comes from the environment alone."""

    type: str = "feature_repo.stores.online_store.PantheraOnlineStore"

    def model_post_init(self, _: object) -> None:
        """Register the dialect of the registry's address before Feast opens the registry."""
        register_dialect()


class PantheraOnlineStore(OnlineStore):  # type: ignore[misc]
    """An online store of typed rows: a write never replaces a newer row, and a read never returns an expired one."""

    def __init__(self) -> None:
        self._pools = StorePools()

    @property
    def async_supported(self) -> SupportedAsyncMethods:
        """Reads and writes are supported."""
        return SupportedAsyncMethods(read=True, write=True)

    def online_write_batch(  # noqa: D102
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[_Row],
        progress: Callable[[int], Any] | None,
    ) -> None:
        view = stored_view(config, table)
        rows = [_row(view, *each) for each in data]
        _refuse_future(view, rows, datetime.now(UTC))
        try:
            self._change(lambda connection: tables.merge_values(connection, view.table, rows))
        except StaleStateError:
            if view.is_applied:
                raise
            self._change(lambda connection: view_versions.apply(connection, view))
            self._change(lambda connection: tables.merge_values(connection, view.table, rows))
        if progress:
            progress(len(rows))

    async def online_write_batch_async(  # noqa: D102
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[_Row],
        progress: Callable[[int], Any] | None,
    ) -> None:
        await asyncio.to_thread(self.online_write_batch, config, table, data, progress)

    def online_read(  # noqa: D102
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[_Read]:
        if not entity_keys:
            return []
        query = query_view(config, table, entity_keys, requested_features)
        (rows,) = self._fetch(query)
        return messages(query.views[0], rows, datetime.now(UTC))

    async def online_read_async(  # noqa: D102
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[_Read]:
        if not entity_keys:
            return []
        query = query_view(config, table, entity_keys, requested_features)
        (rows,) = await self._fetch_async(query)
        return messages(query.views[0], rows, datetime.now(UTC))

    def _read_features_per_fv(
        self,
        config: RepoConfig,
        grouped_refs: list[tuple[FeatureView, list[str]]],
        join_key_values: dict[str, list[Value]],
        entity_name_to_join_key_map: dict[str, str],
        online_features_response: GetOnlineFeaturesResponse,
        full_feature_names: bool,
        include_feature_view_version_metadata: bool,
    ) -> None:
        """Read all views in one round trip, for `get_online_features`."""
        query = query_views(config, grouped_refs, join_key_values, entity_name_to_join_key_map)
        response = _ResponseBuilder(online_features_response, full_feature_names, include_feature_view_version_metadata)
        response.add(grouped_refs, query, self._fetch(query))

    async def _read_features_per_fv_async(
        self,
        config: RepoConfig,
        grouped_refs: list[tuple[FeatureView, list[str]]],
        join_key_values: dict[str, list[Value]],
        entity_name_to_join_key_map: dict[str, str],
        online_features_response: GetOnlineFeaturesResponse,
        full_feature_names: bool,
        include_feature_view_version_metadata: bool,
    ) -> None:
        """Read all views in one round trip without blocking."""
        query = query_views(config, grouped_refs, join_key_values, entity_name_to_join_key_map)
        response = _ResponseBuilder(online_features_response, full_feature_names, include_feature_view_version_metadata)
        response.add(grouped_refs, query, await self._fetch_async(query))

    def update(  # noqa: D102
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],  # noqa: ARG002
        entities_to_keep: Sequence[Entity],  # noqa: ARG002
        partial: bool,  # noqa: ARG002
    ) -> None:
        views = [stored_view(config, view) for view in tables_to_keep]

        def change(connection: psycopg.Connection) -> None:
            for view in tables_to_delete:
                view_versions.remove(connection, config.project, view.name, is_declared(view))
            for view in views:
                view_versions.apply(connection, view)

        self._change(change)

    def plan(self, config: RepoConfig, desired_registry_proto: Registry) -> list[InfraObject]:
        """Raise SourceError for a view that cannot be stored; there is nothing else to plan."""
        for message in desired_registry_proto.feature_views:
            stored_view(config, FeatureView.from_proto(message))
        for message in desired_registry_proto.stream_feature_views:
            stored_view(config, StreamFeatureView.from_proto(message))
        return []

    def _is_versioned_read_supported(self) -> bool:
        """Return True, so that Feast allows `view@v2:feature`; its own list of such stores lacks this one."""
        return True

    def teardown(  # noqa: D102
        self,
        config: RepoConfig,
        tables: Sequence[FeatureView],  # noqa: ARG002 - Feast leaves out stream and on-demand views
        entities: Sequence[Entity],  # noqa: ARG002
    ) -> None:
        def change(connection: psycopg.Connection) -> None:
            history.drop(connection, history.tables_of_project(connection, config.project))

        self._change(change)

    def retrieve_online_documents(self, *_arguments: Any, **_options: Any) -> Any:
        """Raise NotImplementedError: the store has no vector search."""
        raise NotImplementedError(_NO_VECTORS)

    def retrieve_online_documents_v2(self, *_arguments: Any, **_options: Any) -> Any:
        """Raise NotImplementedError: the store has no vector search."""
        raise NotImplementedError(_NO_VECTORS)

    async def initialize(self, config: RepoConfig) -> None:  # noqa: ARG002
        """Open the connections of the running event loop."""
        await self._pools.waiting()

    async def close(self) -> None:
        """Close all connections; the next call opens new ones."""
        await self._pools.close()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the lock for apply and materialize during the block."""
        with changing_features(self._pools.url()):
            yield

    def has_run(self, table: OnlineTable) -> bool:
        """Return whether any materialization has filled `table`."""
        return with_connection(self._pools.blocking(), lambda connection: bool(history.runs(connection, table.name, 1)))

    def knowable_until(self, end: datetime) -> datetime:
        """Return the earlier of `end` and the present: no later row can be known."""
        return min(_aware(end), datetime.now(UTC))

    def write_range(
        self, view: StoredView, rows: pa.Table, as_of: datetime, progress: Callable[[int], object] | None
    ) -> None:
        """Merge Arrow rows into the table of `view`, and write the run to its history.

        Raises
        ------
        SourceError
            If a column has another type than its feature; then nothing is written.

        """

        def change(connection: psycopg.Connection) -> None:
            count = tables.merge(connection, view.table, rows, progress)
            history.record_run(connection, view.name, view.table, as_of, count, "range")

        self._change(change)

    def _fetch(self, query: OnlineQuery) -> list[list[Row]]:
        return with_connection(self._pools.blocking(), lambda connection: fetch(connection, query))

    async def _fetch_async(self, query: OnlineQuery) -> list[list[Row]]:
        async with lent(await self._pools.waiting()) as connection:
            return await fetch_async(connection, query)

    def _change(self, work: Callable[[psycopg.Connection], object]) -> None:
        def in_transaction(connection: psycopg.Connection) -> None:
            with connection.transaction():
                work(connection)

        with_connection(self._pools.blocking(), in_transaction)


@dataclass(frozen=True)
class _ResponseBuilder:
    """Appends features to the response of Feast's client, with the names and metadata that it requests."""

    response: GetOnlineFeaturesResponse
    full_names: bool
    with_versions: bool

    def add(
        self, references: Sequence[tuple[FeatureView, list[str]]], query: OnlineQuery, parts: Sequence[Sequence[Row]]
    ) -> None:
        now = datetime.now(UTC)
        for (view, _), queried, rows in zip(references, query.views, parts, strict=True):
            prefix = f"{view.projection.name_to_use()}__" if self.full_names else ""
            add_to_response(self.response, [f"{prefix}{name}" for name in queried.features], queried, rows, now)
            if self.with_versions:
                self._add_version(view)

    def _add_version(self, view: FeatureView) -> None:
        metadata = self.response.metadata.feature_view_metadata
        name = view.projection.name_alias or view.projection.name
        if name not in {each.name for each in metadata}:
            metadata.add(name=name, version=getattr(view, "current_version_number", 0) or 0)


def _row(
    view: StoredView, key: EntityKey, values: dict[str, Value], event_time: datetime, created: datetime | None
) -> tuple[object, ...]:
    event = _aware(event_time)
    return (*view.key_of(key), event, _aware(created) if created is not None else event, *view.values_of(values))


def _refuse_future(view: StoredView, rows: Sequence[tuple[object, ...]], now: datetime) -> None:
    """Raise SourceError for a row ahead of the clock: it would block all rows of its entity until its time has come."""
    keys = len(view.table.keys)
    for row in rows:
        for time in row[keys : keys + 2]:
            if isinstance(time, datetime) and is_ahead(time, now):
                raise SourceError(
                    f"{view.name}: the row of {row[:keys]!r}: {future_fault(time, now)}; correct its time, nothing was written"
                )


def _aware(time: datetime) -> datetime:
    """Return a time in UTC; a naive time is UTC, by Feast's convention."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
