"""A small world behind Feast's own client: drivers and places, whose feature rows lie in parquet files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import feast
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast import types as feast_types
from feast.data_format import ParquetFormat
from feast.repo_config import RegistryConfig

if TYPE_CHECKING:
    from pathlib import Path

STORE = "feature_repo.stores.offline_store.PantheraOfflineStore"
NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
TIMES = pa.timestamp("us", tz="UTC")

DRIVER = feast.Entity(name="driver", join_keys=["driver_id"], value_type=feast.ValueType.INT64)
PLACE = feast.Entity(name="place", join_keys=["place_id"], value_type=feast.ValueType.STRING)


@dataclass(frozen=True)
class Taxi:
    """A feature store in a folder, whose offline store is ours."""

    folder: Path
    store: feast.FeatureStore

    def write(self, path: str, rows: dict[str, Any] | pa.Table) -> Path:
        """Write a parquet file of the repository."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows if isinstance(rows, pa.Table) else pa.table(rows), file)
        return file

    def ask(self, rows: Any, features: list[str] | feast.FeatureService, **options: Any) -> list[dict[str, Any]]:
        """Join features to entity rows."""
        found: list[dict[str, Any]] = (
            self.store.get_historical_features(rows, features, **options).to_arrow().to_pylist()
        )
        return found


def open_taxi(folder: Path, **offline: Any) -> Taxi:
    """Open a feature store in an empty folder."""
    config = feast.RepoConfig(
        project="taxi",
        provider="local",
        registry=RegistryConfig(path=str(folder / "registry.db")),
        offline_store={"type": STORE, **offline},
        online_store={"type": "sqlite", "path": str(folder / "online.db")},
        entity_key_serialization_version=3,
        repo_path=folder,
    )
    return Taxi(folder, feast.FeatureStore(config=config))


def source(path: str, **options: Any) -> feast.FileSource:
    """Name a parquet source of the repository."""
    return feast.FileSource(
        **{"name": f"{path} rows", "path": path, "file_format": ParquetFormat(), "timestamp_field": "at", **options}
    )


def view(name: str, entities: list[feast.Entity], rows: feast.FileSource, **options: Any) -> feast.FeatureView:
    """Define a view of the feature `trips`, unless `schema` says otherwise."""
    fields = [feast.Field(name=entity.join_key, dtype=_KEY_TYPES[entity.name]) for entity in entities]
    schema = options.pop("schema", [feast.Field(name="trips", dtype=feast_types.Int64)])
    return feast.FeatureView(name=name, entities=entities, source=rows, schema=[*fields, *schema], **options)


def instants(*times: datetime | None) -> pa.Array:
    """Lay out times as they are stored."""
    return pa.array(times, TIMES)


def drivers(ids: list[int | None], *times: datetime) -> pd.DataFrame:
    """Ask about drivers, each as of a time."""
    return pd.DataFrame({"driver_id": ids, "event_timestamp": list(times)})


_KEY_TYPES = {"driver": feast_types.Int64, "place": feast_types.String}
TRIPS = {"driver_id": [1, 1, 2], "trips": [10, 11, 20], "at": instants(NOON, NOON + 2 * HOUR, NOON)}


def with_trips(taxi: Taxi, **options: Any) -> Taxi:
    """Write TRIPS, and define the view `driver_trips` over them."""
    taxi.write("trips.parquet", TRIPS)
    taxi.store.apply([DRIVER, view("driver_trips", [DRIVER], source("trips.parquet"), **options)])
    return taxi
