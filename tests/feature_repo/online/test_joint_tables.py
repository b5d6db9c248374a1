"""Joint tables: what they hold, who keeps them, and what a living handle reads when they come and go."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow as pa
import pytest

from core.contracts import Freshness
from core.postgres.database import connect
from core.postgres.pool import connection_pool, lent
from feature_repo.online import history, joint_tables
from feature_repo.online.erasure import delete_entity
from feature_repo.online.handle import HandleLink, HandleView, OnlineHandle
from feature_repo.online.joint_tables import JointTable
from feature_repo.online.refresh import Load, refresh
from feature_repo.online.table import OnlineTable
from feature_repo.online.tables import create, exists, lock, merge_values
from tests.feature_repo.online.online_rows import SPENDING, UTC_MICROSECONDS, Row, arrow, at, joint_rows, row, stored

if TYPE_CHECKING:
    from collections.abc import Iterator

TTL = timedelta(days=100)


def like_spending(name: str) -> OnlineTable:
    return OnlineTable(name, SPENDING.keys, SPENDING.features)


CALLS, VISITS = like_spending("calls__0123456789ab"), like_spending("visits__0123456789ab")
JOINT, WITH_VISITS = JointTable((CALLS, SPENDING)), JointTable((CALLS, SPENDING, VISITS))


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    """Two tables in a joint one, of which customer 1 is in both; and a third, empty one. Each statement commits itself."""
    with connect(database_url) as opened:
        opened.autocommit = True
        for table in (CALLS, SPENDING, VISITS):
            create(opened, table)
        bring(opened, {CALLS: [row(1, 1, 1.0), row(2, 1, 2.0)], SPENDING: [row(1, 2, 11.0), row(3, 2, 13.0)]})
        yield opened


def bring(connection: psycopg.Connection, rows: dict[OnlineTable, list[Row]], day: int = 2) -> None:
    with connection.transaction():
        refresh(connection, [Load(table, arrow(each)) for table, each in rows.items()], at(day))


def handle(*tables: OnlineTable) -> OnlineHandle:
    views = [HandleView(table.name, table.name, TTL, ("spend", "plan")) for table in tables]
    return OnlineHandle(views, "customer", "int64")


def spends(reader: OnlineHandle, connection: psycopg.Connection, *customers: int) -> list[tuple[Any, ...]]:
    reads = reader.read_blocking(connection, customers, at(50))
    return [tuple(read.values[0] for read in found.values()) for found in reads]


def mark(connection: psycopg.Connection, joint: JointTable) -> None:
    """Give every row of a joint table values that its members do not have, so that a read tells where it comes from."""
    for position, _ in enumerate(joint.members):
        connection.execute(f'UPDATE online.{joint.name} SET "{position}.spend" = -1 - {position}')


def test_a_refresh_of_several_tables_joins_them(connection: psycopg.Connection) -> None:
    assert joint_rows(connection, JOINT) == [
        (1, at(1), 1.0, "", at(2), 11.0, ""),
        (2, at(1), 2.0, "", None, None, None),
        (3, None, None, None, at(2), 13.0, ""),
    ]


def test_the_handle_reads_the_joint_table(connection: psycopg.Connection) -> None:
    reader = handle(SPENDING, CALLS)
    assert spends(reader, connection, 3, 1, 2, 99) == [(13.0, None), (11.0, 1.0), (None, 2.0), (None, None)]
    mark(connection, JOINT)
    (found,) = reader.read_blocking(connection, [3], at(50))
    assert found[SPENDING.name].values == (-2.0, "")
    assert found[CALLS.name].status is Freshness.MISSING


def test_within_a_transaction_which_must_not_fail_the_handle_reads_the_views_own_tables(
    connection: psycopg.Connection,
) -> None:
    mark(connection, JOINT)
    reader = handle(CALLS, SPENDING)
    with connection.transaction():
        assert spends(reader, connection, 1) == [(1.0, 11.0)]
    assert spends(reader, connection, 1) == [(-1.0, -2.0)]


def test_one_view_alone_is_read_from_its_own_table(connection: psycopg.Connection) -> None:
    mark(connection, JOINT)
    assert spends(handle(CALLS, VISITS), connection, 1) == [(1.0, None)]


def test_an_old_handle_goes_on_reading_while_views_are_added_and_removed(connection: psycopg.Connection) -> None:
    reader = handle(CALLS, SPENDING)
    assert spends(reader, connection, 1) == [(1.0, 11.0)]
    fresh = {CALLS: [row(1, 3, 5.0)], SPENDING: [row(1, 3, 6.0)], VISITS: [row(1, 3, 7.0)]}
    bring(connection, fresh, 3)
    assert not exists(connection, JOINT.name)
    assert spends(reader, connection, 1) == [(5.0, 6.0)]
    mark(connection, WITH_VISITS)
    assert spends(reader, connection, 1) == [(5.0, 6.0)]
    reader._next_look = -math.inf
    assert spends(reader, connection, 1) == [(-1.0, -2.0)]
    bring(connection, {CALLS: fresh[CALLS]}, 3)
    assert not exists(connection, WITH_VISITS.name)
    merge_values(connection, SPENDING, [row(1, 4, 8.0)])
    assert spends(reader, connection, 1) == [(5.0, 8.0)]


def test_a_release_of_a_retired_version_reads_its_own_table(connection: psycopg.Connection) -> None:
    old = handle(CALLS, SPENDING)
    assert spends(old, connection, 1) == [(1.0, 11.0)]
    retyped = OnlineTable("calls__ba9876543210", CALLS.keys, (("spend", "string"), ("plan", "string")))
    create(connection, retyped)
    (text,) = [pa.table({**dict(zip(SPENDING.columns, arrow([row(1, 3)]).columns, strict=True)), "spend": ["much"]})]
    with connection.transaction():
        refresh(connection, [Load(SPENDING, arrow([row(1, 3, 12.0)])), Load(retyped, text)], at(3))
    new = handle(retyped, SPENDING)
    mark_both = JointTable((retyped, SPENDING))
    connection.execute(f'UPDATE online.{mark_both.name} SET "1.spend" = -2')
    for reader in (old, new):
        reader._next_look = -math.inf
    assert spends(old, connection, 1) == [(1.0, 12.0)]
    assert spends(new, connection, 1) == [("much", -2.0)]


def test_a_service_reads_on_when_the_joint_table_vanishes_under_it(
    connection: psycopg.Connection, database_url: str
) -> None:
    async def use() -> None:
        reader, pool = handle(CALLS, SPENDING), connection_pool(database_url)
        await pool.open()
        try:
            for gone in (False, True):
                async with lent(pool) as lent_connection:
                    (found,) = await reader.read(lent_connection, [1], at(50))
                expected = (1.0, 11.0) if gone else (-1.0, -2.0)
                assert tuple(read.values[0] for read in found.values()) == expected
                connection.execute(f"DROP TABLE IF EXISTS online.{JOINT.name}")
        finally:
            await pool.close()

    mark(connection, JOINT)
    asyncio.run(use())


def test_a_refresh_makes_a_lost_joint_table_again(connection: psycopg.Connection) -> None:
    connection.execute(f"DROP TABLE online.{JOINT.name}")
    merge_values(connection, CALLS, [row(2, 3, 4.0)])
    with connection.transaction():
        assert delete_entity(connection, "customer", 1) == {CALLS.name: 1, SPENDING.name: 1, VISITS.name: 0}
    bring(connection, {CALLS: [row(2, 1, 2.0)], SPENDING: [row(3, 2, 13.0)]})
    assert joint_rows(connection, JOINT) == [
        (2, at(3), 4.0, "", None, None, None),
        (3, None, None, None, at(2), 13.0, ""),
    ]


def test_a_table_that_is_gone_is_missed_though_the_joint_table_is_there(connection: psycopg.Connection) -> None:
    reader = handle(CALLS, SPENDING)
    assert spends(reader, connection, 1) == [(1.0, 11.0)]
    connection.execute(f"DROP TABLE online.{CALLS.name}")
    with pytest.raises(psycopg.errors.UndefinedTable, match="calls__0123456789ab"):
        spends(reader, connection, 1)
    create(connection, CALLS)
    for _ in range(2):
        assert spends(reader, connection, 1) == [(None, 11.0)]
        reader._next_look = -math.inf


def test_who_may_not_read_all_members_reads_their_own_tables(connection: psycopg.Connection) -> None:
    mark(connection, JOINT)
    connection.execute('CREATE ROLE "half a reader"; CREATE ROLE "whole reader"')
    try:
        for grant in (
            'GRANT USAGE ON SCHEMA online, panthera TO "half a reader", "whole reader"',
            'GRANT SELECT ON ALL TABLES IN SCHEMA panthera TO "half a reader", "whole reader"',
            f'GRANT SELECT ON online.{CALLS.name} TO "half a reader"',
            f'GRANT SELECT ON online.{CALLS.name}, online.{SPENDING.name} TO "whole reader"',
        ):
            connection.execute(grant)
        bring(connection, {CALLS: [row(1, 3, 1.0)], SPENDING: [row(1, 3, 11.0)]}, 3)
        mark(connection, JOINT)
        connection.execute('SET ROLE "half a reader"')
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(f"SELECT FROM online.{JOINT.name}")
        connection.execute('SET ROLE "whole reader"')
        assert spends(handle(CALLS, SPENDING), connection, 1) == [(-1.0, -2.0)]
        connection.execute("RESET ROLE")
        connection.execute(f'REVOKE SELECT ON online.{JOINT.name} FROM "whole reader"')
        connection.execute('SET ROLE "whole reader"')
        assert spends(handle(CALLS, SPENDING), connection, 1) == [(1.0, 11.0)]
    finally:
        connection.execute("RESET ROLE")
        for role in ("half a reader", "whole reader"):
            connection.execute(f'DROP OWNED BY "{role}"')
            connection.execute(f'DROP ROLE "{role}"')  # roles belong to the server that all tests share


def test_whoever_may_write_a_member_needs_no_right_to_the_joint_table(connection: psycopg.Connection) -> None:
    connection.execute('CREATE ROLE "a pusher"')
    try:
        connection.execute('GRANT USAGE ON SCHEMA online TO "a pusher"')
        connection.execute(f'GRANT SELECT, INSERT, UPDATE ON online.{CALLS.name} TO "a pusher"')
        connection.execute('SET ROLE "a pusher"')
        merge_values(connection, CALLS, [row(1, 5, 4.0)])
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(f"DELETE FROM online.{JOINT.name}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(
                "CREATE TEMP TABLE own (); CREATE TRIGGER theirs AFTER TRUNCATE ON own "
                f"EXECUTE FUNCTION panthera.keep_joint_table('{JOINT.name}', 'DROP TABLE panthera.release')"
            )
        connection.execute("RESET ROLE")
        assert spends(handle(CALLS, SPENDING), connection, 1) == [(4.0, 11.0)]
    finally:
        connection.execute("RESET ROLE")
        connection.execute('DROP OWNED BY "a pusher"')
        connection.execute('DROP ROLE "a pusher"')


def test_an_erased_entity_is_in_no_joint_row_even_if_a_member_has_lost_its_triggers(
    connection: psycopg.Connection,
) -> None:
    connection.execute(f"DROP TABLE online.{CALLS.name}")
    create(connection, CALLS)
    with connection.transaction():
        assert delete_entity(connection, "customer", 1) == {CALLS.name: 0, SPENDING.name: 1, VISITS.name: 0}
    assert [found[0] for found in joint_rows(connection, JOINT)] == [2, 3]


def test_a_row_leaves_the_joint_table_with_its_last_member(connection: psycopg.Connection) -> None:
    connection.execute(f"DELETE FROM online.{CALLS.name} WHERE customer < 3")
    assert joint_rows(connection, JOINT) == [
        (1, None, None, None, at(2), 11.0, ""),
        (3, None, None, None, at(2), 13.0, ""),
    ]
    connection.execute(f"TRUNCATE online.{SPENDING.name}")
    assert joint_rows(connection, JOINT) == []


def test_the_key_of_a_row_is_not_changed(connection: psycopg.Connection) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="delete the row, and insert another"):
        connection.execute(f"UPDATE online.{CALLS.name} SET customer = 7 WHERE customer = 1")


def test_a_dropped_member_takes_the_joint_table_with_it_and_the_others_are_written_on(
    connection: psycopg.Connection,
) -> None:
    with connection.transaction():
        history.drop(connection, [CALLS.name])
    assert not exists(connection, JOINT.name)
    assert connection.execute("SELECT FROM panthera.joint_table").fetchall() == []
    merge_values(connection, SPENDING, [row(1, 5, 4.0)])
    assert spends(handle(SPENDING, VISITS), connection, 1) == [(4.0, None)]


def test_rows_that_may_not_fit_a_page_are_not_joined(connection: psycopg.Connection) -> None:
    def wide(name: str, features: int) -> OnlineTable:
        return OnlineTable(
            f"{name}__1", SPENDING.keys, tuple((f"text_{number}", "string") for number in range(features))
        )

    narrow, fitting, too_wide = wide("a_narrow", 1), wide("fitting", 327), wide("too_wide", 328)
    for table in (narrow, fitting, too_wide):
        create(connection, table)
    # What PostgreSQL would not compress, and would keep in the row however full that is.
    texts = {
        table: [pa.array([f"{number:023}"]) for number, _ in enumerate(table.features)]
        for table in (narrow, fitting, too_wide)
    }
    key, time = pa.array([1]), pa.array([at(1)], UTC_MICROSECONDS)
    for other in (fitting, too_wide):
        loads = [
            Load(table, pa.table([key, time, time, *texts[table]], names=list(table.columns)))
            for table in (narrow, other)
        ]
        with connection.transaction():
            refresh(connection, loads, at(1))
        joint = JointTable((narrow, other))
        assert exists(connection, joint.name) == (other is fitting)
        views = [HandleView(table.name, table.name, TTL, (table.features[-1][0],)) for table in (narrow, other)]
        (found,) = OnlineHandle(views, "customer", "int64").read_blocking(connection, [1], at(50))
        assert [read.values for read in found.values()] == [(f"{0:023}",), (f"{len(other.features) - 1:023}",)]


def test_views_of_a_linked_entity_are_read_from_a_joint_table_of_its_own(connection: psycopg.Connection) -> None:
    members = OnlineTable("members__1", (("plan_name", "string"),), (("members", "int64"),))
    prices = OnlineTable("prices__1", (("plan_name", "string"),), (("price", "float64"),))
    merge_values(connection, SPENDING, [row(1, 5, 1.0, "basic"), row(2, 5, 2.0, "plus")])
    time = pa.array([at(5), at(5)], UTC_MICROSECONDS)
    loads = []
    for table, values in ((members, [70, 30]), (prices, [7.5, 12.5])):
        create(connection, table)
        columns = [pa.array(["basic", "plus"]), time, time, pa.array(values)]
        loads.append(Load(table, pa.table(columns, names=list(table.columns))))
    with connection.transaction():
        refresh(connection, loads, at(5))
    link = HandleLink("spending", "plan", "plan_name")
    reader = OnlineHandle(
        [
            HandleView("prices", prices.name, TTL, ("price",), link),
            HandleView("calls", CALLS.name, TTL, ("spend",)),
            HandleView("members", members.name, TTL, ("members",), link),
            HandleView("spending", SPENDING.name, TTL, ("spend", "plan")),
        ],
        "customer",
        "int64",
    )
    expected = [(12.5, 2.0, 30, 2.0), (7.5, 1.0, 70, 1.0), (None, None, None, 13.0)]
    assert spends(reader, connection, 2, 1, 3) == expected
    connection.execute(f'UPDATE online.{JointTable((members, prices)).name} SET "0.members" = -1')
    mark(connection, JOINT)
    assert spends(reader, connection, 1) == [(7.5, -1.0, -1, -2.0)]


def test_writers_of_two_members_and_an_erasure_never_end_each_other(
    connection: psycopg.Connection, database_url: str
) -> None:
    failures: list[psycopg.Error] = []

    def write(table: OnlineTable, customers: list[int]) -> None:
        try:
            for day in range(3, 33):
                with connect(database_url) as own:
                    merge_values(own, table, [row(customer, day, float(day)) for customer in customers])
        except psycopg.Error as error:
            failures.append(error)

    def erase() -> None:
        try:
            for customer in range(30):
                with connect(database_url) as own:
                    delete_entity(own, "customer", customer)
        except psycopg.Error as error:
            failures.append(error)

    at_once = [
        threading.Thread(target=write, args=(CALLS, list(range(30, 40)))),
        threading.Thread(target=write, args=(SPENDING, list(range(40, 29, -1)))),
        threading.Thread(target=erase),
    ]
    for thread in at_once:
        thread.start()
    for thread in at_once:
        thread.join()
    assert failures == []
    last = (at(32), 32.0, "")
    expected = [(customer, *last, *last) for customer in range(30, 40)]
    assert joint_rows(connection, JOINT) == [*expected, (40, None, None, None, *last)]


def wait_until_somebody_waits(connection: psycopg.Connection) -> None:
    waiting = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    while not connection.execute(waiting).fetchall():
        time.sleep(0.01)


def test_a_writer_who_waited_while_the_joint_table_was_dropped_writes_the_member(
    connection: psycopg.Connection, database_url: str
) -> None:
    with connect(database_url) as own, connect(database_url) as dropping, ThreadPoolExecutor() as threads:
        merge_values(own, SPENDING, [row(1, 3, 3.0)])
        own.commit()
        lock(dropping, JOINT.name)
        written = threads.submit(merge_values, own, SPENDING, [row(1, 4, 4.0)])
        wait_until_somebody_waits(connection)
        joint_tables.drop(dropping, JOINT.name)
        dropping.commit()
        assert written.result() == 1
    assert stored(connection) == [row(1, 4, 4.0), row(3, 2, 13.0)]


def test_who_waited_to_erase_while_a_member_was_dropped_erases_the_rest(
    connection: psycopg.Connection, database_url: str
) -> None:
    with connect(database_url) as own, connect(database_url) as dropping, ThreadPoolExecutor() as threads:
        for customer in range(90, 100):  # from then on the session knows the tables by heart
            delete_entity(own, "customer", customer)
        own.commit()
        lock(dropping, VISITS.name)
        erased = threads.submit(delete_entity, own, "customer", 1)
        wait_until_somebody_waits(connection)
        history.drop(dropping, {VISITS.name})
        dropping.commit()
        assert erased.result() == {CALLS.name: 1, SPENDING.name: 1}


def test_a_handle_meets_all_views_of_one_run_or_all_of_the_other(
    connection: psycopg.Connection, database_url: str
) -> None:
    met: set[tuple[tuple[Any, ...], ...]] = set()
    done = threading.Event()

    def read() -> None:
        reader = handle(SPENDING, CALLS)
        with connect(database_url) as own:
            own.autocommit = True
            while not done.is_set():
                met.add(tuple(spends(reader, own, 1, 2)))
                reader._next_look = -math.inf

    reading = threading.Thread(target=read)
    reading.start()
    try:
        for day in range(3, 13):
            run = [row(customer, day, float(day)) for customer in (1, 2)]
            bring(connection, {CALLS: run, SPENDING: run, **({VISITS: run} if day % 3 == 0 else {})}, day)
    finally:
        done.set()
        reading.join()
    assert len(met) > 1
    assert met <= {((11.0, 1.0), (None, 2.0)), *(((float(day),) * 2,) * 2 for day in range(3, 13))}


def test_a_killed_refresh_leaves_nothing_of_a_joint_table(connection: psycopg.Connection, database_url: str) -> None:
    def tables() -> list[tuple[str]]:
        return connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'online' ORDER BY 1").fetchall()

    before, rows = tables(), joint_rows(connection, JOINT)
    other = psycopg.connect(database_url)
    refresh(other, [Load(table, arrow([row(1, 9)])) for table in WITH_VISITS.members], at(9))
    connection.execute("SELECT pg_terminate_backend(%s)", [other.info.backend_pid])
    with pytest.raises(psycopg.OperationalError):
        other.commit()
    assert tables() == before
    assert joint_rows(connection, JOINT) == rows
