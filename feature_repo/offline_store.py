"""Feast's offline store over parquet files and DuckDB, with this project's point-in-time join.

Unlike the stock stores it honours the created time always, so nothing is joined that was not known at the as-of instant.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.repo_config import FeastConfigBaseModel, RepoConfig

from core.errors import SourceError
from feature_repo.duck import identifier, open_duckdb
from feature_repo.point_in_time import ViewJoin, parquet, point_in_time_join

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    import pandas as pd
    from feast import FeatureView, OnDemandFeatureView
    from feast.data_source import DataSource
    from feast.infra.registry.base_registry import BaseRegistry

#: The name that Feast gives the as-of column of an entity frame.
AS_OF = "event_timestamp"


class PantheraOfflineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """Configuration: the store has no option."""

    type: str = "feature_repo.offline_store.PantheraOfflineStore"


class ArrowJob(RetrievalJob):  # type: ignore[misc]
    """A retrieval that computes its Arrow table once, when it is first asked for."""

    def __init__(
        self, compute: Callable[[], pa.Table], *, full_feature_names: bool, metadata: RetrievalMetadata
    ) -> None:
        self._compute = compute
        self._full_feature_names = full_feature_names
        self._metadata = metadata

    @property
    def full_feature_names(self) -> bool:
        """Whether feature columns are named `view__feature`."""
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """None: on-demand views are code in the registry, which this project does not run."""
        return []

    @property
    def metadata(self) -> RetrievalMetadata:
        """What was asked."""
        return self._metadata

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:  # noqa: ARG002
        return self._compute()

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:  # noqa: ARG002
        frame: pd.DataFrame = self._compute().to_pandas()
        return frame


def _relation(config: RepoConfig, source: DataSource) -> str:
    if not isinstance(source, FileSource):
        raise SourceError(
            f"the source {source.name!r} is a {type(source).__name__}; this store reads parquet FileSources"
        )
    path = Path(source.path)
    return parquet(str(path if path.is_absolute() else Path(config.repo_path or ".") / path))


def _entity_rows(frame: pd.DataFrame | pa.Table | str) -> pa.Table:
    if isinstance(frame, str):
        with open_duckdb() as connection:
            return connection.sql(frame).to_arrow_table()
    table = frame if isinstance(frame, pa.Table) else pa.Table.from_pandas(frame, preserve_index=False)
    if AS_OF not in table.column_names:
        raise SourceError(f"the entity rows have no column {AS_OF!r}; they have {', '.join(table.column_names)}")
    place = table.column_names.index(AS_OF)
    times = table.column(AS_OF)
    if times.type.tz is None:
        raise SourceError(
            f"the column {AS_OF!r} of the entity rows has no time zone; give its times one, UTC for example"
        )
    return table.set_column(place, AS_OF, times.cast(pa.timestamp("us", tz="UTC")))


def _view_join(config: RepoConfig, view: FeatureView, features: list[str], prefix: str) -> ViewJoin:
    source = view.batch_source
    ttl: timedelta | None = view.ttl or None
    mapped = {own: column for column, own in (source.field_mapping or {}).items()}
    aliases = view.projection.join_key_map or {}
    keys = [column.name for column in view.entity_columns]
    return ViewJoin(
        rows=_relation(config, source),
        keys=tuple((aliases.get(key, key), mapped.get(key, key)) for key in keys),
        event_time=identifier(source.timestamp_field),
        created_time=identifier(source.created_timestamp_column) if source.created_timestamp_column else None,
        ttl=ttl,
        columns=tuple((mapped.get(feature, feature), f"{prefix}{feature}") for feature in features),
    )


class PantheraOfflineStore(OfflineStore):  # type: ignore[misc]
    """Point-in-time joins and ranges over parquet, in Arrow."""

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(  # noqa: D102
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | pa.Table | str,
        registry: BaseRegistry,  # noqa: ARG004
        project: str,  # noqa: ARG004
        full_feature_names: bool = False,
        **_options: Any,
    ) -> RetrievalJob:
        wanted: dict[str, list[str]] = {}
        for reference in feature_refs:
            view, _, feature = reference.partition(":")
            wanted.setdefault(view, []).append(feature)
        joins = []
        for view in feature_views:
            name = view.projection.name_to_use()
            joins.append(_view_join(config, view, wanted[name], f"{name}__" if full_feature_names else ""))
        rows = _entity_rows(entity_df)

        def compute() -> pa.Table:
            with open_duckdb() as connection:
                return point_in_time_join(connection, rows, AS_OF, joins)

        keys = [name for name in rows.column_names if name != AS_OF]
        return ArrowJob(
            compute,
            full_feature_names=full_feature_names,
            metadata=RetrievalMetadata(features=feature_refs, keys=keys),
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
        keys = ", ".join(map(identifier, join_key_columns)) or "1"
        times = [timestamp_field, *([created_timestamp_column] if created_timestamp_column else [])]
        newest = ", ".join(f"{identifier(time)} DESC" for time in times)
        latest = f" QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY {newest}) = 1"
        columns = [*join_key_columns, *feature_name_columns, *times]
        return _range_job(config, data_source, columns, timestamp_field, start_date, end_date, latest)

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
        created = [created_timestamp_column] if created_timestamp_column else []
        columns = [*join_key_columns, *feature_name_columns, timestamp_field, *created]
        return _range_job(config, data_source, columns, timestamp_field, start_date, end_date, "")


def _aware(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _range_job(
    config: RepoConfig,
    source: DataSource,
    columns: list[str],
    timestamp_field: str,
    start: datetime | None,
    end: datetime | None,
    suffix: str,
) -> RetrievalJob:
    """Select rows with start <= event time <= end (Feast's own times are UTC where they have no zone)."""
    column = identifier(timestamp_field)
    bounds = {f"{column} >= $start": ("start", start), f"{column} <= $end": ("end", end)}
    given = {sql: (name, _aware(time)) for sql, (name, time) in bounds.items() if time is not None}
    chosen = ", ".join(map(identifier, dict.fromkeys(columns)))
    query = f"SELECT {chosen} FROM {_relation(config, source)} WHERE {' AND '.join(given) or 'true'}{suffix}"

    def compute() -> pa.Table:
        with open_duckdb() as connection:
            return connection.sql(query, params=dict(given.values())).to_arrow_table()

    return ArrowJob(compute, full_feature_names=False, metadata=RetrievalMetadata(features=columns, keys=[]))
