"""The whole way from raw events to a training row, against an oracle that looks at every event for every row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from core.plan import Label, Period, View
from feature_repo.build_features import instants, open_grid
from feature_repo.duck import open_duckdb
from feature_repo.point_in_time import ViewJoin, point_in_time_join
from feature_repo.view_rows import compute_view
from models.labels import label_rows

START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAYS = 12
#: Small on purpose, so that ties and expired rows are frequent.
TTL = timedelta(days=2)
WINDOW = timedelta(days=3)
HORIZON = timedelta(days=2)
EVERY_DAYS = 3

VIEW = View.model_validate(
    {
        "source": "events",
        "ttl": "2d",
        "every": f"{EVERY_DAYS} days",
        "features": {
            "count": {"sql": "count(*)", "dtype": "int64", "unit": "x"},
            "recent": {"sql": "sum(amount)", "window": "3d", "dtype": "int64", "unit": "x"},
            "largest": {"sql": "max(amount)", "dtype": "int64", "unit": "x"},
        },
    }
)
LABEL = Label.model_validate(
    {"source": "events", "horizon": "2d", "population": "count(*) >= 2", "value": "count(*) = 0"}
)


@dataclass(frozen=True)
class Event:
    who: int
    happened: datetime
    known: datetime
    amount: int


hours = st.integers(0, DAYS * 24).map(lambda number: START + number * HOUR)
events = st.builds(
    lambda who, happened, delay, amount: Event(who, happened, happened + delay * HOUR, amount),
    who=st.integers(1, 3),
    happened=hours | st.integers(0, DAYS).map(lambda number: START + timedelta(days=number)),
    delay=st.sampled_from([0, 0, 0, 1, 24, 72]),
    amount=st.integers(-3, 9),
)


def facts(world: list[Event], who: int, as_of: datetime) -> dict[str, int | None]:
    known = [event for event in world if event.who == who and event.happened <= as_of and event.known <= as_of]
    recent = [event.amount for event in known if event.happened > as_of - WINDOW]
    return {
        "count": len(known),
        "recent": sum(recent) if recent else None,
        "largest": max((event.amount for event in known), default=None),
    }


def existed(world: list[Event], who: int, as_of: datetime) -> bool:
    return any(event.who == who and max(event.happened, event.known) <= as_of for event in world)


def oracle(world: list[Event], days: range) -> list[dict[str, Any]]:
    rows = []
    for who in (1, 2, 3):
        for number in days:
            as_of = START + timedelta(days=number)
            if not existed(world, who, as_of) or (facts(world, who, as_of)["count"] or 0) < 2:
                continue
            after = [e for e in world if e.who == who and as_of < e.happened <= as_of + HORIZON]
            snapshot = START + timedelta(days=number - number % EVERY_DAYS)
            usable = existed(world, who, snapshot) and snapshot >= as_of - TTL
            found = facts(world, who, snapshot) if usable else dict.fromkeys(VIEW.features)
            rows.append({"who": who, "as_of": as_of, "label": int(not after), **found})
    return rows


def computed(world: list[Event], days: range) -> list[dict[str, Any]]:
    table = pa.table(
        {
            "who": pa.array([event.who for event in world], pa.int64()),
            "event_time": pa.array([event.happened for event in world], pa.timestamp("us", tz="UTC")),
            "created_time": pa.array([event.known for event in world], pa.timestamp("us", tz="UTC")),
            "amount": pa.array([event.amount for event in world], pa.int64()),
        }
    )
    period = Period(start=START, end=START + timedelta(days=days[-1]))
    with open_duckdb() as connection:
        connection.register("events", table)
        snapshots_grid = open_grid(connection, "snapshot_grid", "who", "events", instants(period, VIEW.every))
        connection.register("snapshots", compute_view(connection, VIEW, "who", {"events": "events"}, snapshots_grid))
        grid = open_grid(connection, "grid", "who", "events", instants(period, "1 day"))
        labelled = label_rows(connection, LABEL, "who", "events", grid)
        join = ViewJoin(
            "snapshots",
            (("who", "who"),),
            "event_timestamp",
            "created_timestamp",
            VIEW.ttl,
            tuple((name, name) for name in VIEW.features),
        )
        found: list[dict[str, Any]] = point_in_time_join(connection, labelled, "as_of", [join]).to_pylist()
    return found


@given(st.lists(events, max_size=25))
@settings(max_examples=60)
def test_the_training_set_equals_the_brute_force_oracle(world: list[Event]) -> None:
    assert computed(world, range(DAYS + 1)) == oracle(world, range(DAYS + 1))


@dataclass(frozen=True)
class Row:
    who: int
    event: datetime
    created: datetime
    value: int


rows = st.builds(
    lambda who, event, delay: (who, event, event + delay * HOUR),
    who=st.integers(1, 2),
    event=st.integers(0, 8).map(lambda number: START + number * 12 * HOUR),
    delay=st.sampled_from([-12, 0, 0, 12, 36, 60]),
)


def best(world: list[Row], who: int, as_of: datetime, ttl: timedelta | None) -> int | None:
    known = [row for row in world if row.who == who and row.event <= as_of and row.created <= as_of]
    winner = max(known, key=lambda row: (row.event, row.created), default=None)
    if winner is None or (ttl is not None and winner.event < as_of - ttl):
        return None
    return winner.value


@given(
    st.lists(rows, max_size=20, unique=True),
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 12)), max_size=12),
    st.sampled_from([None, timedelta(days=1), timedelta(days=2)]),
)
@settings(max_examples=100)
def test_the_join_takes_the_latest_event_that_was_known_and_of_ties_the_one_created_last(
    found: list[tuple[int, datetime, datetime]], asked: list[tuple[int, int]], ttl: timedelta | None
) -> None:
    world = [Row(who, event, created, number) for number, (who, event, created) in enumerate(found)]
    times = pa.timestamp("us", tz="UTC")
    known = pa.table(
        {
            "who": pa.array([row.who for row in world], pa.int64()),
            "event": pa.array([row.event for row in world], times),
            "created": pa.array([row.created for row in world], times),
            "value": pa.array([row.value for row in world], pa.int64()),
        }
    )
    as_of = [START + number * 8 * HOUR for _, number in asked]
    entity_rows = pa.table(
        {"who": pa.array([who for who, _ in asked], pa.int64()), "at": pa.array(as_of, times)},
    )
    with open_duckdb() as connection:
        connection.register("known_rows", known)
        join = ViewJoin("known_rows", (("who", "who"),), "event", "created", ttl, (("value", "v__value"),))
        result = point_in_time_join(connection, entity_rows, "at", [join])
    expected = [best(world, who, at, ttl) for (who, _), at in zip(asked, as_of, strict=True)]
    assert result.column("v__value").to_pylist() == expected
    assert result.select(["who", "at"]).to_pylist() == entity_rows.to_pylist()
