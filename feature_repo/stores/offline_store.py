"""Feast's offline store over parquet files: point-in-time joins, ranges, appends and logs, in Arrow.

Unlike Feast's own stores, it can apply the created time in every retrieval (`filter_by_created_timestamp` in
feature_store.yaml). Then no row is joined that was unknown at the as-of instant.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from feast.errors import FeastEntityDFMissingColumnsError, FeastJoinKeysDuringMaterialization
from feast.feature_view import DUMMY_ENTITY_ID
from feast.infra.offline_stores.file_source import FileLoggingDestination
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from feast.utils import compute_non_entity_date_range

from core.errors import SourceError
from feature_repo.files.feature_files import add_to_folder
from feature_repo.join.point_in_time import ViewJoin, point_in_time_join
from feature_repo.join.time_line import NEVER, instants, microseconds, require_times
from feature_repo.stores import feast_metrics
from feature_repo.stores.entity_frame import AS_OF, read_entity_frame
from feature_repo.stores.feast_source import FeastSource, located, type_name
from feature_repo.stores.offline_rows import END, aware, between, every_instant, every_key, in_order, with_dummy_key
from feature_repo.stores.retrieval_job import ArrowJob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import date, datetime

    import pandas as pd
    from feast import FeatureView
    from feast.data_source import DataSource
    from feast.feature_logging import LoggingConfig, LoggingSource
    from feast.infra.registry.base_registry import BaseRegistry


class PantheraOfflineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """Configuration in feature_store.yaml.

    Attributes
    ----------
    filter_by_created_timestamp : whether, in every retrieval, a row counts only from its created time on, as if each call
        passed Feast's argument of this name.

    """

    type: str = "feature_repo.stores.offline_store.PantheraOfflineStore"
    filter_by_created_timestamp: bool = False


class PantheraOfflineStore(OfflineStore):  # type: ignore[misc]
    """An offline store of point-in-time joins and ranges over parquet, in Arrow."""

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(  # noqa: D102
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | pa.Table | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        cutoff = filter_by_created_timestamp or config.offline_store.filter_by_created_timestamp

        def joins() -> list[ViewJoin]:
            return [
                _view_join(config, view, feature_refs, full_names=full_feature_names, cutoff=cutoff)
                for view in feature_views
            ]

        keys = sorted({entity_key for view in feature_views for entity_key, _ in _join_keys(view)})
        if entity_df is None:
            start, end = compute_non_entity_date_range(feature_views, start_date, end_date)
            metadata = RetrievalMetadata(feature_refs, keys, start, end)

            def compute() -> pa.Table:
                views = joins()
                return point_in_time_join(every_instant(views, start, end), AS_OF, views)
        else:
            rows, as_of = read_entity_frame(entity_df, located(config, "."))
            _require_columns(rows, keys)
            entity_columns = [name for name in rows.column_names if name != as_of]
            bounds = pc.min_max(rows.column(as_of)).as_py()
            metadata = RetrievalMetadata(feature_refs, entity_columns, bounds["min"], bounds["max"])

            def compute() -> pa.Table:
                return point_in_time_join(rows, as_of, joins())

        return ArrowJob(
            compute,
            metadata=metadata,
            folder=located(config, "."),
            full_feature_names=full_feature_names,
            on_demand_feature_views=_on_demand_views(feature_views, feature_refs, registry, project),
        )

    @staticmethod
    def pull_latest_from_table_or_query(  # noqa: D102
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        times = [timestamp_field, *([created_timestamp_column] if created_timestamp_column else [])]

        def compute() -> pa.Table:
            source = _opened(config, data_source, join_key_columns)
            columns = feature_name_columns or source.files.schema.names
            start, end = aware(start_date), aware(end_date)
            latest = ViewJoin(
                parts=source.files.parts(),
                keys=tuple((key, key) for key in join_key_columns),
                event_time=timestamp_field,
                created_time=created_timestamp_column or None,
                cutoff=config.offline_store.filter_by_created_timestamp,
                ttl=end - start,
                columns=tuple(
                    (name, name) for name in dict.fromkeys([*columns, *times]) if name not in join_key_columns
                ),
            )
            joined = point_in_time_join(every_key(latest, end), END, [latest])
            matched = joined.filter(pc.is_valid(joined.column(timestamp_field))).drop_columns(END)
            return with_dummy_key(matched, join_key_columns)

        return _range_job(config, compute, [*feature_name_columns], join_key_columns, start_date, end_date)

    @staticmethod
    def pull_all_from_table_or_query(  # noqa: D102
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        times = [timestamp_field, *([created_timestamp_column] if created_timestamp_column else [])]

        def compute() -> pa.Table:
            source = _opened(config, data_source, join_key_columns)
            features = feature_name_columns or source.files.schema.names
            columns = list(dict.fromkeys([*join_key_columns, *features, *times]))
            parts = (read([source.column(name) for name in columns]) for read in source.files.parts())
            rows = pa.concat_tables(between(part, timestamp_field, start_date, end_date) for part in parts)
            return with_dummy_key(in_order(rows, times), join_key_columns)

        return _range_job(config, compute, [*feature_name_columns], join_key_columns, start_date, end_date)

    @staticmethod
    def offline_write_batch(  # noqa: D102
        config: RepoConfig,
        feature_view: FeatureView,
        table: pa.Table,
        progress: Callable[[int], Any] | None,
    ) -> None:
        source = FeastSource.open(config, feature_view.batch_source)
        rows = table.rename_columns([source.renamed.get(name, name) for name in table.column_names])
        source.files.append(rows.drop_columns(_index_columns(rows) - set(source.files.schema.names)))
        if progress:
            progress(len(rows))

    @staticmethod
    def write_logged_features(  # noqa: D102
        config: RepoConfig,
        data: pa.Table | Path,
        source: LoggingSource,  # noqa: ARG004
        logging_config: LoggingConfig,
        registry: BaseRegistry,  # noqa: ARG004
    ) -> None:
        destination = logging_config.destination
        if not isinstance(destination, FileLoggingDestination):
            raise SourceError(
                f"cannot log to a {type(destination).__name__}; this store writes to a FileLoggingDestination"
            )
        rows = ds.dataset(data, format="parquet").to_table() if isinstance(data, Path) else data
        add_to_folder(located(config, destination.path), rows, destination.partition_by)

    def validate_data_source(self, config: RepoConfig, data_source: DataSource) -> None:
        """Raise SourceError unless the files exist and have the time columns of the source.

        Raises
        ------
        SourceError
            If there are no files, or a time column is missing or holds no times.

        """
        source = FeastSource.open(config, data_source)
        for name in filter(None, [data_source.timestamp_field, data_source.created_timestamp_column]):
            require_times(source.files.schema.field(source.column(name)).type, name)

    def get_table_column_names_and_types_from_data_source(
        self, config: RepoConfig, data_source: DataSource
    ) -> Iterable[tuple[str, str]]:
        """Return the columns of a source's files, with their Arrow types."""
        schema = FeastSource.open(config, data_source).files.schema
        return [(field.name, type_name(field.type)) for field in schema]

    @staticmethod
    def compute_monitoring_metrics(  # noqa: D102
        config: RepoConfig,
        data_source: DataSource,
        feature_columns: list[tuple[str, str]],
        timestamp_field: str,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
        histogram_bins: int = 20,
        top_n: int = 10,
    ) -> list[dict[str, Any]]:
        source = FeastSource.open(config, data_source)
        names = [name for name, _ in feature_columns]
        columns = [source.column(name) for name in names]
        time = source.column(timestamp_field)
        parts = (read(list(dict.fromkeys([*columns, time]))) for read in source.files.parts())
        rows = pa.concat_tables(between(part, time, start_date, end_date) for part in parts)
        named_rows = rows.select(columns).rename_columns(names)
        return feast_metrics.measure(named_rows, feature_columns, histogram_bins, top_n)

    @staticmethod
    def get_monitoring_max_timestamp(  # noqa: D102
        config: RepoConfig, data_source: DataSource, timestamp_field: str
    ) -> datetime | None:
        source = FeastSource.open(config, data_source)
        time = source.column(timestamp_field)
        parts = (read([time]).column(time) for read in source.files.parts())
        times = np.concatenate([microseconds(part, time) for part in parts])
        times = times[times != NEVER]
        latest: datetime | None = instants(times.max(keepdims=True))[0].as_py() if len(times) else None
        return latest

    @staticmethod
    def ensure_monitoring_tables(config: RepoConfig) -> None:
        """Do nothing: a migration of the database creates the table."""

    @staticmethod
    def save_monitoring_metrics(  # noqa: D102
        config: RepoConfig,  # noqa: ARG004
        metric_type: str,
        metrics: list[dict[str, Any]],
    ) -> None:
        feast_metrics.write_records(metric_type, metrics)

    @staticmethod
    def query_monitoring_metrics(  # noqa: D102
        config: RepoConfig,  # noqa: ARG004
        project: str,
        metric_type: str,
        filters: dict[str, Any] | None = None,
        start_date: date | None = None,
        end_date: date | None = None,
    ) -> list[dict[str, Any]]:
        fields = {"project_id": project or None, **(filters or {})}
        return feast_metrics.fetch_records(metric_type, fields, start_date, end_date)

    @staticmethod
    def clear_monitoring_baseline(  # noqa: D102
        config: RepoConfig,  # noqa: ARG004
        project: str,
        feature_view_name: str | None = None,
        feature_name: str | None = None,
        data_source_type: str | None = None,
    ) -> None:
        feast_metrics.end_baseline(
            {
                "project_id": project,
                "feature_view_name": feature_view_name,
                "feature_name": feature_name,
                "data_source_type": data_source_type,
            }
        )


