"""Ranges of the offline store: what materialization pulls, and datasets that are saved."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast.errors import FeastJoinKeysDuringMaterialization, SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import SourceError
from feature_repo.files import feature_files
from feature_repo.stores.offline_store import PantheraOfflineStore
from tests.feature_repo.stores.taxi_world import DRIVER, HOUR, NOON, Taxi, drivers, instants, open_taxi, source, view

if TYPE_CHECKING:
    from pathlib import Path

TRIPS = {
    "driver_id": [1, 1, 2, 2, 3],
    "trips": [10, 11, 20, 21, 30],
    "at": instants(NOON, NOON + HOUR, NOON, NOON, NOON - HOUR),
    "written": instants(NOON, NOON + 3 * HOUR, NOON + HOUR, NOON, NOON),
}


def latest(taxi: Taxi, keys: list[str], start: datetime, end: datetime) -> list[dict[str, object]]:
    rows: pa.Table = PantheraOfflineStore.pull_latest_from_table_or_query(
        taxi.store.config, source("trips.parquet"), keys, ["trips"], "at", "written", start, end
    ).to_arrow()
    assert rows.column_names[-3:] == ["trips", "at", "written"] if keys else ["at", "written", "__dummy_id"]
    return sorted(rows.to_pylist(), key=lambda row: str(row.get("driver_id")))


def test_the_latest_row_of_every_entity_in_the_range_is_pulled_and_of_ties_the_one_created_last(taxi: Taxi) -> None:
    taxi.write("trips.parquet", TRIPS)
    rows = latest(taxi, ["driver_id"], NOON, NOON + HOUR)
    assert [(row["driver_id"], row["trips"]) for row in rows] == [(1, 11), (2, 20)]
    rows = latest(taxi, ["driver_id"], NOON - HOUR, NOON + HOUR - timedelta(microseconds=1))
    assert [(row["driver_id"], row["trips"]) for row in rows] == [(1, 10), (2, 20), (3, 30)]
    # Feast's own times have no zone.
    assert latest(taxi, ["driver_id"], NOON.replace(tzinfo=None), (NOON + HOUR).replace(tzinfo=None))[0]["trips"] == 11


def test_under_the_cutoff_the_latest_row_is_one_that_was_known_at_the_end(tmp_path: Path) -> None:
    taxi = open_taxi(tmp_path, filter_by_created_timestamp=True)
    taxi.write("trips.parquet", TRIPS)
    assert [row["trips"] for row in latest(taxi, ["driver_id"], NOON, NOON + HOUR)] == [10, 20]


def test_rows_about_no_entity_are_pulled_under_the_key_that_feast_holds_them_by(taxi: Taxi) -> None:
    taxi.write("trips.parquet", TRIPS)
    assert latest(taxi, [], NOON, NOON) == [
        {"trips": 20, "at": NOON, "written": NOON + HOUR, "__dummy_id": ""},
    ]


def test_a_key_that_the_files_lack_is_named(taxi: Taxi) -> None:
    taxi.write("trips.parquet", TRIPS)
    with pytest.raises(FeastJoinKeysDuringMaterialization, match=r"missing: \{'place_id'\}"):
        latest(taxi, ["place_id"], NOON, NOON)


def test_all_rows_of_a_range_are_pulled_in_the_order_of_their_times(taxi: Taxi) -> None:
    taxi.write("trips.parquet", TRIPS)

    def pulled(features: list[str], start: datetime | None, end: datetime | None) -> pa.Table:
        job = PantheraOfflineStore.pull_all_from_table_or_query(
            taxi.store.config, source("trips.parquet"), ["driver_id"], features, "at", None, start, end
        )
        return job.to_arrow()

    assert pulled(["trips"], NOON, NOON).column("trips").to_pylist() == [10, 20, 21]
    assert pulled(["trips"], None, NOON).column("trips").to_pylist() == [30, 10, 20, 21]
    assert pulled(["trips"], NOON + HOUR, None).to_pylist() == [{"driver_id": 1, "trips": 11, "at": NOON + HOUR}]
    assert set(pulled([], None, None).column_names) == set(TRIPS)


@pytest.mark.parametrize("pull_latest", [True, False])
def test_what_feast_materializes_is_what_the_offline_store_joins(tmp_path: Path, pull_latest: bool) -> None:
    taxi = open_taxi(tmp_path)
    taxi.store.config.materialization_config.pull_latest_features = pull_latest
    taxi.write("rows/bucket-00.parquet", pa.table(TRIPS).slice(0, 2))
    taxi.write("rows/bucket-01.parquet", pa.table(TRIPS).slice(2))
    taxi.store.apply(
        [
            DRIVER,
            view("driver_trips", [DRIVER], source("rows/bucket-*.parquet", created_timestamp_column="written")),
            view("city", [], source("rows")),
        ]
    )
    taxi.store.materialize(NOON - HOUR, NOON + HOUR)
    online = taxi.store.get_online_features(
        ["driver_trips:trips", "city:trips"],
        [{"driver_id": driver} for driver in (1, 2, 3, 4)],
        full_feature_names=True,
    ).to_dict()
    asked = drivers([1, 2, 3, 4], *[NOON + HOUR] * 4)
    offline = taxi.ask(asked, ["driver_trips:trips", "city:trips"], full_feature_names=True)
    for name in ("driver_trips__trips", "city__trips"):
        assert online[name] == [row[name] for row in offline], name
    assert online["city__trips"] == [11] * 4


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Taxi:
    """A store for a test that makes many worlds."""
    return open_taxi(tmp_path_factory.mktemp("taxi"))


rows = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12)


@given(rows, st.integers(0, 4), st.integers(0, 4))
@settings(max_examples=40)
def test_the_latest_rows_equal_those_of_a_look_at_every_row(
    shared: Taxi, world: list[tuple[int, int, int]], start: int, end: int
) -> None:
    shared.write(
        "trips.parquet",
        {
            "driver_id": [driver for driver, _, _ in world],
            "trips": list(range(len(world))),
            "at": instants(*(NOON + at * HOUR for _, at, _ in world)),
            "written": instants(*(NOON + written * HOUR for _, _, written in world)),
        },
    )
    job = PantheraOfflineStore.pull_latest_from_table_or_query(
        shared.store.config,
        source("trips.parquet"),
        ["driver_id"],
        ["trips"],
        "at",
        "written",
        NOON + start * HOUR,
        NOON + end * HOUR,
    )
    best = {
        driver: max(
            (at, written, n) for n, (who, at, written) in enumerate(world) if who == driver and start <= at <= end
        )
        for driver in {who for who, at, _ in world if start <= at <= end}
    }
    found = {row["driver_id"]: row["trips"] for row in job.to_arrow().to_pylist()}
    assert found == {driver: n for driver, (_, _, n) in best.items()}


# --- saved datasets


@pytest.mark.filterwarnings("ignore:Saving dataset is an experimental feature:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:Retrieving datasets is an experimental feature:RuntimeWarning")
@pytest.mark.parametrize("path", ["saved.parquet", "saved"])
@pytest.mark.parametrize("full_names", [True, False])
def test_a_saved_dataset_is_the_table_and_is_overwritten_only_on_demand(
    taxi: Taxi, path: str, full_names: bool
) -> None:
    taxi.write("trips.parquet", TRIPS)
    taxi.store.apply([DRIVER, view("driver_trips", [DRIVER], source("trips.parquet"))])
    asked = drivers([1, 2], NOON, NOON + HOUR)

    def save(asked_drivers: object, *, overwrite: bool) -> pa.Table:
        job = taxi.store.get_historical_features(asked_drivers, ["driver_trips:trips"], full_feature_names=full_names)
        saved = taxi.store.create_saved_dataset(job, "trips", SavedDatasetFileStorage(path), allow_overwrite=overwrite)
        found = saved.to_arrow()
        assert found.select(job.to_arrow().column_names).equals(job.to_arrow())
        return found

    save(asked, overwrite=False)
    with pytest.raises(SavedDatasetLocationAlreadyExists):
        save(asked, overwrite=False)
    assert save(asked.tail(1), overwrite=True).num_rows == 1
    assert taxi.store.get_saved_dataset("trips").to_df().shape[0] == 1


def test_persisting_over_the_source_of_a_view_is_refused(taxi: Taxi) -> None:
    taxi.write("trips.parquet", TRIPS)
    taxi.store.apply([DRIVER, view("driver_trips", [DRIVER], source("trips.parquet"))])
    job = taxi.store.get_historical_features(drivers([1], NOON), ["driver_trips:trips"])
    with pytest.raises(SavedDatasetLocationAlreadyExists):
        job.persist(SavedDatasetFileStorage.from_data_source(source("trips.parquet")))
    assert pq.read_table(taxi.folder / "trips.parquet").num_rows == 5


def test_a_table_that_is_changed_while_it_is_read_is_not_mixed(taxi: Taxi) -> None:
    path = taxi.write("trips.parquet", TRIPS)
    (read,) = feature_files.FeatureFiles.find(path).parts()
    assert read(["trips"]).num_rows == 5
    taxi.write("trips.parquet", pa.table(TRIPS).slice(1))
    with pytest.raises(SourceError, match=r"trips\.parquet was changed while it was read; run again"):
        read(["trips"])


def test_a_long_table_is_read_in_parts(taxi: Taxi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_files, "PART_ROWS", 4)
    (taxi.folder / "rows").mkdir()
    count = 10
    table = pa.table({"driver_id": list(range(count)), "trips": list(range(count)), "at": instants(*[NOON] * count)})
    pq.write_table(table, taxi.folder / "rows" / "a.parquet", row_group_size=3)
    pq.write_table(table.slice(0, 2), taxi.folder / "rows" / "b.parquet")
    parts = feature_files.FeatureFiles.find(taxi.folder / "rows").parts()
    assert [read(["trips"]).column("trips").to_pylist() for read in parts] == [
        [0, 1, 2],
        [3, 4, 5],
        [6, 7, 8, 9],
        [0, 1],
    ]
    taxi.store.apply([DRIVER, view("driver_trips", [DRIVER], source("rows"))])
    asked = drivers([*reversed(range(count + 1))], *[NOON] * (count + 1))
    found = taxi.ask(asked, ["driver_trips:trips"])
    assert [row["trips"] for row in found] == [None, *reversed(range(count))]
