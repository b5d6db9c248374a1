"""A handle gives instants for features that are times, and tells the event time to the microsecond."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from core.contracts import Freshness, ViewRead, instant_of, microseconds_of
from core.postgres.database import connect
from feature_repo.online.handle import HandleView, OnlineHandle
from feature_repo.online.table import OnlineTable
from feature_repo.online.tables import create, merge_values

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

NOW = datetime(2030, 1, 2, tzinfo=UTC)
JUST_BEFORE = NOW - timedelta(microseconds=1)
TIMES = OnlineTable(
    f"times__{uuid4().hex[:12]}",
    (("customer", "int64"),),
    (("spend", "float64"), ("renewed", "timestamp"), ("left", "timestamp")),
)


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    with connect(database_url) as opened:
        create(opened, TIMES)
        yield opened
        opened.rollback()


@pytest.mark.parametrize("event", [JUST_BEFORE, datetime(1970, 1, 1, tzinfo=UTC)])
def test_times_among_features_are_instants(connection: psycopg.Connection, event: datetime) -> None:
    merge_values(connection, TIMES, [(1, event, event, 2.5, datetime(1999, 5, 4, 3, 2, 1, 7, tzinfo=UTC), None)])
    handle = OnlineHandle(
        [HandleView("times", TIMES.name, timedelta(days=1), ("renewed", "spend", "left"))], "customer", "int64"
    )
    (read,) = handle.read_blocking(connection, [1], NOW)
    status = Freshness.FRESH if event == JUST_BEFORE else Freshness.STALE
    assert read == {
        "times": ViewRead(microseconds_of(event), status, (datetime(1999, 5, 4, 3, 2, 1, 7, tzinfo=UTC), 2.5, None))
    }
    assert read["times"].event_time == event


def test_a_row_counts_from_its_very_microsecond_on(connection: psycopg.Connection) -> None:
    merge_values(connection, TIMES, [(1, NOW, NOW, 2.5, None, None)])
    handle = OnlineHandle([HandleView("times", TIMES.name, timedelta.max, ("spend",))], "customer", "int64")
    reads = [handle.read_blocking(connection, [1], as_of)[0]["times"] for as_of in (JUST_BEFORE, NOW)]
    assert reads == [
        ViewRead(None, Freshness.MISSING, (None,)),
        ViewRead(microseconds_of(NOW), Freshness.FRESH, (2.5,)),
    ]


@pytest.mark.parametrize("instant", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC), JUST_BEFORE])
def test_an_instant_is_what_its_microseconds_say(instant: datetime) -> None:
    assert instant_of(microseconds_of(instant)) == instant
