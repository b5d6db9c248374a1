"""The offline store behind Feast's own client: every way to ask."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import feast
import pandas as pd
import pyarrow as pa
import pytest
from feast import types as feast_types
from feast.errors import (
    EntityTimestampInferenceException,
    FeastEntityDFMissingColumnsError,
    FeatureViewNotFoundException,
)
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.transformation.pandas_transformation import PandasTransformation

from core.errors import SourceError
from tests.feature_repo.stores.taxi_world import (
    DRIVER,
    HOUR,
    NOON,
    PLACE,
    TIMES,
    TRIPS,
    Taxi,
    drivers,
    instants,
    open_taxi,
    source,
    view,
    with_trips,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_rows_keep_their_order_number_and_other_columns(taxi: Taxi) -> None:
    asked = pd.DataFrame(
        {
            "note": ["b", "a", None, "b"],
            "driver_id": [2, 1, 1, 2],
            "event_timestamp": [NOON + HOUR, NOON + 3 * HOUR, NOON + HOUR, NOON + HOUR],
        }
    )
    found = with_trips(taxi).ask(asked, ["driver_trips:trips"])
    assert [(row["note"], row["driver_id"], row["trips"]) for row in found] == [
        ("b", 2, 20),
        ("a", 1, 11),
        (None, 1, 10),
        ("b", 2, 20),
    ]


def test_a_frame_of_times_in_several_zones_and_none_is_read_as_instants(taxi: Taxi) -> None:
    times = [
        datetime(2024, 3, 1, 12),  # noqa: DTZ001 - Feast takes it for UTC
        NOON.astimezone(timezone(timedelta(hours=1))),
        NOON.astimezone(ZoneInfo("US/Pacific")),
        NOON - timedelta(microseconds=1),
    ]
    asked = pd.DataFrame({"driver_id": [1] * 4, "event_timestamp": times})
    given = asked.copy(deep=True)
    found = with_trips(taxi).ask(asked, ["driver_trips:trips"])
    assert [row["trips"] for row in found] == [10, 10, 10, None]
    assert [row["event_timestamp"] for row in found[:3]] == [NOON] * 3
    pd.testing.assert_frame_equal(asked, given)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Kolkata"])
def test_an_arrow_table_of_any_unit_and_zone_is_answered_in_microseconds_of_utc(
    taxi: Taxi, unit: str, zone: str | None
) -> None:
    times = instants(NOON, NOON + 2 * HOUR).cast(pa.timestamp(unit, tz=zone))
    asked = pa.table({"driver_id": [1, 1], "event_timestamp": times})
    found = with_trips(taxi).store.get_historical_features(asked, ["driver_trips:trips"]).to_arrow()
    assert found.column("trips").to_pylist() == [10, 11]
    assert found.schema.field("event_timestamp").type == TIMES


def test_an_sql_query_reads_files_of_the_repository(taxi: Taxi) -> None:
    query = "SELECT driver_id, max(\"at\") + INTERVAL 1 HOUR AS event_timestamp FROM 'trips.parquet' GROUP BY ALL ORDER BY ALL"
    found = with_trips(taxi).ask(query, ["driver_trips:trips"])
    assert [(row["driver_id"], row["trips"]) for row in found] == [(1, 11), (2, 20)]


@pytest.mark.parametrize("query", ["SELECT nothing", "CREATE TABLE rows (at TIMESTAMP)"])
def test_an_sql_query_that_gives_no_rows_is_refused(taxi: Taxi, query: str) -> None:
    with pytest.raises(SourceError, match="the query of the entity rows fails"):
        with_trips(taxi).ask(query, ["driver_trips:trips"])


def test_the_only_column_of_times_is_the_as_of_column(taxi: Taxi) -> None:
    asked = drivers([1], NOON).rename(columns={"event_timestamp": "asked_at"})
    assert with_trips(taxi).ask(asked, ["driver_trips:trips"]) == [{"driver_id": 1, "asked_at": NOON, "trips": 10}]


def test_a_frame_without_times_or_keys_is_refused(taxi: Taxi) -> None:
    with_trips(taxi)
    with pytest.raises(EntityTimestampInferenceException):
        taxi.ask(pa.table({"driver_id": [1]}), ["driver_trips:trips"])
    with pytest.raises(EntityTimestampInferenceException):
        taxi.ask(pa.table({"driver_id": [1], "one": instants(NOON), "two": instants(NOON)}), ["driver_trips:trips"])
    with pytest.raises(FeastEntityDFMissingColumnsError, match="driver_id"):
        taxi.ask(pa.table({"event_timestamp": instants(NOON)}), ["driver_trips:trips"])
    with pytest.raises(SourceError, match="holds no times"):
        taxi.ask(pa.table({"driver_id": [1], "event_timestamp": ["soon"]}), ["driver_trips:trips"])


def test_an_empty_frame_gives_an_empty_table_with_all_columns(taxi: Taxi) -> None:
    asked = pa.table({"driver_id": pa.array([], pa.int64()), "event_timestamp": instants()})
    found = with_trips(taxi).store.get_historical_features(asked, ["driver_trips:trips"]).to_arrow()
    assert found.schema.field("trips").type == pa.int64()
    assert len(found) == 0


@pytest.mark.parametrize(
    ("ttl", "found"),
    [
        (None, 10),
        (timedelta(0), 10),
        (HOUR, 10),
        (HOUR - timedelta(microseconds=1), None),
        (timedelta(milliseconds=500), None),
    ],
)
def test_a_value_is_joined_until_it_is_older_than_its_ttl(taxi: Taxi, ttl: timedelta | None, found: int | None) -> None:
    answer = with_trips(taxi, ttl=ttl).ask(drivers([1], NOON + HOUR), ["driver_trips:trips"])
    assert [row["trips"] for row in answer] == [found]


LATE = {
    "driver_id": [1, 1, 2, 2],
    "trips": [10, 20, 30, 40],
    "at": instants(NOON, NOON, NOON, NOON + HOUR),
    "written": instants(NOON, NOON + HOUR, NOON + HOUR, NOON + 3 * HOUR),
}


@pytest.mark.parametrize(
    ("configured", "asked", "expected"),
    [(False, False, [20, 40]), (False, True, [20, 30]), (True, False, [20, 30]), (True, True, [20, 30])],
)
def test_the_created_time_breaks_ties_and_where_it_is_asked_for_hides_what_was_not_known(
    tmp_path: Path, configured: bool, asked: bool, expected: list[int]
) -> None:
    taxi = open_taxi(tmp_path, filter_by_created_timestamp=configured)
    taxi.write("trips.parquet", LATE)
    rows = source("trips.parquet", created_timestamp_column="written")
    taxi.store.apply([DRIVER, view("driver_trips", [DRIVER], rows)])
    two = drivers([1, 2], NOON + 2 * HOUR, NOON + 2 * HOUR)
    found = taxi.ask(two, ["driver_trips:trips"], filter_by_created_timestamp=asked)
    assert [row["trips"] for row in found] == expected


def test_a_field_mapping_renames_keys_times_and_features_that_are_there(taxi: Taxi) -> None:
    taxi.write(
        "raw.parquet", {"id": [1, 1], "n": [1, 2], "ts": instants(NOON, NOON), "made": instants(NOON + HOUR, NOON)}
    )
    mapping = {"id": "driver_id", "n": "trips", "ts": "at", "made": "written", "absent": "also_absent"}
    rows = source("raw.parquet", created_timestamp_column="written", field_mapping=mapping)
    taxi.store.apply([DRIVER, view("driver_trips", [DRIVER], rows)])
    assert [row["trips"] for row in taxi.ask(drivers([1], NOON), ["driver_trips:trips"])] == [1]


def weather(taxi: Taxi) -> feast.FeatureView:
    taxi.write("weather.parquet", {"place_id": ["a", "b"], "degrees": [1.5, 2.5], "at": instants(NOON, NOON)})
    return view(
        "weather",
        [PLACE],
        source("weather.parquet"),
        schema=[feast.Field(name="degrees", dtype=feast_types.Float64)],
    )


def test_one_view_under_two_names_is_joined_by_two_keys(taxi: Taxi) -> None:
    seen = weather(taxi)
    service = feast.FeatureService(
        name="ride",
        features=[
            seen.with_name("origin").with_join_key_map({"place_id": "from_id"}),
            seen.with_name("destination").with_join_key_map({"place_id": "to_id"}),
        ],
    )
    taxi.store.apply([PLACE, seen, service])
    asked = pd.DataFrame({"from_id": ["a", "b"], "to_id": ["b", "c"], "event_timestamp": [NOON, NOON]})
    found = taxi.ask(asked, taxi.store.get_feature_service("ride"), full_feature_names=True)
    assert [(row["origin__degrees"], row["destination__degrees"]) for row in found] == [(1.5, 2.5), (2.5, None)]


def test_a_composite_key_and_a_view_about_no_entity_are_joined_beside_others(taxi: Taxi) -> None:
    with_trips(taxi)
    taxi.write(
        "rides.parquet", {"driver_id": [1, 1], "place_id": ["a", "b"], "trips": [7, 8], "at": instants(NOON, NOON)}
    )
    taxi.write("city.parquet", {"trips": [100, 200], "at": instants(NOON, NOON + HOUR)})
    taxi.store.apply(
        [
            PLACE,
            weather(taxi),
            view("rides", [DRIVER, PLACE], source("rides.parquet")),
            view("city", [], source("city.parquet")),
        ]
    )
    asked = pd.DataFrame({"driver_id": [1, 2], "place_id": ["b", "b"], "event_timestamp": [NOON, NOON + HOUR]})
    references = ["rides:trips", "city:trips", "weather:degrees", "driver_trips:trips"]
    found = taxi.ask(asked, references, full_feature_names=True)
    assert [[row[reference.replace(":", "__")] for reference in references] for row in found] == [
        [8, 100, 2.5, 10],
        [None, 200, 2.5, 20],
    ]


def test_an_entity_that_is_asked_for_twice_is_answered_twice_and_an_unknown_one_with_nothing(taxi: Taxi) -> None:
    asked = drivers([2, 9, 1, 2, 2], NOON, NOON, NOON, NOON, NOON - HOUR)
    found = with_trips(taxi).ask(asked, ["driver_trips:trips"])
    assert [row["trips"] for row in found] == [20, None, 10, 20, None]


def test_a_view_that_changes_is_read_as_it_is_defined_now(taxi: Taxi) -> None:
    taxi.write("trips.parquet", {**TRIPS, "plan": ["a", "b", "c"]})
    one = drivers([1], NOON)

    def defined(**fields: Any) -> feast.FeatureView:
        schema = [feast.Field(name=name, dtype=dtype) for name, dtype in fields.items()]
        return view("driver_trips", [DRIVER], source("trips.parquet"), schema=schema)

    taxi.store.apply([DRIVER, defined(trips=feast_types.Int64, plan=feast_types.String)])
    assert taxi.ask(one, ["driver_trips:trips", "driver_trips:plan"])[0]["plan"] == "a"
    # `plan` is renamed in the file and in the view, `trips` is retyped in both, `km` is added.
    taxi.write("trips.parquet", {**TRIPS, "trips": ["x", "y", "z"], "tariff": ["a", "b", "c"], "km": [1.5, 2.5, 3.5]})
    taxi.store.apply([DRIVER, defined(trips=feast_types.String, tariff=feast_types.String, km=feast_types.Float64)])
    found = taxi.ask(one, ["driver_trips:trips", "driver_trips:tariff", "driver_trips:km"])[0]
    assert (found["trips"], found["tariff"], found["km"]) == ("x", "a", 1.5)
    with pytest.raises(KeyError, match="plan"):
        taxi.ask(one, ["driver_trips:plan"])
    taxi.store.apply([DRIVER], objects_to_delete=[taxi.store.get_feature_view("driver_trips")], partial=False)
    with pytest.raises(FeatureViewNotFoundException):
        taxi.ask(one, ["driver_trips:km"])


def test_a_feature_that_is_removed_is_gone_though_its_column_stays_in_the_file(taxi: Taxi) -> None:
    taxi.write("trips.parquet", {**TRIPS, "plan": ["a", "b", "c"]})
    fields = [feast.Field(name="trips", dtype=feast_types.Int64), feast.Field(name="plan", dtype=feast_types.String)]
    for schema in (fields, fields[:1]):
        taxi.store.apply([DRIVER, view("driver_trips", [DRIVER], source("trips.parquet"), schema=schema)])
    one = drivers([1], NOON)
    with pytest.raises(KeyError, match="plan"):
        taxi.ask(one, ["driver_trips:trips", "driver_trips:plan"])
    whole = feast.FeatureService(name="whole", features=[taxi.store.get_feature_view("driver_trips")])
    taxi.store.apply([whole])
    assert taxi.ask(one, whole) == [{"driver_id": 1, "event_timestamp": NOON, "trips": 10}]
    taxi.store.materialize(NOON - HOUR, NOON)
    assert taxi.store.get_online_features(whole, [{"driver_id": 1}]).to_dict() == {"driver_id": [1], "trips": [10]}


def double(rows: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"twice": rows["trips"] * 2, "more": rows["trips"] + rows["extra"]})


def with_double(taxi: Taxi) -> None:
    trips = view("driver_trips", [DRIVER], source("trips.parquet"))
    request = feast.RequestSource(name="request", schema=[feast.Field(name="extra", dtype=feast_types.Int64)])
    doubled = OnDemandFeatureView(
        name="double",
        sources=[trips, request],
        schema=[feast.Field(name=name, dtype=feast_types.Int64) for name in ("twice", "more")],
        feature_transformation=PandasTransformation(udf=double, udf_string="double"),
        mode="pandas",
    )
    taxi.store.apply([DRIVER, trips, doubled])


@pytest.mark.filterwarnings("ignore:On demand feature view is an experimental:RuntimeWarning")
def test_on_demand_features_are_computed_and_only_those_that_are_asked_for(taxi: Taxi) -> None:
    taxi.write("trips.parquet", TRIPS)
    with_double(taxi)
    asked = drivers([1, 2], NOON, NOON).assign(extra=[5, 6])
    found = taxi.ask(asked, ["double:more"])
    assert [row["more"] for row in found] == [15, 26]
    assert "twice" not in found[0]


@pytest.mark.filterwarnings("ignore:On demand feature view is an experimental:RuntimeWarning")
def test_without_on_demand_features_none_is_read_from_the_registry(taxi: Taxi, monkeypatch: pytest.MonkeyPatch) -> None:
    taxi.write("trips.parquet", TRIPS)
    with_double(taxi)

    def read(*_: object) -> None:
        raise AssertionError("code of the registry was run")

    monkeypatch.setattr(OnDemandFeatureView, "get_requested_odfvs", read)
    assert taxi.ask(drivers([1], NOON), ["driver_trips:trips"])[0]["trips"] == 10


def test_without_entity_rows_every_instant_of_every_entity_in_the_range_is_answered(taxi: Taxi) -> None:
    rows = with_trips(taxi).ask(None, ["driver_trips:trips"], start_date=NOON, end_date=NOON + 2 * HOUR)
    assert [(row["driver_id"], row["event_timestamp"], row["trips"]) for row in rows] == [
        (1, NOON, 10),
        (2, NOON, 20),
        (1, NOON + 2 * HOUR, 11),
    ]
    later = taxi.ask(None, ["driver_trips:trips"], start_date=NOON + HOUR, end_date=NOON + 2 * HOUR)
    assert [row["trips"] for row in later] == [11]


def test_what_a_retrieval_cannot_give_is_refused_with_what_can_be_done_instead(taxi: Taxi) -> None:
    job = with_trips(taxi).store.get_historical_features(drivers([1], NOON), ["driver_trips:trips"])
    with pytest.raises(NotImplementedError, match=r"no SQL query; .* `to_arrow`"):
        job.to_sql()
    assert not job.supports_remote_storage_export()
    with pytest.raises(NotImplementedError, match=r"no remote storage; .* `persist`"):
        job.to_remote_storage()
