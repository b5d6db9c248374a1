"""Feast's materialization over this project's stores, in Arrow columns from the source to the online table.

Feast's own engine creates a protobuf message for every value. This one copies the Arrow table of the offline store, with the
checks of every other write. Tasks without plain columns (transformations, aggregations, maps) use Feast's engine.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL
from feast.infra.common.materialization_job import MaterializationJobStatus
from feast.infra.compute_engines.local.compute import LocalComputeEngine, LocalComputeEngineConfig
from feast.infra.compute_engines.local.job import LocalMaterializationJob
from feast.utils import _get_column_names

from core.errors import SourceError
from feature_repo.online.table import CREATED_TIME, EVENT_TIME
from feature_repo.stores.online_store import PantheraOnlineStore
from feature_repo.stores.stored_views import StoredView, stored_view

if TYPE_CHECKING:
    from datetime import datetime

    from feast.infra.common.materialization_job import MaterializationTask
    from feast.infra.registry.base_registry import BaseRegistry

#: How much further back than requested a run reads once a view is online. Feast continues from the end of the last run, and
#: would skip rows of earlier events that arrived late. Rows that are online already do not change.
OVERLAP = timedelta(days=7)
_TIME = pa.timestamp("us", tz="UTC")


class PantheraComputeEngineConfig(LocalComputeEngineConfig):  # type: ignore[misc]
    """Configuration in feature_store.yaml, as that of Feast's local engine."""

    type: str = "feature_repo.stores.compute_engine.PantheraComputeEngine"


class PantheraComputeEngine(LocalComputeEngine):  # type: ignore[misc]
    """A compute engine that materializes Arrow columns, one run at a time."""

    def _materialize_one(
        self, registry: BaseRegistry, task: MaterializationTask, **options: Any
    ) -> LocalMaterializationJob:
        if not isinstance(self.online_store, PantheraOnlineStore):
            return super()._materialize_one(registry, task, **options)
        view = stored_view(self.repo_config, task.feature_view)
        try:
            with self.online_store.changing():
                if not _has_columns(task, view) or not self._materialize_columns(registry, task, view):
                    return super()._materialize_one(registry, task, **options)
        except Exception as error:  # noqa: BLE001 - Feast raises it from the job
            return _job(task, MaterializationJobStatus.ERROR, error)
        return _job(task, MaterializationJobStatus.SUCCEEDED, None)

    def _materialize_columns(self, registry: BaseRegistry, task: MaterializationTask, view: StoredView) -> bool:
        """Write the latest rows of the task to the online table; return False if a column has another type than its feature."""
        end = self.online_store.knowable_until(task.end_time)
        start = task.start_time - OVERLAP if self.online_store.has_run(view.table) else task.start_time
        rows = self._latest(registry, task, view, start, end)
        bar = task.tqdm_builder(rows.num_rows) if task.tqdm_builder else None
        try:
            self.online_store.write_range(view, rows, end, (lambda done: bar.update(done - bar.n)) if bar else None)
        except SourceError:
            return False
        finally:
            if bar:
                bar.close()
        return True

    def _latest(
        self, registry: BaseRegistry, task: MaterializationTask, view: StoredView, start: datetime, end: datetime
    ) -> pa.Table:
        feature_view = task.feature_view
        source = feature_view.batch_source
        entities = [registry.get_entity(name, task.project) for name in feature_view.entities]
        keys, features, event_time, created_time = _get_column_names(feature_view, entities)
        pulled = self.offline_store.pull_latest_from_table_or_query(
            config=self.repo_config,
            data_source=source,
            join_key_columns=keys,
            feature_name_columns=features,
            timestamp_field=event_time,
            created_timestamp_column=created_time,
            start_date=start,
            end_date=end,
        ).to_arrow()
        mapped = {column: name for column, name in (source.field_mapping or {}).items() if column in [*keys, *features]}
        own = {mapped.get(name, name): pulled.column(name) for name in (*keys, *features)}
        if DUMMY_ENTITY_ID in view.keys:
            own[DUMMY_ENTITY_ID] = pa.array([DUMMY_ENTITY_VAL] * pulled.num_rows)
        event = _times(pulled.column(event_time))
        created = pc.coalesce(_times(pulled.column(created_time)), event) if created_time else event
        return pa.table({**own, EVENT_TIME: event, CREATED_TIME: created}).filter(pc.is_valid(event))


def _has_columns(task: MaterializationTask, view: StoredView) -> bool:
    """Return whether every feature of the task is a column of its source and a plain column online."""
    feature_view = task.feature_view
    computed = getattr(feature_view, "feature_transformation", None) or getattr(feature_view, "aggregations", None)
    has_messages = any(dtype == "message" for dtype in view.table.dtypes)
    is_online_only = bool(feature_view.online) and not feature_view.offline
    return is_online_only and not (computed or has_messages or task.disable_event_timestamp)


def _times(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return times in UTC; naive times are UTC, by Feast's convention."""
    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        return column.cast(_TIME, safe=False)
    return column.cast(pa.timestamp("us"), safe=False).cast(_TIME)


def _job(
    task: MaterializationTask, status: MaterializationJobStatus, error: Exception | None
) -> LocalMaterializationJob:
    name = f"{task.feature_view.name}-{task.start_time}-{task.end_time}"
    return LocalMaterializationJob(job_id=name, status=status, error=error)
