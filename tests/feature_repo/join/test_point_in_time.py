"""The whole way from raw events to a training row, against an oracle that looks at every event for every row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import SourceError
from core.plan.plan import View
from core.plan.times import Period
from core.plan.training_set import Label
from feature_repo.files.duck import open_duckdb
from feature_repo.join.point_in_time import ViewJoin, point_in_time_join
from feature_repo.views.existence import instants, open_grid
from feature_repo.views.rows import compute_view
from models.data.labels import label_rows

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
        snapshots = connection.table("snapshots").to_arrow_table()
    join = ViewJoin(
        parts=[snapshots.select],
        keys=(("who", "who"),),
        event_time="event_timestamp",
        created_time="created_timestamp",
        cutoff=True,
        ttl=VIEW.ttl,
        columns=tuple((name, name) for name in VIEW.features),
    )
    found: list[dict[str, Any]] = point_in_time_join(labelled, "as_of", [join]).to_pylist()
    return found


@given(st.lists(events, max_size=25))
@settings(max_examples=60)
def test_the_training_set_equals_the_brute_force_oracle(world: list[Event]) -> None:
    assert computed(world, range(DAYS + 1)) == oracle(world, range(DAYS + 1))


TIMES = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class Row:
    """A row of a view: about a pair of entities, one of which is text."""

    who: int
    where: str
    event: datetime
    created: datetime | None
    value: int


@dataclass(frozen=True)
class Case:
    """A view: its rows in parts, and how it is joined."""

    parts: list[list[Row]]
    keys: tuple[str, ...]
    cutoff: bool
    ttl: timedelta | None


half_days = st.integers(0, 8).map(lambda number: START + number * 12 * HOUR)
#: A time far off makes the line of microseconds too short, so that ranks stand for them.
ancient = st.just(datetime(1, 1, 2, tzinfo=UTC))
rows = st.builds(
    lambda who, where, event, delay, value: Row(
        who, where, event, None if delay is None else event + delay * HOUR, value
    ),
    who=st.integers(1, 2),
    where=st.sampled_from(["", "home", "shop"]),
    event=half_days | ancient,
    delay=st.sampled_from([-12, 0, 0, 12, 36, 60, None]),
    value=st.integers(0, 10**6),
)
cases = st.builds(
    Case,
    parts=st.lists(st.lists(rows, max_size=12), min_size=1, max_size=3),
    keys=st.sampled_from([(), ("who",), ("where", "who"), ("who", "where")]),
    cutoff=st.booleans(),
    # The last is the distance of two instants, less a microsecond and exactly.
    ttl=st.sampled_from(
        [None, timedelta(days=1), 4 * HOUR - timedelta(microseconds=1), 4 * HOUR, timedelta(milliseconds=1)]
    ),
)
asked_rows = st.lists(
    st.tuples(
        st.integers(1, 3) | st.none(),
        st.sampled_from(["", "home", "away"]),
        st.integers(0, 12).map(lambda number: START + number * 8 * HOUR) | st.none(),
    ),
    max_size=12,
)


def table_of(found: list[Row]) -> pa.Table:
    return pa.table(
        {
            "who": pa.array([row.who for row in found], pa.int32()),
            "where": pa.array([row.where for row in found], pa.string()),
            "event": pa.array([row.event for row in found], TIMES),
            "created": pa.array([row.created for row in found], TIMES),
            "value": pa.array([row.value for row in found], pa.int64()),
        }
    )


def best(case: Case, who: int | None, where: str, as_of: datetime | None) -> int | None:
    if as_of is None or (who is None and "who" in case.keys):
        return None
    asked = {"who": who, "where": where}
    known = [
        row
        for part in case.parts
        for row in part
        if all(getattr(row, key) == asked[key] for key in case.keys)
        and row.event <= as_of
        and (not case.cutoff or (row.created is not None and row.created <= as_of))
    ]
    oldest = datetime.min.replace(tzinfo=UTC)
    # max gives the first of equals, and the last is asked for.
    winner = max(reversed(known), key=lambda row: (row.event, row.created or oldest), default=None)
    if winner is None or (case.ttl is not None and winner.event < as_of - case.ttl):
        return None
    return winner.value


@given(st.lists(cases, min_size=1, max_size=3), asked_rows)
@settings(max_examples=150)
def test_the_join_takes_the_latest_event_that_was_known_and_of_ties_the_one_created_last(
    worlds: list[Case], asked: list[tuple[int | None, str, datetime | None]]
) -> None:
    entity_rows = pa.table(
        {
            "who": pa.array([who for who, _, _ in asked], pa.int64()),
            "place": pa.array([where for _, where, _ in asked], pa.string()),
            "at": pa.array([at for _, _, at in asked], TIMES),
        }
    )
    theirs = {"who": "who", "where": "place"}
    joins = [
        ViewJoin(
            parts=[table_of(part).select for part in case.parts],
            keys=tuple((theirs[key], key) for key in case.keys),
            event_time="event",
            created_time="created",
            cutoff=case.cutoff,
            ttl=case.ttl,
            columns=(("value", f"value{number}"),),
        )
        for number, case in enumerate(worlds)
    ]
    result = point_in_time_join(entity_rows, "at", joins)
    assert result.select(["who", "place", "at"]).equals(entity_rows)
    for number, case in enumerate(worlds):
        assert result.column(f"value{number}").to_pylist() == [best(case, *row) for row in asked]


def joined(entity_rows: pa.Table, rows_known: pa.Table, **changes: Any) -> list[Any]:
    join = ViewJoin(
        **{
            "parts": [rows_known.select],
            "keys": (("who", "who"),),
            "event_time": "event",
            "created_time": None,
            "cutoff": True,
            "ttl": None,
            "columns": (("value", "found"),),
            **changes,
        }
    )
    found: list[Any] = point_in_time_join(entity_rows, "at", [join]).column("found").to_pylist()
    return found


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (pa.array([7, 8], pa.int64()), pa.array([7, 9], pa.int16())),
        # What pandas makes of integers with a missing one.
        (pa.array([7.0, None], pa.float64()), pa.array([7, 9], pa.int64())),
        (pa.array(["7", "8"], pa.string()), pa.array(["7", "9"], pa.large_string())),
        (pa.array(["7", "8"]).dictionary_encode(), pa.array(["7", "9"])),
        (pa.array([b"7", b"8"], pa.binary()), pa.array([b"7", b"9"], pa.large_binary())),
        (pa.array([True, None]), pa.array([True, False])),
        (pa.array([START, START + HOUR], TIMES), pa.array([START, START - HOUR], pa.timestamp("ns", tz="UTC"))),
    ],
    ids=lambda array: str(array.type),
)
def test_keys_of_kindred_types_are_compared_by_their_values(ours: pa.Array, theirs: pa.Array) -> None:
    asked = pa.table({"who": ours, "at": pa.array([START, START], TIMES)})
    known = pa.table({"who": theirs, "event": pa.array([START, START], TIMES), "value": [1, 2]})
    assert joined(asked, known) == [1, None]


@pytest.mark.parametrize("first", [-(2**63), -5, 0, 2**63 - 3, 2**63 - 2])
def test_integer_keys_find_their_own_rows_alone_at_both_ends_of_64_bits(first: int) -> None:
    theirs = [-(2**63), -(2**63) + 1, -5, -4, -1, 0, 1, 2**63 - 3, 2**63 - 2, 2**63 - 1, None]
    keys, asks = pa.array(theirs, pa.int64()), pa.array([first, first + 1, None], pa.int64())
    asked = pa.table({"who": asks, "at": pa.array([START] * 3, TIMES)})
    known = pa.table({"who": keys, "event": pa.array([START] * len(theirs), TIMES), "value": range(len(theirs))})
    assert joined(asked, known) == [theirs.index(first), theirs.index(first + 1), None]


def test_each_of_very_many_entity_rows_finds_its_own_row() -> None:
    rows = 100_000
    whos = pa.array(range(rows), pa.int64())
    asked = pa.table({"who": whos, "at": pa.array([START] * rows, TIMES)})
    # Every third row is of a time that is not reached.
    events = pa.array([START + HOUR * (who % 3 == 0) for who in range(rows)], TIMES)
    known = pa.table({"who": whos, "event": events, "value": whos})
    assert joined(asked, known) == [who if who % 3 else None for who in range(rows)]


def test_keys_of_unlike_types_are_refused_with_both_types() -> None:
    asked = pa.table({"who": ["7"], "at": pa.array([START], TIMES)})
    known = pa.table({"who": [7], "event": pa.array([START], TIMES), "value": [1]})
    with pytest.raises(
        SourceError, match=r"'who' of the entity rows is of type string.*'who' of the view's rows of int64"
    ):
        joined(asked, known)


@pytest.mark.parametrize(
    "event",
    [
        pa.array([START.replace(tzinfo=None)], pa.timestamp("ns")),
        pa.array([START], pa.timestamp("ms", tz="Asia/Kolkata")),
        pa.array([START], pa.timestamp("s", tz="UTC")),
        pa.array([START.date()], pa.date32()),
    ],
    ids=lambda array: str(array.type),
)
def test_times_of_any_unit_and_zone_are_compared_as_instants(event: pa.Array) -> None:
    before = START - timedelta(microseconds=1)
    asked = pa.table({"who": [1, 1], "at": pa.array([START, before], TIMES)})
    assert joined(asked, pa.table({"who": [1], "event": event, "value": [5]})) == [5, None]


def test_a_time_column_that_holds_none_is_refused() -> None:
    asked = pa.table({"who": [1], "at": pa.array([START], TIMES)})
    with pytest.raises(SourceError, match="'event' is of type int64; expected are timestamps or dates"):
        joined(asked, pa.table({"who": [1], "event": [1], "value": [5]}))


def test_two_columns_of_one_name_are_refused() -> None:
    asked = pa.table({"who": [1], "at": pa.array([START], TIMES)})
    known = pa.table({"who": [1], "event": pa.array([START], TIMES), "value": [5]})
    with pytest.raises(SourceError, match="more than one column 'who'; ask with full_feature_names=True"):
        joined(asked, known, columns=(("value", "who"),))


def test_a_view_that_has_lost_rows_when_its_features_are_read_is_refused() -> None:
    known = pa.table({"who": [1, 2], "event": pa.array([START, START], TIMES), "value": [1, 2]})

    def read(columns: list[str]) -> pa.Table:
        return known.select(columns)[: 1 if "value" in columns else 2]

    asked = pa.table({"who": [1, 2], "at": pa.array([START, START], TIMES)})
    assert joined(asked[:1], known, parts=[read]) == [1]
    with pytest.raises(SourceError, match="has 1 rows where it had more"):
        joined(asked, known, parts=[read])
