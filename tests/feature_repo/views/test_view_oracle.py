"""Facts in arbitrary windows with arbitrary lags, of two sources with late rows, both ways, against a look at every row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.plan.plan import View
from feature_repo.files.duck import open_duckdb
from feature_repo.views import facts, instant_facts
from feature_repo.views.existence import asked_in
from feature_repo.views.rows import compute_snapshots, compute_view

if TYPE_CHECKING:
    from collections.abc import Callable

START = datetime(2024, 1, 1, tzinfo=UTC)
STEP = timedelta(hours=12)
SOURCES = ("sales", "visits")
TIMES = pa.timestamp("us", tz="UTC")
#: What a feature computes, in SQL and over the amounts of its rows.
AGGREGATES: dict[str, Callable[[list[int]], int]] = {"count(*)": len, "sum(amount)": sum, "max(amount)": max}


@dataclass(frozen=True)
class Row:
    source: str
    who: int
    happened: datetime
    known: datetime
    amount: int


rows = st.builds(
    lambda source, who, place, delay, amount: Row(
        source, who, START + place * STEP, START + (place + delay) * STEP, amount
    ),
    source=st.sampled_from(SOURCES),
    who=st.integers(1, 3),
    place=st.integers(0, 20),
    delay=st.sampled_from([0, 0, 0, 1, 5]),
    amount=st.integers(-3, 9),
)
lengths = st.none() | st.integers(1, 12)
features = st.fixed_dictionaries(
    {
        "sql": st.sampled_from(sorted(AGGREGATES)),
        "source": st.none() | st.sampled_from(SOURCES),
        "window": lengths,
        "lag": lengths,
    }
)
pairs = st.tuples(st.integers(1, 4), st.integers(0, 24))


def fact(world: list[Row], feature: dict[str, Any], who: int, as_of: datetime) -> int | None:
    end = as_of - (feature["lag"] or 0) * STEP
    start = end - feature["window"] * STEP if feature["window"] else datetime.min.replace(tzinfo=UTC)
    amounts = [
        row.amount
        for row in world
        if row.source == (feature["source"] or "sales")
        and row.who == who
        and start < row.happened <= end
        and row.known <= as_of
    ]
    if not amounts:
        return 0 if feature["sql"] == "count(*)" else None
    return AGGREGATES[feature["sql"]](amounts)


def view_of(asked: list[dict[str, Any]]) -> View:
    def length(steps: int | None) -> str | None:
        return f"{steps * 12}h" if steps else None

    stated = {
        f"f{number}": {
            **feature,
            "window": length(feature["window"]),
            "lag": length(feature["lag"]),
            "dtype": "int64",
            "unit": "x",
        }
        for number, feature in enumerate(asked)
    }
    both = {"over": "features", "sql": "coalesce(f0, 0) + day(as_of)", "dtype": "int64", "unit": "x"}
    return View.model_validate(
        {"source": "sales", "ttl": "9d", "every": "1 day", "features": {**stated, "derived": both}}
    )


def table_of(world: list[Row]) -> pa.Table:
    return pa.table(
        {
            "who": pa.array([row.who for row in world], pa.int64()),
            "event_time": pa.array([row.happened for row in world], TIMES),
            "created_time": pa.array([row.known for row in world], TIMES),
            "amount": pa.array([row.amount for row in world], pa.int64()),
        }
    )


@given(
    st.lists(rows, max_size=25),
    st.lists(features, min_size=1, max_size=4),
    st.sets(pairs, max_size=8),
    st.sampled_from([1, 3, 2_048]),
    st.sampled_from([1, 2, 256]),
)
@settings(max_examples=40)
def test_both_ways_give_what_a_look_at_every_row_gives(
    world: list[Row],
    asked: list[dict[str, Any]],
    grid: set[tuple[int, int]],
    pairs_of_a_query: int,
    aggregates_of_a_query: int,
) -> None:
    view = view_of(asked)
    wanted = sorted((START + place * STEP, who) for who, place in grid)
    with pytest.MonkeyPatch.context() as patch, open_duckdb() as connection:
        patch.setattr(instant_facts, "_MAX_PAIRS", pairs_of_a_query)
        patch.setattr(facts, "_MAX_AGGREGATES", aggregates_of_a_query)
        for source in SOURCES:
            connection.register(source, table_of([row for row in world if row.source == source]))
        listed = pa.table(
            {
                "who": pa.array([who for _, who in wanted], pa.int64()),
                "as_of": pa.array([at for at, _ in wanted], TIMES),
            }
        )
        connection.register("pairs", listed)
        relations = {source: source for source in view.sources}
        by_pair = compute_view(connection, view, "who", relations, "pairs")
        wanted_then = asked_in(connection, "who", "pairs")
        by_instant = pa.concat_tables(compute_snapshots(connection, view, relations, wanted_then))
    expected = []
    for at, who in wanted:
        seen = {f"f{number}": fact(world, feature, who, at) for number, feature in enumerate(asked)}
        derived = (seen["f0"] or 0) + at.day
        expected.append({"who": who, "event_timestamp": at, "created_timestamp": at, **seen, "derived": derived})
    assert by_pair.to_pylist() == expected
    order = [("event_timestamp", "ascending"), ("who", "ascending")]
    assert by_instant.sort_by(order) == by_pair