#: Arrow's name of an unnamed index of a pandas frame.
_UNNAMED_INDEX = re.compile(r"__index_level_\d+__")


def _view_of(reference: str) -> str:
    return reference.partition(":")[0].removesuffix("@latest")


def _join_keys(view: FeatureView) -> list[tuple[str, str]]:
    """Return the join keys of a view as pairs (name in the entity rows, name in the view)."""
    renamed = view.projection.join_key_map or {}
    keys = [column.name for column in view.entity_columns if column.name != DUMMY_ENTITY_ID]
    return [(renamed.get(key, key), key) for key in keys]


def _view_join(
    config: RepoConfig, view: FeatureView, references: list[str], *, full_names: bool, cutoff: bool
) -> ViewJoin:
    name = view.projection.name_to_use()
    features = [reference.partition(":")[2] for reference in references if _view_of(reference) == name]
    prefix = f"{name.partition('@')[0]}__" if full_names else ""
    source = FeastSource.open(config, view.batch_source)
    created = view.batch_source.created_timestamp_column
    return ViewJoin(
        parts=source.files.parts(),
        keys=tuple((entity_key, source.column(key)) for entity_key, key in _join_keys(view)),
        event_time=source.column(view.batch_source.timestamp_field),
        created_time=source.column(created) if created else None,
        cutoff=cutoff,
        ttl=view.ttl or None,
        columns=tuple((source.column(feature), f"{prefix}{feature}") for feature in dict.fromkeys(features)),
    )


