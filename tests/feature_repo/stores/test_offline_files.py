"""The offline store behind Feast's own client: where its rows lie, and what is written to it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import feast
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import types as feast_types
from feast.data_source import PushMode

from core.errors import SourceError
from tests.feature_repo.stores.taxi_world import (
    DRIVER,
    HOUR,
    NOON,
    TIMES,
    TRIPS,
    Taxi,
    drivers,
    instants,
    source,
    view,
    with_trips,
)


def halves(taxi: Taxi, names: tuple[str, str]) -> None:
    for name, part in zip(names, (pa.table(TRIPS).slice(0, 1), pa.table(TRIPS).slice(1)), strict=True):
        taxi.write(name, part)


@pytest.mark.parametrize(
    ("names", "path"),
    [
        (("rows/a.parquet", "rows/b.parquet"), "rows"),
        (("rows/bucket-00.parquet", "rows/bucket-01.parquet"), "rows/bucket-*.parquet"),
        (("rows/day=1/a.parquet", "rows/day=2/a.parquet"), "rows/**/*.parquet"),
    ],
)
def test_a_table_may_be_a_folder_or_a_glob(taxi: Taxi, names: tuple[str, str], path: str) -> None:
    halves(taxi, names)
    taxi.store.apply([DRIVER, view("driver_trips", [DRIVER], source(path))])
    found = taxi.ask(drivers([1, 2], NOON + 2 * HOUR, NOON), ["driver_trips:trips"])
    assert [row["trips"] for row in found] == [11, 20]


def test_a_folder_that_is_named_column_equals_value_gives_a_column(taxi: Taxi) -> None:
    halves(taxi, ("rows/shift=1/a.parquet", "rows/shift=2/a.parquet"))
    shift = view("shifts", [DRIVER], source("rows"), schema=[feast.Field(name="shift", dtype=feast_types.Int32)])
    taxi.store.apply([DRIVER, shift])
    assert [row["shift"] for row in taxi.ask(drivers([1, 2], NOON, NOON), ["shifts:shift"])] == [1, 2]


def test_a_missing_file_column_or_time_is_named(taxi: Taxi) -> None:
    with_trips(taxi)
    apply = taxi.store._get_provider().validate_data_source
    config = taxi.store.config
    apply(config, source("trips.parquet"))
    with pytest.raises(SourceError, match=r"no parquet file at .*none\.parquet"):
        apply(config, source("none.parquet"))
    with pytest.raises(SourceError, match=r"trips\.parquet has no column 'later'.*it has driver_id, trips, at"):
        apply(config, source("trips.parquet", timestamp_field="later"))
    with pytest.raises(SourceError, match="'trips' is of type int64; expected are timestamps"):
        apply(config, source("trips.parquet", timestamp_field="trips"))
    with pytest.raises(SourceError, match="reads and writes local files"):
        apply(config, source("s3://bucket/trips.parquet"))


def test_features_are_inferred_from_the_files_of_a_glob(taxi: Taxi) -> None:
    lists = pa.array([[NOON], [], None], pa.list_(TIMES))
    taxi.write(
        "rows/a.parquet", pa.table({**TRIPS, "seen": lists, "kind": pa.array(["x", "y", "x"]).dictionary_encode()})
    )
    inferred = feast.FeatureView(name="inferred", entities=[DRIVER], source=source("rows/*.parquet"))
    taxi.store.apply([DRIVER, inferred])
    features = {field.name: field.dtype for field in taxi.store.get_feature_view("inferred").features}
    assert features == {
        "trips": feast_types.Int64,
        "seen": feast_types.Array(feast_types.UnixTimestamp),
        "kind": feast_types.String,
    }


def more_trips(ids: list[int], trips: list[int], *times: datetime) -> pd.DataFrame:
    # In another order than the columns of the file.
    return pd.DataFrame({"at": list(times), "trips": trips, "driver_id": ids})


@pytest.mark.parametrize("path", ["trips.parquet", "rows", "rows/*.parquet", "rows/part-*.parquet"])
def test_rows_written_to_the_offline_store_are_joined_from_then_on(taxi: Taxi, path: str) -> None:
    first = {"rows": "rows/a.parquet"}.get(path, path.replace("*", "00"))
    taxi.write(first, TRIPS)
    taxi.store.apply([DRIVER, view("driver_trips", [DRIVER], source(path), ttl=HOUR)])
    asked = drivers([1, 2, 1], NOON + 5 * HOUR, NOON + 5 * HOUR, NOON)
    assert [row["trips"] for row in taxi.ask(asked, ["driver_trips:trips"])] == [None, None, 10]
    for trips in (50, 60):
        taxi.store.write_to_offline_store(
            "driver_trips", more_trips([1, 2], [trips, trips + 1], NOON + 5 * HOUR, NOON + 5 * HOUR)
        )
        assert [row["trips"] for row in taxi.ask(asked, ["driver_trips:trips"])] == [trips, trips + 1, 10]
    assert not list(taxi.folder.rglob(".*.parquet"))


def test_rows_of_a_frame_that_was_filtered_are_written_without_its_index(taxi: Taxi) -> None:
    with_trips(taxi)
    rows = more_trips([1, 2], [50, 60], NOON + HOUR, NOON + HOUR)
    taxi.store.write_to_offline_store("driver_trips", rows[rows["driver_id"] == 2])
    assert [row["trips"] for row in taxi.ask(drivers([1, 2], NOON + HOUR, NOON + HOUR), ["driver_trips:trips"])] == [
        10,
        60,
    ]
    assert sorted(pq.read_schema(taxi.folder / "trips.parquet").names) == ["at", "driver_id", "trips"]


def test_pushed_rows_reach_the_batch_source(taxi: Taxi) -> None:
    taxi.write("rows/bucket-00.parquet", TRIPS)
    pushed = feast.PushSource(name="pushed", batch_source=source("rows/bucket-*.parquet"))
    fields = [feast.Field(name=name, dtype=feast_types.Int64) for name in ("driver_id", "trips")]
    taxi.store.apply([DRIVER, feast.FeatureView(name="driver_trips", entities=[DRIVER], source=pushed, schema=fields)])
    taxi.store.push("pushed", more_trips([2], [99], NOON + HOUR), to=PushMode.OFFLINE)
    assert taxi.ask(drivers([2], NOON + HOUR), ["driver_trips:trips"])[0]["trips"] == 99


def test_rows_of_another_shape_are_not_written(taxi: Taxi) -> None:
    with_trips(taxi)
    wrong = more_trips([1], [1], NOON).rename(columns={"trips": "journeys"})
    with pytest.raises(ValueError, match=r"missing_expected_columns: \['trips'\]"):
        taxi.store.write_to_offline_store("driver_trips", wrong)
    text = more_trips([1], [1], NOON).assign(trips="many")
    with pytest.raises(SourceError, match="of other types than its rows"):
        taxi.store.write_to_offline_store("driver_trips", text)
    assert pq.read_table(taxi.folder / "trips.parquet").num_rows == 3


@pytest.mark.parametrize("partition_by", [None, ["__log_date"]])
@pytest.mark.parametrize("as_path", [True, False])
def test_logged_features_are_read_back(taxi: Taxi, partition_by: list[str] | None, as_path: bool) -> None:
    from feast.feature_logging import FeatureServiceLoggingSource, LoggingConfig
    from feast.infra.offline_stores.file_source import FileLoggingDestination

    trips = with_trips(taxi).store.get_feature_view("driver_trips")
    service = feast.FeatureService(
        name="logged",
        features=[trips],
        logging_config=LoggingConfig(destination=FileLoggingDestination(path="logs", partition_by=partition_by)),
    )
    taxi.store.apply([service])
    schema = FeatureServiceLoggingSource(service, taxi.store.project).get_schema(taxi.store.registry)
    logs = pa.table(
        {
            "driver_id": [1, 2],
            "driver_trips__trips": [10, None],
            "driver_trips__trips__timestamp": instants(NOON, None).cast(
                schema.field("driver_trips__trips__timestamp").type
            ),
            "driver_trips__trips__status": [2, 0],
            "__log_timestamp": instants(NOON, NOON + HOUR),
            "__log_date": [NOON.date(), (NOON + timedelta(days=1)).date()],
            "__request_id": ["x", "y"],
        },
        schema=schema,
    )
    for row in (0, 1):
        part: Any = logs.slice(row, 1)
        if as_path:
            part = taxi.write(f"flushed/{row}/logs.parquet", part).parent
        taxi.store.write_logged_features(part, service)

    def read_back(end: datetime) -> pa.Table:
        job = taxi.store._get_provider().retrieve_feature_service_logs(
            service, NOON, end, taxi.store.config, taxi.store.registry
        )
        return job.to_arrow().sort_by("__request_id")

    names = [name for name in schema.names if name != "__log_date"]
    assert read_back(NOON + HOUR).select(names).to_pylist() == logs.select(names).to_pylist()
    assert (
        read_back(NOON + HOUR).column("__log_date").cast(pa.date32()).to_pylist()
        == logs.column("__log_date").to_pylist()
    )
    assert read_back(NOON).num_rows == 1
