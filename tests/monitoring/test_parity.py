"""Parity on a small world: real feature SQL, real snapshots, and logged vectors that are altered one at a time."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pyarrow as pa
import pytest

from core.contracts import ContractFeature
from core.plan import Entity, Period, View
from feature_repo.build_features import build_bucket
from feature_repo.datasets import bucket_file, write_table
from feature_repo.duck import open_duckdb
from monitoring.logged_predictions import LoggedPrediction
from monitoring.offline_values import Watermarks, recompute
from monitoring.parity import Cause, ParityResult, agree, check_parity, hash_of, together, typed

if TYPE_CHECKING:
    from pathlib import Path

MARCH, APRIL = datetime(1998, 3, 1, tzinfo=UTC), datetime(1998, 4, 1, tzinfo=UTC)
REQUEST = APRIL + timedelta(days=3)
CUSTOMER = Entity(key="customer_id", dtype="int64", source="purchases")
SPENDING = View.model_validate(
    {
        "source": "purchases",
        "ttl": "40d",
        "every": "1 month",
        "features": {
            "orders": {"sql": "count(*)", "dtype": "int64", "meaning": "purchases"},
            "spend": {"sql": "sum(amount)", "dtype": "float64", "unit": "USD"},
            "recent": {"sql": "sum(amount)", "window": "10d", "dtype": "float32", "unit": "USD"},
            "channel": {"sql": "max_by(channel, event_time)", "dtype": "string", "meaning": "last channel"},
            "member": {"sql": "bool_or(amount > 15)", "dtype": "bool", "meaning": "bought for more than 15"},
            "last": {"sql": "max(event_time)", "dtype": "timestamp", "meaning": "last purchase"},
        },
    }
)
FEATURES = [ContractFeature("spending", name, feature.dtype) for name, feature in SPENDING.features.items()]
PURCHASES: list[tuple[int, float, str, datetime]] = [
    (1, 10.1, "web", datetime(1998, 2, 10, tzinfo=UTC)),
    (1, 20.2, "shop", datetime(1998, 3, 28, tzinfo=UTC)),
    (2, 5.0, "web", datetime(1998, 1, 5, tzinfo=UTC)),
    (3, 7.5, "web", APRIL + timedelta(days=1)),
]


def accept(folder: Path, purchases: list[tuple[int, float, str, datetime]]) -> None:
    """Write accepted rows, each known from its event time on."""
    customers, amounts, channels, times = zip(*purchases, strict=True)
    rows = pa.table(
        {
            "customer_id": pa.array(customers, pa.int64()),
            "amount": amounts,
            "channel": channels,
            "event_timestamp": pa.array(times, pa.timestamp("us", tz="UTC")),
            "created_timestamp": pa.array(times, pa.timestamp("us", tz="UTC")),
        }
    )
    with open_duckdb() as connection:
        connection.register("accepted_rows", rows)
        write_table(connection, "FROM accepted_rows", bucket_file(folder, "purchases", 0))


class World:
    """Accepted rows and snapshots in a folder, and what the service would log for them."""

    def __init__(self, folder: Path) -> None:
        self.accepted, self.features = folder / "accepted", folder / "features"
        accept(self.accepted, PURCHASES)
        out = bucket_file(self.features, "spending", 0)
        out.parent.mkdir(parents=True)
        build_bucket(SPENDING, CUSTOMER, Period(start=MARCH, end=APRIL), self.accepted, 0, out)

    def check(self, *predictions: LoggedPrediction, watermarks: Watermarks | None = None) -> ParityResult:
        offline = recompute(
            "spending",
            SPENDING,
            CUSTOMER,
            predictions,
            watermarks or Watermarks(),
            accepted=self.accepted,
            features=self.features,
        )
        scores = [logged.score for logged in predictions]
        return check_parity("r1", predictions, FEATURES, {"spending": offline}, scores, stale_is_missing=False)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def served(entity: int, event_time: datetime | None, values: dict[str, Any], status: str = "FRESH") -> LoggedPrediction:
    return LoggedPrediction(
        prediction_id=UUID(int=entity),
        entity=str(entity),
        as_of=REQUEST,
        logged_at=REQUEST,
        score=0.5,
        features={f"spending__{name}": values.get(name) for name in SPENDING.features},
        event_times={"spending": event_time.isoformat() if event_time else None},
        statuses={"spending": status},
    )


def first() -> LoggedPrediction:
    """What customer 1 had on 1 April: two purchases, one of them in the last ten days."""
    return served(
        1,
        APRIL,
        {
            "orders": 2,
            "spend": 10.1 + 20.2,
            "recent": 20.2,
            "channel": "shop",
            "member": True,
            "last": "1998-03-28T00:00:00+00:00",
        },
    )


def second() -> LoggedPrediction:
    """What customer 2 had on 1 April: nothing in the last ten days, so no recent spend."""
    values = {"orders": 1, "spend": 5.0, "channel": "web", "member": False, "last": "1998-01-05T00:00:00Z"}
    return served(2, APRIL, values)


def altered(logged: LoggedPrediction, feature: str, value: Any) -> LoggedPrediction:
    return replace(logged, features={**logged.features, f"spending__{feature}": value})


def test_what_was_served_is_what_is_recomputed(world: World) -> None:
    result = world.check(first(), second())
    assert (result.predictions_checked, result.values_compared) == (2, 12)
    assert sum(result.mismatches.values()) == 0
    assert (result.score_mismatches, result.defects, result.examples) == (0, 0, ())


@pytest.mark.parametrize(
    ("feature", "value"),
    [("orders", 3), ("spend", 30.30001), ("channel", "web"), ("member", False), ("last", "1998-03-29T00:00:00Z")],
)
def test_an_altered_value_is_a_transformation(world: World, feature: str, value: Any) -> None:
    result = world.check(altered(first(), feature, value), second())
    assert result.mismatches == {Cause.TRANSFORMATION: 1}
    assert result.defects == 1
    (example,) = result.examples
    assert (example.view, example.feature, example.logged) == ("spending", feature, value)
    assert example.entity_hash == hash_of("1") != "1"


def test_a_value_served_as_missing_that_was_there_is_a_transformation(world: World) -> None:
    assert world.check(altered(first(), "spend", None)).mismatches == {Cause.TRANSFORMATION: 1}


def test_a_value_served_where_there_is_none_is_a_transformation(world: World) -> None:
    assert world.check(altered(second(), "recent", 0.0)).mismatches == {Cause.TRANSFORMATION: 1}


@pytest.mark.parametrize(
    ("feature", "value"), [("orders", "2"), ("orders", 2.5), ("spend", "30.3"), ("member", 1), ("last", "yesterday")]
)
def test_a_value_of_another_type_is_named_so(world: World, feature: str, value: Any) -> None:
    result = world.check(altered(first(), feature, value))
    assert result.mismatches == {Cause.TYPE: 1}
    assert result.defects == 0


def test_a_source_restated_after_the_snapshot_is_no_defect(world: World) -> None:
    restated = [(1, 11.1, "web", PURCHASES[0][3]), *PURCHASES[1:]]
    accept(world.accepted, restated)
    result = world.check(first(), second())
    assert result.mismatches == {Cause.LATE_OR_RESTATED: 1}
    assert result.examples[0].recomputed == pytest.approx(31.3)
    assert result.defects == 0


def test_an_entity_erased_from_the_source_is_late_or_restated(world: World) -> None:
    accept(world.accepted, PURCHASES[2:])
    assert world.check(first()).mismatches == {Cause.LATE_OR_RESTATED: 6}


def test_a_stale_row_is_counted_and_compared_as_of_its_own_time(world: World) -> None:
    values = {
        "orders": 1,
        "spend": 10.1,
        "recent": None,
        "channel": "web",
        "member": False,
        "last": "1998-02-10T00:00:00Z",
    }
    result = world.check(served(1, MARCH, values, status="STALE"))
    assert (result.stale_values, result.values_compared, result.defects) == (6, 6, 0)
    assert sum(result.mismatches.values()) == 0


def test_a_stale_row_that_the_plan_withholds_is_not_compared() -> None:
    withheld = served(1, MARCH, {}, status="STALE")
    offline: dict[str, list[Any]] = {"spending": [None]}
    result = check_parity("r1", [withheld], FEATURES, offline, [0.5], stale_is_missing=True)
    assert (result.stale_values, result.values_compared) == (6, 0)


def test_an_unknown_entity_is_missing_on_both_sides(world: World) -> None:
    result = world.check(served(99, None, {}, status="MISSING"))
    assert result.values_compared == 6
    assert sum(result.mismatches.values()) == 0


def test_a_row_that_the_online_store_should_have_had_is_a_transformation(world: World) -> None:
    assert world.check(served(1, None, {}, status="MISSING")).mismatches == {Cause.TRANSFORMATION: 6}


def test_a_snapshot_materialized_after_the_request_excuses_a_missing_row(world: World) -> None:
    missing = served(1, None, {}, status="MISSING")
    online_before = Watermarks((APRIL,), (APRIL,))
    online_after = Watermarks((REQUEST + timedelta(hours=1),), (APRIL,))
    assert world.check(missing, watermarks=online_before).mismatches == {Cause.TRANSFORMATION: 6}
    assert world.check(missing, watermarks=online_after).mismatches == {Cause.LATE_OR_RESTATED: 6}


def test_an_entity_first_seen_after_the_last_snapshot_is_late(world: World) -> None:
    # Customer 3 bought first on 2 April: all six of its features are known by the request, and in no snapshot.
    assert world.check(served(3, None, {}, status="MISSING")).mismatches == {Cause.LATE_OR_RESTATED: 6}


def test_a_value_from_a_row_that_nobody_read_is_a_transformation(world: World) -> None:
    assert world.check(served(99, None, {"orders": 1}, status="MISSING")).mismatches == {Cause.TRANSFORMATION: 1}


@pytest.mark.parametrize("rescored", [0.5 + 2e-9, 0.5 - 2e-9, math.nan])
def test_a_score_that_cannot_be_repeated_is_a_defect(rescored: float) -> None:
    logged = served(99, None, {}, status="MISSING")
    result = check_parity("r1", [logged], [], {}, [rescored], stale_is_missing=False)
    assert (result.score_mismatches, result.defects) == (1, 1)
    assert check_parity("r1", [logged], [], {}, [0.5 + 5e-10], stale_is_missing=False).defects == 0


def test_no_more_than_ten_examples_are_kept(world: World) -> None:
    wrong = altered(first(), "orders", 7)
    result = world.check(*[wrong] * 12)
    assert result.mismatches == {Cause.TRANSFORMATION: 12}
    assert len(result.examples) == 10


def test_the_checks_of_two_releases_add_up(world: World) -> None:
    good, bad = world.check(first()), world.check(altered(first(), "orders", 7))
    both = together([good, bad])
    assert (both.predictions_checked, both.values_compared, both.defects) == (2, 12, 1)
    assert both.to_dict()["mismatches"] == {"late_or_restated": 0, "type": 0, "transformation": 1}
    assert both.release_ids == ("r1", "r1")
    assert both.table().row_count == 8


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (3, "float64", 3.0),
        (3.0, "int64", 3),
        (0.1, "float32", 0.10000000149011612),
        (math.nan, "float64", None),
        (math.inf, "float32", None),
        (-(2**31), "int32", -(2**31)),
        ("1998-04-01T02:00:00+02:00", "timestamp", APRIL),
        (None, "bool", None),
    ],
)
def test_a_json_value_is_read_as_its_dtype(value: Any, dtype: str, expected: Any) -> None:
    assert typed(value, dtype) == expected


@pytest.mark.parametrize(
    ("value", "dtype"), [(True, "int64"), (2**31, "int32"), (1, "string"), ("1998-04-01T00:00:00", "timestamp")]
)
def test_a_value_of_another_dtype_is_refused(value: Any, dtype: str) -> None:
    with pytest.raises(TypeError):
        typed(value, dtype)


@pytest.mark.parametrize(("factor", "same"), [(1 + 9e-10, True), (1 + 2e-9, False)])
def test_floats_agree_to_a_relative_billionth(factor: float, same: bool) -> None:
    assert agree(1e12, 1e12 * factor) is same
    assert not agree(0.0, 1e-300)
