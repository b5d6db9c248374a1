"""The prepared handle over a view of a second entity: each row's key stands in a row of the entity that is asked for."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from core.contracts import Freshness
from core.postgres.database import connect
from feature_repo.online.handle import HandleLink, HandleView, OnlineHandle
from feature_repo.online.table import OnlineTable
from feature_repo.online.tables import create, merge_values
from tests.feature_repo.online.online_rows import SPENDING, at, row

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from core.contracts import ViewRead

PLANS = OnlineTable("plans__0123456789ab", (("plan_name", "string"),), (("members", "int64"),))
TTL = timedelta(days=4)
FRESH, STALE, MISSING = Freshness.FRESH, Freshness.STALE, Freshness.MISSING
LINK = HandleLink("spending", "plan", "plan_name")
#: The linked view comes first, as it may in a contract.
HANDLE = OnlineHandle(
    [
        HandleView("plans", PLANS.name, 2 * TTL, ("members",), LINK),
        HandleView("spending", SPENDING.name, TTL, ("spend", "plan")),
    ],
    "customer",
    "int64",
)


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    """Four customers, of whom one has no plan and one a plan that nobody knows, and the plans they could have."""
    with connect(database_url) as opened:
        for table in (SPENDING, PLANS):
            create(opened, table)
        rows = [row(1, 3, 1.0, "basic"), row(2, 3, 2.0, "plus"), row(3, 3, 3.0, None), row(4, 3, 4.0, "unheard of")]
        merge_values(opened, SPENDING, rows)
        merge_values(opened, PLANS, [("basic", at(3), at(3), 70), ("plus", at(1), at(1), 30)])
        yield opened


def linked(connection: psycopg.Connection, customers: list[int], day: float) -> list[ViewRead]:
    return [read["plans"] for read in HANDLE.read_blocking(connection, customers, at(day))]


def test_each_entity_gets_the_row_that_its_link_names(connection: psycopg.Connection) -> None:
    found = linked(connection, [2, 1, 2], 4)
    assert [read.values for read in found] == [(30,), (70,), (30,)]
    assert [read.event_time for read in found] == [at(1), at(3), at(1)]
    assert {read.status for read in found} == {FRESH}


def test_without_a_link_without_the_linked_row_and_without_the_entity_it_is_missing(
    connection: psycopg.Connection,
) -> None:
    assert [tuple(read) for read in linked(connection, [3, 4, 99], 4)] == [(None, MISSING, (None,))] * 3


def test_a_linked_row_is_stale_by_its_own_ttl(connection: psycopg.Connection) -> None:
    merge_values(connection, SPENDING, [row(2, 10, 2.0, "plus")])
    assert [read.status for read in linked(connection, [2], 9.5)] == [MISSING]  # the link is of a later time
    assert [read.status for read in linked(connection, [2], 10)] == [STALE]


def test_through_a_stale_link_nothing_is_read(connection: psycopg.Connection) -> None:
    (read,) = HANDLE.read_blocking(connection, [1], at(7.5))
    assert read["spending"].status is STALE
    assert read["spending"].values == (1.0, "basic")
    assert read["plans"] == (None, MISSING, (None,))


def test_a_link_that_changes_names_another_row(connection: psycopg.Connection) -> None:
    merge_values(connection, SPENDING, [row(1, 4, 1.0, "plus")])
    assert [read.values for read in linked(connection, [1], 5)] == [(30,)]


@pytest.mark.parametrize("day", [1, 4, 7.5, 20])
def test_one_entity_alone_is_read_as_it_is_among_others(connection: psycopg.Connection, day: float) -> None:
    customers = [2, 1, 3, 4, 99]
    assert [linked(connection, [customer], day) for customer in customers] == [
        [read] for read in linked(connection, customers, day)
    ]
