"""A feature store of Feast's over our two stores, for the tests: registry and sources in a folder, rows in a database."""

from __future__ import annotations

import os
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from unittest import mock

import feast
import pandas as pd
from feast import types as feast_types
from feast.repo_config import RegistryConfig, RepoConfig

from core.settings import DATABASE_URL_ENV, STATE_ENV

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

PROJECT = "shop"
CUSTOMER = feast.Entity(name="customer", join_keys=["customer_id"], value_type=feast.ValueType.INT64)
STORE = feast.Entity(name="store", join_keys=["store_id"], value_type=feast.ValueType.STRING)
CUSTOMER_ID = feast.Field(name="customer_id", dtype=feast_types.Int64)
STORE_ID = feast.Field(name="store_id", dtype=feast_types.String)


@contextmanager
def opened_store(folder: Path, database_url: str, *, versions: bool = False) -> Iterator[feast.FeatureStore]:
    """Open a feature store whose online rows are in the database at `database_url`; with `versions` of views kept online."""
    environment = {DATABASE_URL_ENV: database_url, STATE_ENV: str(folder / "state")}
    with mock.patch.dict(os.environ, environment):
        store = feast.FeatureStore(config=repo_config(folder, versions=versions))
        yield store
        store._get_provider().online_store._pools.blocking().close()


def repo_config(folder: Path, *, versions: bool = False) -> RepoConfig:
    return RepoConfig(
        project=PROJECT,
        provider="local",
        registry=RegistryConfig(
            path=str(folder / "registry.db"), cache_ttl_seconds=0, enable_online_feature_view_versioning=versions
        ),
        offline_store={"type": "feature_repo.stores.offline_store.PantheraOfflineStore"},
        online_store={"type": "feature_repo.stores.online_store.PantheraOnlineStore"},
        batch_engine={"type": "feature_repo.stores.compute_engine.PantheraComputeEngine"},
        entity_key_serialization_version=3,
    )


def source(folder: Path, name: str, columns: Mapping[str, Sequence[Any]]) -> feast.FileSource:
    """Write a parquet file with `columns`, event_timestamp and created among them, and name it as a source."""
    path = folder / f"{name}.parquet"
    frame = pd.DataFrame(dict(columns))
    frame.to_parquet(path, coerce_timestamps="us")
    return feast.FileSource(
        name=name, path=str(path), timestamp_field="event_timestamp", created_timestamp_column="created"
    )


def view(
    name: str,
    fields: Mapping[str, Any],
    source: feast.FileSource,
    keys: Sequence[tuple[feast.Entity, feast.Field]] = ((CUSTOMER, CUSTOMER_ID),),
    ttl: timedelta | None = None,
) -> feast.FeatureView:
    """Define a view of some features, by their types."""
    schema = [feast.Field(name=feature, dtype=dtype) for feature, dtype in fields.items()]
    return feast.FeatureView(
        name=name,
        entities=[entity for entity, _ in keys],
        schema=[*(field for _, field in keys), *schema],
        source=source,
        ttl=ttl,
    )


def rows(**columns: Sequence[Any]) -> pd.DataFrame:
    """Make rows to write, of now unless `event_timestamp` says otherwise, created when they happened."""
    frame = pd.DataFrame(columns)
    if "event_timestamp" not in frame:
        frame["event_timestamp"] = datetime.now(UTC)
    if "created" not in frame:
        frame["created"] = frame["event_timestamp"]
    return frame


def read(store: feast.FeatureStore, features: Sequence[str], **keys: Sequence[Any]) -> dict[str, list[Any]]:
    """Read features as Python values."""
    names = list(keys)
    asked = [dict(zip(names, values, strict=True)) for values in zip(*keys.values(), strict=True)]
    answer: dict[str, list[Any]] = store.get_online_features(features=list(features), entity_rows=asked).to_dict()
    return answer
