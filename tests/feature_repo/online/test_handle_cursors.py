"""A handle reads one key by a statement of its own, and keeps cursors for the next read: neither changes what is read."""

from __future__ import annotations

import gc
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest

from core.postgres.database import connect
from feature_repo.online.handle import HandleView, OnlineHandle
from feature_repo.online.table import OnlineTable
from feature_repo.online.tables import create, merge_values
from tests.feature_repo.online.online_rows import SPENDING, at, row

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from core.contracts import Key

CUSTOMERS = range(1, 41)
NAMES = ["plain", "", "it's", '"{NULL,1}"', "NULL", "\\", "naïve 名"]
PLANS = OnlineTable("plans__0123456789ab", (("plan_name", "string"),), (("members", "int64"),))


def handle() -> OnlineHandle:
    return OnlineHandle([HandleView("spending", SPENDING.name, timedelta(days=4), ("spend",))], "customer", "int64")


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    """Forty customers, of whom each spends ten times its number, and plans, which have as many members as stand before."""
    with connect(database_url) as opened:
        opened.autocommit = True
        for table in (SPENDING, PLANS):
            create(opened, table)
        merge_values(opened, SPENDING, [row(customer, 3, 10.0 * customer) for customer in CUSTOMERS])
        merge_values(opened, PLANS, [(name, at(3), at(3), number) for number, name in enumerate(NAMES)])
        yield opened


def spends(reader: OnlineHandle, connection: psycopg.Connection, customers: Sequence[Key]) -> list[object]:
    return [read["spending"].values[0] for read in reader.read_blocking(connection, customers, at(4))]


@pytest.mark.parametrize("customer", [1, 40, 99, -1, 2**63 - 1])
def test_one_number_alone_finds_what_it_finds_among_others(connection: psycopg.Connection, customer: int) -> None:
    expected = 10.0 * customer if customer in CUSTOMERS else None
    assert spends(handle(), connection, [customer]) == [expected]
    assert spends(handle(), connection, [customer, 2, customer]) == [expected, 20.0, expected]


@pytest.mark.parametrize("name", [*NAMES, "no plan"])
def test_one_text_alone_finds_what_it_finds_among_others(connection: psycopg.Connection, name: str) -> None:
    reader = OnlineHandle([HandleView("plans", PLANS.name, timedelta(days=4), ("members",))], "plan_name", "string")
    expected = NAMES.index(name) if name in NAMES else None
    for asked in ([name], [name, "plain", name]):
        found = [read["plans"].values[0] for read in reader.read_blocking(connection, asked, at(4))]
        assert found == [expected, 0, expected][: len(asked)]


def test_none_asked_is_none_read(connection: psycopg.Connection) -> None:
    assert spends(handle(), connection, []) == []


@pytest.mark.parametrize("customers", [[1], [1, 2]])
def test_numbers_of_all_sizes_are_read_by_one_prepared_statement(
    connection: psycopg.Connection, customers: list[int]
) -> None:
    reader = handle()
    for scale in (1, 1 << 20, 1 << 40):
        spends(reader, connection, [customer * scale for customer in customers])
    assert len(statements(connection)) == 1


def statements(connection: psycopg.Connection) -> list[tuple[str]]:
    return connection.execute(
        "SELECT statement FROM pg_prepared_statements WHERE statement LIKE '%spending__%'"
    ).fetchall()


@pytest.fixture
def restless() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-7)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("restless")
def test_threads_that_share_a_connection_read_their_own_rows(connection: psycopg.Connection) -> None:
    reader = handle()

    def read_often(customer: int) -> set[object]:
        return {value for _ in range(50) for value in spends(reader, connection, [customer])}

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(read_often, CUSTOMERS)) == [{10.0 * customer} for customer in CUSTOMERS]


def test_a_column_of_another_type_is_read_as_what_it_is_now(connection: psycopg.Connection) -> None:
    reader = handle()
    assert spends(reader, connection, [3]) == [30.0]
    connection.execute(f"ALTER TABLE online.{SPENDING.name} ALTER spend TYPE text")
    assert spends(reader, connection, [3]) == ["30"]


def test_a_read_that_failed_leaves_nothing_behind(connection: psycopg.Connection) -> None:
    reader = handle()
    assert spends(reader, connection, [3]) == [30.0]
    with pytest.raises(psycopg.errors.NumericValueOutOfRange):
        spends(reader, connection, [2**63])
    assert spends(reader, connection, [3]) == [30.0]
    assert spends(reader, connection, [3, 4]) == [30.0, 40.0]


def test_a_handle_lets_go_of_connections_that_were_closed(connection: psycopg.Connection, database_url: str) -> None:
    reader = handle()
    with connect(database_url) as closed:
        assert spends(reader, closed, [1]) == [10.0]
        assert spends(reader, closed, [1, 2]) == [10.0, 20.0]
    remembered = weakref.ref(closed)
    del closed
    assert spends(reader, connection, [1]) == [10.0]
    gc.collect()
    assert remembered() is None
