"""The online store, as Feast's own client uses it."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import feast
import psycopg
import pytest
from feast import types as feast_types
from feast.data_source import PushSource
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus

from core.errors import DatabaseError, SourceError, StaleStateError
from feature_repo.online import history
from feature_repo.stores.stored_views import stored_view
from tests.feature_repo.stores.feast_shop import (
    CUSTOMER,
    CUSTOMER_ID,
    STORE,
    STORE_ID,
    opened_store,
    read,
    rows,
    source,
    view,
)

if TYPE_CHECKING:
    from pathlib import Path

    from feast.infra.offline_stores.file_source import FileSource

NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)


@pytest.fixture
def empty(tmp_path: Path) -> FileSource:
    return source(tmp_path, "empty", {"customer_id": [0], "event_timestamp": [NOW], "created": [NOW]})


def spending(empty: FileSource, ttl: timedelta | None = None, **fields: Any) -> feast.FeatureView:
    return view("spending", fields or {"spend": feast_types.Float64, "plan": feast_types.String}, empty, ttl=ttl)


def tables(database_url: str) -> list[str]:
    with psycopg.connect(database_url) as connection:
        found = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'online'::regnamespace ORDER BY 1"
        )
        return [name for (name,) in found]


def test_several_views_of_several_entities_are_read_at_once(store: feast.FeatureStore, empty: FileSource) -> None:
    visits = view("visits", {"count": feast_types.Int32}, empty, ((CUSTOMER, CUSTOMER_ID), (STORE, STORE_ID)))
    size = view("size", {"area": feast_types.Float32}, empty, ((STORE, STORE_ID),))
    store.apply([CUSTOMER, STORE, spending(empty), visits, size])
    store.write_to_online_store("spending", rows(customer_id=[1, 2], spend=[10.5, 20.25], plan=["a", "b"]))
    store.write_to_online_store("visits", rows(customer_id=[1, 1, 2], store_id=["n", "s", "n"], count=[3, 4, 5]))
    store.write_to_online_store("size", rows(store_id=["n", "s"], area=[0.5, 1.5]))
    found = read(
        store,
        ["spending:spend", "spending:plan", "visits:count", "size:area"],
        customer_id=[2, 1, 1, 9, 2, 2],
        store_id=["n", "s", "n", "s", "s", "?"],
    )
    assert found["spend"] == [20.25, 10.5, 10.5, None, 20.25, 20.25]
    assert found["plan"] == ["b", "a", "a", None, "b", "b"]
    assert found["count"] == [5, 4, 3, None, None, None]
    assert found["area"] == [0.5, 1.5, 0.5, 1.5, 1.5, None]


def test_a_view_without_entities_has_one_row(store: feast.FeatureStore, empty: FileSource) -> None:
    store.apply([CUSTOMER, view("world", {"rate": feast_types.Float64}, empty, ()), spending(empty)])
    store.write_to_online_store("world", rows(rate=[1.25]))
    assert read(store, ["world:rate", "spending:spend"], customer_id=[7, 8])["rate"] == [1.25, 1.25]


def test_a_key_under_another_name_reads_the_same_view(store: feast.FeatureStore, empty: FileSource) -> None:
    plain = spending(empty)
    friends = feast.FeatureService(
        name="friends",
        features=[plain.with_name("own"), plain.with_name("friend").with_join_key_map({"customer_id": "friend_id"})],
    )
    store.apply([CUSTOMER, plain, friends])
    store.write_to_online_store("spending", rows(customer_id=[1, 2], spend=[10.0, 20.0], plan=["a", "b"]))
    found = store.get_online_features(
        store.get_feature_service("friends"), [{"customer_id": 1, "friend_id": 2}], full_feature_names=True
    ).to_dict()
    assert (found["own__spend"], found["friend__spend"]) == ([10.0], [20.0])


def test_null_nan_and_empty_are_three_things(store: feast.FeatureStore, empty: FileSource) -> None:
    store.apply([CUSTOMER, spending(empty)])
    fields = {1: (None, None), 2: (float("nan"), ""), 3: (0.0, "0")}
    value = feast.protos.feast.types.Value_pb2.Value
    key = feast.protos.feast.types.EntityKey_pb2.EntityKey
    batch = [
        (
            key(join_keys=["customer_id"], entity_values=[value(int64_val=customer)]),
            {
                "spend": value() if spend is None else value(double_val=spend),
                "plan": value() if plan is None else value(string_val=plan),
            },
            NOW,
            None,
        )
        for customer, (spend, plan) in fields.items()
    ]
    store._get_provider().online_write_batch(store.config, store.get_feature_view("spending"), batch, None)
    found = read(store, ["spending:spend", "spending:plan"], customer_id=[1, 2, 3])
    assert str(found["spend"]) == "[None, nan, 0.0]"
    assert found["plan"] == [None, "", "0"]


def test_an_expired_row_has_its_time_and_no_value(store: feast.FeatureStore, empty: FileSource) -> None:
    store.apply([CUSTOMER, spending(empty, ttl=HOUR)])
    times = [NOW - 2 * HOUR, NOW]
    store.write_to_online_store(
        "spending", rows(customer_id=[1, 2], spend=[1.0, 2.0], plan=["a", "b"], event_timestamp=times)
    )
    answer = store.get_online_features(["spending:spend"], [{"customer_id": each} for each in (1, 2, 3)])
    assert answer.to_dict(include_event_timestamps=True) == {
        "customer_id": [1, 2, 3],
        "customer_id__ts": [0, 0, 0],
        "spend": [None, 2.0, None],
        "spend__ts": [int(times[0].timestamp()), int(times[1].timestamp()), 0],
    }
    place = list(answer.proto.metadata.feature_names.val).index("spend")
    assert list(answer.proto.results[place].statuses) == [
        FieldStatus.OUTSIDE_MAX_AGE,
        FieldStatus.PRESENT,
        FieldStatus.NOT_FOUND,
    ]


def test_without_a_ttl_nothing_expires(store: feast.FeatureStore, empty: FileSource) -> None:
    store.apply([CUSTOMER, spending(empty), view("old", {"x": feast_types.Int64}, empty, ttl=timedelta(0))])
    long_ago = [datetime(1971, 1, 1, tzinfo=UTC)]
    store.write_to_online_store("spending", rows(customer_id=[1], spend=[1.0], plan=["a"], event_timestamp=long_ago))
    store.write_to_online_store("old", rows(customer_id=[1], x=[5], event_timestamp=long_ago))
    assert read(store, ["spending:spend", "old:x"], customer_id=[1]) == {"customer_id": [1], "spend": [1.0], "x": [5]}


def test_an_older_event_never_overwrites_a_newer_one(store: feast.FeatureStore, empty: FileSource) -> None:
    store.apply([CUSTOMER, spending(empty)])
    for hours, spend in ((1, 1.0), (3, 3.0), (2, 2.0)):
        time = [NOW + hours * HOUR - 5 * HOUR]
        store.write_to_online_store("spending", rows(customer_id=[1], spend=[spend], plan=["a"], event_timestamp=time))
    assert read(store, ["spending:spend"], customer_id=[1])["spend"] == [3.0]


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "America/New_York"])
def test_no_time_moves_with_a_zone_of_client_or_server(
    store: feast.FeatureStore, empty: FileSource, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    monkeypatch.setenv("TZ", zone)
    monkeypatch.setenv("PGTZ", zone)
    time.tzset()
    try:
        store.apply([CUSTOMER, spending(empty), view("seen", {"last": feast_types.UnixTimestamp}, empty)])
        naive = NOW.replace(tzinfo=None)  # Feast's own convention: it is UTC
        store.write_to_online_store("spending", rows(customer_id=[1], spend=[1.0], plan=["a"], event_timestamp=[naive]))
        store.write_to_online_store("seen", rows(customer_id=[1], last=[NOW], event_timestamp=[NOW]))
        answer = store.get_online_features(["spending:spend", "seen:last"], [{"customer_id": 1}])
        found = answer.to_dict(include_event_timestamps=True)
        assert found["spend__ts"] == found["last__ts"] == [int(NOW.timestamp())]
        assert found["last"] == [NOW]
        with psycopg.connect(os.environ["PANTHERA_DATABASE_URL"]) as connection:
            table = next(name for name in tables(os.environ["PANTHERA_DATABASE_URL"]) if "spending" in name)
            assert connection.execute(f"SELECT event_timestamp FROM online.{table}").fetchone() == (NOW,)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_changed_schema_keeps_what_is_still_the_same(store: feast.FeatureStore, empty: FileSource) -> None:
    before = {
        "spend": feast_types.Float64,
        "plan": feast_types.String,
        "age": feast_types.Int32,
        "gone": feast_types.Bool,
    }
    store.apply([CUSTOMER, spending(empty, **before)])
    store.write_to_online_store(
        "spending", rows(customer_id=[1], spend=[1.5], plan=["a"], age=[30], gone=[True], event_timestamp=[NOW])
    )
    # `plan` is renamed, `age` is retyped, `gone` is removed and `added` is new.
    after = {
        "spend": feast_types.Float64,
        "tariff": feast_types.String,
        "age": feast_types.String,
        "added": feast_types.Int64,
    }
    store.apply([CUSTOMER, spending(empty, **after)])
    references = [f"spending:{name}" for name in after]
    found = read(store, references, customer_id=[1])
    assert found == {"customer_id": [1], "spend": [1.5], "tariff": [None], "age": [None], "added": [None]}
    with pytest.raises(KeyError):
        read(store, ["spending:gone"], customer_id=[1])
    store.write_to_online_store("spending", rows(customer_id=[1], spend=[2.5], tariff=["t"], age=["old"], added=[7]))
    assert read(store, references, customer_id=[1])["added"] == [7]
    store.apply([CUSTOMER, spending(empty, **before)])
    found = read(store, [f"spending:{name}" for name in before], customer_id=[1])
    assert found == {"customer_id": [1], "spend": [2.5], "plan": ["a"], "age": [30], "gone": [True]}


def test_each_version_of_a_view_is_read_and_written_beside_the_others(
    tmp_path: Path, database_url: str, empty: FileSource
) -> None:
    with opened_store(tmp_path, database_url, versions=True) as store:
        store.apply([CUSTOMER, spending(empty, spend=feast_types.Float64)])
        store.write_to_online_store("spending", rows(customer_id=[1], spend=[1.5]))
        store.apply([CUSTOMER, spending(empty, spend=feast_types.Float64, visits=feast_types.Int64)])
        assert read(store, ["spending:spend"], customer_id=[1])["spend"] == [None]
        store.write_to_online_store("spending", rows(customer_id=[1], spend=[2.5], visits=[3]))
        found = {
            name: read(store, [name], customer_id=[1])["spend"] for name in ("spending:spend", "spending@v0:spend")
        }
        assert found == {"spending:spend": [2.5], "spending@v0:spend": [1.5]}
        with psycopg.connect(database_url) as connection:
            history.collect(connection, needed=set())
        assert read(store, ["spending@v0:spend", "spending@v1:visits"], customer_id=[1]) == {
            "customer_id": [1],
            "spend": [1.5],
            "visits": [3],
        }
        store.apply([CUSTOMER], objects_to_delete=[spending(empty)], partial=False)
        assert tables(database_url) == []


def test_a_removed_view_is_empty_when_it_comes_back(
    store: feast.FeatureStore, empty: FileSource, database_url: str
) -> None:
    other = view("other", {"x": feast_types.Int64}, empty)
    store.apply([CUSTOMER, spending(empty), other])
    store.write_to_online_store("spending", rows(customer_id=[1], spend=[1.0], plan=["a"]))
    store.write_to_online_store("other", rows(customer_id=[1], x=[5]))
    store.apply([CUSTOMER, other], objects_to_delete=[spending(empty)], partial=False)
    assert [name.rpartition("__")[0] for name in tables(database_url)] == ["shop_other"]
    store.apply([CUSTOMER, spending(empty), other])
    assert read(store, ["spending:spend", "other:x"], customer_id=[1]) == {
        "customer_id": [1],
        "spend": [None],
        "x": [5],
    }
    store.teardown()
    assert tables(database_url) == []


@pytest.mark.filterwarnings("ignore:(Stream|On demand) feature views? (are|is an) experimental:RuntimeWarning")
def test_a_teardown_leaves_no_table_of_stream_and_on_demand_views(
    store: feast.FeatureStore, empty: FileSource, database_url: str
) -> None:
    stream, doubled = streaming(empty), on_demand(empty)
    store.apply([CUSTOMER, spending(empty), stream, doubled])
    store.write_to_online_store("stream", rows(customer_id=[1], x=[5]))
    store.write_to_online_store("doubled", rows(customer_id=[1], spend=[1.5]))
    assert read(store, ["stream:x", "doubled:twice"], customer_id=[1]) == {
        "customer_id": [1],
        "x": [5],
        "twice": [3.0],
    }
    store.teardown()
    assert tables(database_url) == []
    store.apply([CUSTOMER, spending(empty), stream, doubled])
    assert read(store, ["stream:x", "doubled:twice"], customer_id=[1]) == {
        "customer_id": [1],
        "x": [None],
        "twice": [None],
    }


def streaming(empty: FileSource) -> feast.StreamFeatureView:
    return feast.StreamFeatureView(
        name="stream",
        entities=[CUSTOMER],
        schema=[CUSTOMER_ID, feast.Field(name="x", dtype=feast_types.Int64)],
        source=PushSource(name="stream_push", batch_source=empty),
        ttl=timedelta(0),
    )


def on_demand(empty: FileSource) -> Any:
    @feast.on_demand_feature_view.on_demand_feature_view(  # type: ignore[untyped-decorator]
        entities=[CUSTOMER],
        sources=[spending(empty)],
        schema=[feast.Field(name="twice", dtype=feast_types.Float64)],
        mode="python",
        write_to_online_store=True,
    )
    def doubled(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"twice": [2 * each for each in inputs["spend"]]}

    return doubled


def test_the_runs_of_a_table_that_was_dropped_do_not_count_for_the_one_made_after_it(
    store: feast.FeatureStore, empty: FileSource, database_url: str
) -> None:
    store.apply([CUSTOMER, spending(empty)])
    (name,) = tables(database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        table = stored_view(store.config, store.get_feature_view("spending")).table
        history.record_run(connection, "spending", table, NOW - HOUR, 0)
        assert history.unfilled(connection, [name]) == []
        assert history.watermark(connection, name) == NOW - HOUR
        store.teardown()
        store.apply([CUSTOMER, spending(empty)])
        assert history.unfilled(connection, [name]) == [name]
        assert history.watermark(connection, name) is None
        history.record_run(connection, "spending", table, NOW, 0)
        assert history.watermark(connection, name) == NOW


def test_a_type_that_says_nothing_is_refused_at_apply(store: feast.FeatureStore, empty: FileSource) -> None:
    with pytest.raises(SourceError, match=r"'what' of the view 'spending' has the type Invalid"):
        store.apply([CUSTOMER, spending(empty, what=feast_types.Invalid)])


def test_a_list_is_refused_as_a_key(store: feast.FeatureStore, empty: FileSource) -> None:
    basket = feast.Entity(name="basket", join_keys=["items"], value_type=feast.ValueType.INT64_LIST)
    items = feast.Field(name="items", dtype=feast_types.Array(feast_types.Int64))
    with pytest.raises(SourceError, match=r"'items' of the view 'baskets' has the type .* cannot be a key"):
        store.apply([basket, view("baskets", {"x": feast_types.Int64}, empty, ((basket, items),))])


def test_a_text_that_postgres_cannot_hold_is_refused_with_its_feature(
    store: feast.FeatureStore, empty: FileSource
) -> None:
    store.apply([CUSTOMER, spending(empty)])
    with pytest.raises(SourceError, match=r"the feature 'plan' of the view 'spending': .*NUL"):
        store.write_to_online_store("spending", rows(customer_id=[1], spend=[1.0], plan=["a\0b"]))
    assert read(store, ["spending:plan"], customer_id=[1])["plan"] == [None]


def test_names_of_any_kind_and_length_work(store: feast.FeatureStore, empty: FileSource) -> None:
    names = ["x" * 70, "x" * 69 + "y", 'a "quoted" näme', "select", "event_timestamp_"]
    wide = view("v" * 80, dict.fromkeys(names, feast_types.Int64), empty)
    store.apply([CUSTOMER, wide])
    store.write_to_online_store(wide.name, rows(customer_id=[1], **{name: [place] for place, name in enumerate(names)}))
    found = read(store, [f"{wide.name}:{name}" for name in names], customer_id=[1])
    assert [found[name] for name in names] == [[0], [1], [2], [3], [4]]


def test_pushed_rows_can_be_read(store: feast.FeatureStore, empty: FileSource) -> None:
    pushed = feast.FeatureView(
        name="clicks",
        entities=[CUSTOMER],
        schema=[CUSTOMER_ID, feast.Field(name="clicks", dtype=feast_types.Int64)],
        source=PushSource(name="click_stream", batch_source=empty),
        ttl=HOUR,
    )
    store.apply([CUSTOMER, pushed])
    store.push("click_stream", rows(customer_id=[1, 2], clicks=[3, 4]))
    assert read(store, ["clicks:clicks"], customer_id=[1, 2])["clicks"] == [3, 4]

    async def push_and_read() -> list[int]:
        await store.initialize()
        await store.push_async("click_stream", rows(customer_id=[1], clicks=[5]))
        answer = await store.get_online_features_async(["clicks:clicks"], [{"customer_id": 1}, {"customer_id": 2}])
        await store.close()
        found: list[int] = answer.to_dict()["clicks"]
        return found

    assert asyncio.run(push_and_read()) == [5, 4]
    assert read(store, ["clicks:clicks"], customer_id=[1, 2])["clicks"] == [5, 4]


def test_feast_materializes_through_the_store(store: feast.FeatureStore, tmp_path: Path) -> None:
    times = [NOW - 5 * HOUR, NOW - 3 * HOUR, NOW - HOUR]
    history = source(
        tmp_path,
        "history",
        {"customer_id": [1, 1, 2], "spend": [1.0, 2.0, 3.0], "plan": ["a", "b", "c"],
         "event_timestamp": times, "created": times},
    )  # fmt: skip
    store.apply([CUSTOMER, spending(history)])
    store.materialize(NOW - 6 * HOUR, NOW - 4 * HOUR)
    assert read(store, ["spending:plan"], customer_id=[1, 2])["plan"] == ["a", None]
    store.materialize_incremental(NOW)
    assert read(store, ["spending:plan"], customer_id=[1, 2])["plan"] == ["b", "c"]
    store.materialize(NOW - 6 * HOUR, NOW - 4 * HOUR)
    assert read(store, ["spending:plan"], customer_id=[1, 2])["plan"] == ["b", "c"]


def test_the_store_works_on_after_its_connections_were_cut(
    store: feast.FeatureStore, empty: FileSource, database_url: str
) -> None:
    store.apply([CUSTOMER, spending(empty)])
    store.write_to_online_store("spending", rows(customer_id=[1], spend=[1.0], plan=["a"]))
    for _ in range(3):
        with psycopg.connect(database_url) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert read(store, ["spending:spend"], customer_id=[1])["spend"] == [1.0]


def test_the_pool_is_full_again_after_many_failing_reads(
    store: feast.FeatureStore, empty: FileSource, database_url: str
) -> None:
    store.apply([CUSTOMER, spending(empty)])
    store.write_to_online_store("spending", rows(customer_id=[1], spend=[1.0], plan=["a"]))
    (table,) = tables(database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"ALTER TABLE online.{table} RENAME TO away")
        for _ in range(50):
            with pytest.raises(StaleStateError, match="panthera repair"):
                read(store, ["spending:spend"], customer_id=[1])
        connection.execute(f"ALTER TABLE online.away RENAME TO {table}")
    assert read(store, ["spending:spend"], customer_id=[1])["spend"] == [1.0]
    statistics = store._get_provider().online_store._pools.blocking().get_stats()
    assert statistics["pool_available"] == statistics["pool_size"]


def test_a_missing_server_is_told_without_its_password(
    store: feast.FeatureStore, empty: FileSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.apply([CUSTOMER, spending(empty)])
    monkeypatch.setenv("PANTHERA_DATABASE_URL", "postgresql://someone:secret@127.0.0.1:1/nowhere")
    with pytest.raises(DatabaseError, match=r"127\.0\.0\.1:1/nowhere") as told:
        read(store, ["spending:spend"], customer_id=[1])
    assert "secret" not in str(told.value)


def test_a_request_without_a_join_key_is_told_which(store: feast.FeatureStore, empty: FileSource) -> None:
    visits = view("visits", {"count": feast_types.Int32}, empty, ((CUSTOMER, CUSTOMER_ID), (STORE, STORE_ID)))
    store.apply([CUSTOMER, STORE, visits])
    with pytest.raises(KeyError, match="store_id"):
        read(store, ["visits:count"], customer_id=[1])


def test_precomputed_vectors_are_kept_by_their_entity(store: feast.FeatureStore, empty: FileSource) -> None:
    store.apply([CUSTOMER, spending(empty)])
    online = store._get_provider().online_store
    value = feast.protos.feast.types.Value_pb2.Value
    keys = [
        feast.protos.feast.types.EntityKey_pb2.EntityKey(
            join_keys=["customer_id"], entity_values=[value(int64_val=customer)]
        )
        for customer in (1, 2)
    ]
    assert online.read_precomputed_vectors(store.config, "service", "shop", keys) == [None, None]
    online.write_precomputed_vector(store.config, "service", "shop", keys[0], b"vector")
    assert online.read_precomputed_vectors(store.config, "service", "shop", keys) == [b"vector", None]


def test_a_search_of_vectors_is_refused(store: feast.FeatureStore, empty: FileSource) -> None:
    store.apply([CUSTOMER, spending(empty, where=feast_types.Array(feast_types.Float32))])
    with pytest.raises(NotImplementedError, match="vector stores"):
        store.retrieve_online_documents(features=["spending:where"], query=[1.0], top_k=1)


def test_a_row_of_the_future_is_refused_and_keeps_no_later_one_away(
    store: feast.FeatureStore, empty: FileSource
) -> None:
    store.apply([CUSTOMER, spending(empty)])
    ahead = rows(customer_id=[1, 2], spend=[1.0, 2.0], plan=["a", "b"])
    ahead["event_timestamp"] = [NOW, NOW + 400 * 24 * HOUR]
    with pytest.raises(SourceError, match=r"spending: the row of \(2,\): .* is in the future; the clock says"):
        store.write_to_online_store("spending", ahead)
    store.write_to_online_store("spending", rows(customer_id=[2], spend=[3.0], plan=["c"]))
    assert read(store, ["spending:spend"], customer_id=[1, 2])["spend"] == [None, 3.0]
