"""The online tables: no row goes back in time, a refresh is whole, and nobody needs what is retired."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from core.postgres.database import connect
from feature_repo.online import history
from feature_repo.online.erasure import delete_entity
from feature_repo.online.refresh import Load, refresh
from feature_repo.online.table import OnlineTable, versioned_name
from feature_repo.online.tables import create, exists, merge, merge_values
from tests.feature_repo.online.online_rows import SPENDING, Row, arrow, at, row, stored

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    with connect(database_url) as opened:
        create(opened, SPENDING)
        yield opened


def _latest(rows: list[Row]) -> list[Row]:
    best: dict[int, Row] = {}
    for each in rows:
        if each[0] not in best or each[1:3] >= best[each[0]][1:3]:
            best[each[0]] = each
    return [best[customer] for customer in sorted(best)]


def test_in_whatever_order_rows_come_the_latest_stays(connection: psycopg.Connection) -> None:
    chance = random.Random(3)  # noqa: S311
    rows = [row(number % 40, chance.randrange(9), created=10 + number, spend=number) for number in range(900)]
    chance.shuffle(rows)
    arrivals = [rows[:300], rows[300:340], rows[340:341], rows[341:]]
    merge(connection, SPENDING, arrow(arrivals[0]))
    merge_values(connection, SPENDING, arrivals[1])
    merge_values(connection, SPENDING, arrivals[2])
    merge_values(connection, SPENDING, arrivals[3])
    assert stored(connection) == _latest(rows)


def test_of_equal_event_times_the_later_created_stays(connection: psycopg.Connection) -> None:
    restated, first = row(1, 3, 2.0, created=5), row(1, 3, 1.0, created=4)
    merge(connection, SPENDING, arrow([restated]))
    merge(connection, SPENDING, arrow([first]))
    assert stored(connection) == [restated]
    merge_values(connection, SPENDING, [first])
    assert stored(connection) == [restated]


def test_rows_that_are_still_coming_are_in_the_way_of_no_refresh(
    connection: psycopg.Connection, database_url: str
) -> None:
    connection.commit()
    with connect(database_url) as other:

        def swap(*_: object) -> None:
            other.execute(f"LOCK TABLE online.{SPENDING.name} IN ACCESS EXCLUSIVE MODE NOWAIT")
            refresh(other, [Load(SPENDING, arrow([row(1, 2, 5.0), row(2, 2)]))], at(2))
            other.commit()

        merge(connection, SPENDING, arrow([row(1, 1, 4.0), row(3, 1)]), swap)
        connection.commit()
        assert stored(connection) == [row(1, 2, 5.0), row(2, 2), row(3, 1)]
        connection.commit()
        refresh(connection, [Load(SPENDING, arrow([row(4, 3)]))], at(3), swap)
    assert stored(connection) == [row(4, 3)]


def test_an_empty_increment_changes_nothing(connection: psycopg.Connection) -> None:
    merge(connection, SPENDING, arrow([row(1, 1)]))
    assert merge(connection, SPENDING, arrow([])) == 0
    assert merge_values(connection, SPENDING, []) == 0
    assert stored(connection) == [row(1, 1)]


def test_a_refresh_brings_new_rows_and_drops_entities_that_are_gone(connection: psycopg.Connection) -> None:
    merge(connection, SPENDING, arrow([row(1, 1), row(2, 1)]))
    told: list[tuple[str, int]] = []
    counts = refresh(
        connection, [Load(SPENDING, arrow([row(2, 2), row(3, 2)]))], at(2), lambda name, rows: told.append((name, rows))
    )
    assert counts == {SPENDING.name: 2}
    assert told == [(SPENDING.name, 2)]
    assert stored(connection) == [row(2, 2), row(3, 2)]


def test_a_refresh_keeps_what_is_later_than_it(connection: psycopg.Connection) -> None:
    pushed, restated, late = row(1, 5), row(2, 1, 9.0, created=6), row(3, 2, created=2)
    merge(connection, SPENDING, arrow([pushed, restated, late, row(4, 3)]))
    loaded = [row(2, 1, 1.0), row(3, 1)]
    refresh(connection, [Load(SPENDING, arrow(loaded))], at(4))
    # 1 was not knowable then; of 2 and 3 a later row is there; 4 was knowable and is not in the load: it was erased.
    assert stored(connection) == [pushed, restated, late]


def test_an_earlier_refresh_takes_nothing_back(connection: psycopg.Connection) -> None:
    refresh(connection, [Load(SPENDING, arrow([row(1, 2), row(2, 2)]))], at(2))
    refresh(connection, [Load(SPENDING, arrow([row(1, 1)]))], at(1))
    assert stored(connection) == [row(1, 2), row(2, 2)]


def test_a_refreshed_table_keeps_its_key_and_who_may_read_it(connection: psycopg.Connection) -> None:
    connection.execute('CREATE ROLE "the reader"')
    connection.execute(sql.SQL('GRANT SELECT ON {} TO "the reader", PUBLIC').format(SPENDING.identifier))
    try:
        refresh(connection, [Load(SPENDING, arrow([row(1, 1)]))], at(1))
        granted = connection.execute(
            "SELECT has_table_privilege('the reader', %s, 'SELECT'), has_table_privilege('the reader', %s, 'DELETE')",
            [f"online.{SPENDING.name}"] * 2,
        ).fetchone()
        assert granted == (True, False)
        with pytest.raises(psycopg.errors.UniqueViolation), connection.transaction():
            connection.execute(sql.SQL("INSERT INTO {0} SELECT * FROM {0}").format(SPENDING.identifier))
    finally:
        connection.rollback()  # roles belong to the server that all tests share


def test_a_reader_meets_all_views_of_one_run_or_all_of_the_other(database_url: str) -> None:
    tables = [OnlineTable(f"view{number}__1", SPENDING.keys, SPENDING.features) for number in range(3)]
    with connect(database_url) as writer:
        for table in tables:
            create(writer, table)
            merge(writer, table, arrow([row(customer, 0, 0.0) for customer in range(50)]))
    met: set[tuple[float, ...]] = set()
    done = threading.Event()

    def read() -> None:
        names = ["view2__1", "view0__1", "view1__1"]
        query = " UNION ALL ".join(f"SELECT spend FROM online.{name}" for name in names)
        with connect(database_url) as reader:
            reader.autocommit = True
            while not done.is_set():
                met.add(tuple(sorted({spend for (spend,) in reader.execute(query, prepare=True)})))

    reading = threading.Thread(target=read)
    reading.start()
    try:
        for run in range(1, 16):
            with connect(database_url) as writer:
                rows = arrow([row(customer, run, float(run)) for customer in range(50)])
                refresh(writer, [Load(table, rows) for table in tables], at(run))
    finally:
        done.set()
        reading.join()
    assert len(met) > 1
    assert {len(spends) for spends in met} == {1}


def test_a_killed_refresh_leaves_nothing(database_url: str) -> None:
    with connect(database_url) as connection:
        create(connection, SPENDING)
        merge(connection, SPENDING, arrow([row(1, 1)]))

    def fails(_: str, rows: int) -> None:
        with connect(database_url) as other:
            other.execute("SELECT pg_terminate_backend(%s)", [process])

    with connect(database_url) as connection:
        process = connection.info.backend_pid
        with pytest.raises(psycopg.OperationalError):
            refresh(connection, [Load(SPENDING, arrow([row(1, 2)]))], at(2), fails)
    with connect(database_url) as connection:
        assert stored(connection) == [row(1, 1)]
        tables = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'online'::regnamespace"
        )
        assert tables.fetchall() == [(SPENDING.name,)]
        refresh(connection, [Load(SPENDING, arrow([row(1, 2)]))], at(2))
        assert stored(connection) == [row(1, 2)]


def test_an_entity_is_deleted_from_every_table_of_its_key(connection: psycopg.Connection) -> None:
    by_device = OnlineTable("devices__1", (("customer", "int64"), ("device", "string")), (("clicks", "int64"),))
    other = OnlineTable("stores__1", (("store", "int64"),), (("customer", "int64"),))
    create(connection, by_device)
    create(connection, other)
    merge(connection, SPENDING, arrow([row(1, 1), row(2, 1)]))
    merge_values(
        connection, by_device, [(1, "a", at(0), at(0), 3), (1, "b", at(0), at(0), 4), (2, "a", at(0), at(0), 5)]
    )
    merge_values(connection, other, [(7, at(0), at(0), 1)])
    assert delete_entity(connection, "customer", 1) == {by_device.name: 2, SPENDING.name: 1}
    assert stored(connection) == [row(2, 1)]
    assert stored(connection, by_device) == [(2, "a", at(0), at(0), 5)]
    assert stored(connection, other) == [(7, at(0), at(0), 1)]


def test_a_retired_table_stays_until_no_release_needs_it(connection: psycopg.Connection) -> None:
    versions = [OnlineTable(f"spending__{number}", SPENDING.keys, SPENDING.features) for number in range(3)]
    for table in versions:
        create(connection, table)
    assert history.register(connection, "shop", "spending", versions[0].name) is None
    assert history.register(connection, "shop", "spending", versions[0].name) is None
    assert history.register(connection, "shop", "spending", versions[1].name) == versions[0].name
    assert history.register(connection, "shop", "spending", versions[2].name) == versions[1].name
    history.register(connection, "other", "spending", SPENDING.name)
    assert history.collect(connection, needed={versions[0].name}) == [versions[1].name]
    assert [exists(connection, table.name) for table in (*versions, SPENDING)] == [True, False, True, True]
    assert history.collect(connection, needed=set()) == [versions[0].name]


def test_the_newest_run_is_told_first_and_the_watermark_is_the_highest(connection: psycopg.Connection) -> None:
    history.record_run(connection, "spending", SPENDING, at(5), 10)
    history.record_run(connection, "spending", SPENDING, at(3), 7, "increment")
    found = history.runs(connection, SPENDING.name, 5)
    assert [(run.as_of, run.rows_written, run.kind) for run in found] == [(at(3), 7, "increment"), (at(5), 10, "full")]
    assert history.watermark(connection, SPENDING.name) == at(5)
    assert history.watermark(connection, "unknown") is None


def test_a_long_name_keeps_its_version() -> None:
    names = [versioned_name("a_view_" + "of_many_words_" * 5, version) for version in ("0123456789ab", "ba9876543210")]
    assert [len(name) for name in names] == [63, 63]
    assert names[0] != names[1]
    assert versioned_name("spending", "0123456789ab") == "spending__0123456789ab"
