"""Feast's materialize, over our engine: the latest rows, late ones too, and what has no columns as Feast does it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import feast
import pandas as pd
import psycopg
import pytest
from feast import types as feast_types

from tests.feature_repo.stores.feast_shop import CUSTOMER, CUSTOMER_ID, read, source, view

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)


def ago(*hours: float) -> list[datetime]:
    return [NOW - HOUR * each for each in hours]


def test_a_late_row_comes_with_the_next_incremental_run(store: feast.FeatureStore, tmp_path: Path) -> None:
    first: dict[str, list[Any]] = {"customer_id": [1], "spend": [1.0], "event_timestamp": ago(9), "created": ago(9)}
    spending = view("spending", {"spend": feast_types.Float64}, source(tmp_path, "spent", first))
    store.apply([CUSTOMER, spending])
    store.materialize(NOW - 10 * HOUR, NOW - 3 * HOUR)
    late: dict[str, list[Any]] = {"customer_id": [2], "spend": [2.0], "event_timestamp": ago(8), "created": ago(1)}
    source(tmp_path, "spent", {name: [*first[name], *late[name]] for name in first})
    store.materialize_incremental(NOW)
    assert read(store, ["spending:spend"], customer_id=[1, 2])["spend"] == [1.0, 2.0]


def test_the_first_run_brings_its_span_alone(store: feast.FeatureStore, tmp_path: Path, database_url: str) -> None:
    columns: dict[str, Any] = {
        "customer_id": [1, 2, 2, 3],
        "orders": pd.array([1, None, 3, 4], dtype="Int64"),
        "event_timestamp": ago(9, 5, 4, 1),
        "created": ago(9, 5, 4, 1),
    }
    store.apply([CUSTOMER, view("orders", {"orders": feast_types.Int32}, source(tmp_path, "orders", columns))])
    store.materialize(NOW - 8 * HOUR, NOW - 4.5 * HOUR)
    assert read(store, ["orders:orders"], customer_id=[1, 2, 3])["orders"] == [None, None, None]
    store.materialize(NOW - 8 * HOUR, NOW)
    assert read(store, ["orders:orders"], customer_id=[2, 3])["orders"] == [3, 4]
    with psycopg.connect(database_url) as connection:
        runs = connection.execute("SELECT kind, rows_written FROM panthera.materialization ORDER BY finished_at")
        assert runs.fetchall() == [("range", 1), ("range", 3)]


def test_columns_under_other_names_and_no_entity(store: feast.FeatureStore, tmp_path: Path) -> None:
    path = tmp_path / "world.parquet"
    pd.DataFrame({"ts": ago(2, 1), "made": ago(2, 1), "r": [1.0, 2.5]}).to_parquet(path, coerce_timestamps="us")
    world = feast.FileSource(
        name="world",
        path=str(path),
        timestamp_field="event_timestamp",
        created_timestamp_column="created",
        field_mapping={"ts": "event_timestamp", "made": "created", "r": "rate"},
    )
    store.apply([view("world", {"rate": feast_types.Float64}, world, ())])
    store.materialize(NOW - 3 * HOUR, NOW)
    assert store.get_online_features(["world:rate"], [{"anything": 1}]).to_dict()["rate"] == [2.5]


def test_lists_times_and_bytes_stay_what_they_are(store: feast.FeatureStore, tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "customer_id": [1, 2],
        "items": [[1, 2], []],
        "words": [["a", ""], None],
        "seen": [NOW, None],
        "blob": [b"\0\xff", None],
        "event_timestamp": ago(1, 1),
        "created": ago(1, 1),
    }
    types = {
        "items": feast_types.Array(feast_types.Int64),
        "words": feast_types.Array(feast_types.String),
        "seen": feast_types.UnixTimestamp,
        "blob": feast_types.Bytes,
    }
    store.apply([CUSTOMER, view("things", types, source(tmp_path, "things", columns))])
    store.materialize(NOW - 2 * HOUR, NOW)
    found = read(store, [f"things:{name}" for name in types], customer_id=[1, 2])
    assert (found["items"], found["words"]) == ([[1, 2], []], [["a", ""], None])
    assert (found["seen"], found["blob"]) == ([NOW, None], [b"\0\xff", None])


def test_what_has_no_columns_goes_through_feast(store: feast.FeatureStore, tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "customer_id": [1],
        "profile": ['{"a": "b"}'],
        "rounded": [2.0],
        "event_timestamp": ago(1),
        "created": ago(1),
    }
    # A map is a message, and a whole number that is written as a float is one for Feast.
    types = {"profile": feast_types.Map, "rounded": feast_types.Int64}
    store.apply([CUSTOMER, view("profiles", types, source(tmp_path, "profiles", columns))])
    store.materialize(NOW - 2 * HOUR, NOW)
    found = read(store, ["profiles:profile", "profiles:rounded"], customer_id=[1])
    assert (found["profile"], found["rounded"]) == ([{"a": "b"}], [2])


def test_a_view_that_is_kept_offline_too_goes_through_feast(store: feast.FeatureStore, tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "customer_id": [1, 1, 2],
        "spend": [1.0, 2.0, 3.0],
        "event_timestamp": ago(2, 1, 1),
        "created": ago(2, 1, 1),
    }
    spending = view("spending", {"spend": feast_types.Float64}, source(tmp_path, "spent", columns))
    spending.offline = True
    store.apply([CUSTOMER, spending])
    store.materialize(NOW - 3 * HOUR, NOW)
    assert read(store, ["spending:spend"], customer_id=[1, 2])["spend"] == [2.0, 3.0]
    kept = pd.read_parquet(tmp_path / "spent.parquet")
    assert list(kept.columns) == list(columns)
    assert sorted(kept["spend"]) == [1.0, 2.0, 2.0, 3.0, 3.0]


def test_times_without_a_zone_are_of_utc_in_lists_too(store: feast.FeatureStore, tmp_path: Path) -> None:
    naive = NOW.replace(tzinfo=None)
    columns: dict[str, Any] = {
        "customer_id": [1, 2],
        "last": [naive, None],
        "visits": [[naive, naive], []],
        "event_timestamp": ago(1, 1),
        "created": ago(1, 1),
    }
    types = {"last": feast_types.UnixTimestamp, "visits": feast_types.Array(feast_types.UnixTimestamp)}
    store.apply([CUSTOMER, view("seen", types, source(tmp_path, "seen", columns))])
    store.materialize(NOW - 2 * HOUR, NOW)
    found = read(store, ["seen:last", "seen:visits"], customer_id=[1, 2])
    assert found["last"] == [NOW, None]
    assert found["visits"] == [[NOW, NOW], []]


def test_a_failing_source_fails_the_run(store: feast.FeatureStore, tmp_path: Path) -> None:
    columns: dict[str, Any] = {"customer_id": [1], "x": [1.0], "event_timestamp": ago(1), "created": ago(1)}
    store.apply([CUSTOMER, view("spending", {"x": feast_types.Float64}, source(tmp_path, "spent", columns))])
    (tmp_path / "spent.parquet").unlink()
    with pytest.raises(Exception, match="spent"):
        store.materialize(NOW - 2 * HOUR, NOW)
    assert read(store, ["spending:x"], customer_id=[1])["x"] == [None]


def test_a_feature_that_is_a_key_elsewhere_is_kept(store: feast.FeatureStore, tmp_path: Path) -> None:
    columns: dict[str, Any] = {"customer_id": [1], "friend": [2], "event_timestamp": ago(1), "created": ago(1)}
    friends = feast.FeatureView(
        name="friends",
        entities=[CUSTOMER],
        schema=[CUSTOMER_ID, feast.Field(name="friend", dtype=feast_types.Int64)],
        source=source(tmp_path, "friends", columns),
    )
    store.apply([CUSTOMER, friends])
    store.materialize(NOW - 2 * HOUR, NOW)
    assert read(store, ["friends:friend"], customer_id=[1])["friend"] == [2]


def test_a_run_up_to_an_instant_that_has_not_come_brings_what_is_known_now(
    store: feast.FeatureStore, tmp_path: Path, database_url: str
) -> None:
    columns: dict[str, list[Any]] = {
        "customer_id": [1, 1], "spend": [1.0, 2.0], "event_timestamp": ago(2, -500), "created": ago(2, 1)
    }  # fmt: skip
    store.apply([CUSTOMER, view("spending", {"spend": feast_types.Float64}, source(tmp_path, "spent", columns))])
    store.materialize(NOW - 9 * HOUR, NOW + 900 * HOUR)
    assert read(store, ["spending:spend"], customer_id=[1])["spend"] == [1.0]
    with psycopg.connect(database_url) as connection:
        ((as_of,),) = connection.execute("SELECT as_of FROM panthera.materialization").fetchall()
    assert as_of < NOW + HOUR