def _on_demand_views(
    views: list[FeatureView], references: list[str], registry: BaseRegistry, project: str
) -> list[OnDemandFeatureView]:
    """Return the requested on-demand views; without any, the registry is not read, since reading runs code from it."""
    names = {view.projection.name_to_use() for view in views}
    if names.issuperset(map(_view_of, references)):
        return []
    requested: list[OnDemandFeatureView] = OnDemandFeatureView.get_requested_odfvs(references, project, registry)
    return requested


def _require_columns(rows: pa.Table, keys: list[str]) -> None:
    missing = set(keys) - set(rows.column_names)
    if missing:
        raise FeastEntityDFMissingColumnsError(set(keys), missing)


def _opened(config: RepoConfig, data_source: DataSource, keys: list[str]) -> FeastSource:
    source = FeastSource.open(config, data_source)
    if not set(keys) <= set(source.files.schema.names):
        raise FeastJoinKeysDuringMaterialization(data_source.path, set(keys), set(source.files.schema.names))
    return source


def _index_columns(rows: pa.Table) -> set[str]:
    """Return the columns that were the index of a pandas frame; Feast passes on the index of a filtered frame."""
    return {name for name in rows.column_names if _UNNAMED_INDEX.fullmatch(name)}


def _range_job(
    config: RepoConfig,
    compute: Callable[[], pa.Table],
    features: list[str],
    keys: list[str],
    start: datetime | None,
    end: datetime | None,
) -> RetrievalJob:
    return ArrowJob(compute, metadata=RetrievalMetadata(features, keys, start, end), folder=located(config, "."))
