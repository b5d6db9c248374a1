"""Parity on a small world: real feature SQL, real snapshots, and logged vectors that are altered one at a time."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.monitoring.parity import APRIL, FEATURES, MARCH, REQUEST
from monitoring.offline_values import Pushes, Watermarks
from monitoring.parity import CauseGroup, agree, check_parity, combined, hash_of, typed
from tests.monitoring.spending_world import PURCHASES, World, accept, altered, first, second, served

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


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
    assert result.mismatches == {CauseGroup.TRANSFORMATION: 1}
    assert result.defects == 1
    (example,) = result.examples
    assert (example.view, example.feature, example.logged) == ("spending", feature, value)
    assert example.entity_hash == hash_of("1") != "1"


def test_a_value_served_as_missing_that_was_there_is_a_transformation(world: World) -> None:
    assert world.check(altered(first(), "spend", None)).mismatches == {CauseGroup.TRANSFORMATION: 1}


def test_a_value_served_where_there_is_none_is_a_transformation(world: World) -> None:
    assert world.check(altered(second(), "recent", 0.0)).mismatches == {CauseGroup.TRANSFORMATION: 1}


@pytest.mark.parametrize(
    ("feature", "value"), [("orders", "2"), ("orders", 2.5), ("spend", "30.3"), ("member", 1), ("last", "yesterday")]
)
def test_a_value_of_another_type_is_named_so(world: World, feature: str, value: Any) -> None:
    result = world.check(altered(first(), feature, value))
    assert result.mismatches == {CauseGroup.TYPE: 1}
    assert result.defects == 0


def test_a_source_restated_after_the_snapshot_is_no_defect(world: World) -> None:
    restated = [(1, 11.1, "web", PURCHASES[0][3]), *PURCHASES[1:]]
    accept(world.accepted, restated)
    result = world.check(first(), second())
    assert result.mismatches == {CauseGroup.LATE_OR_RESTATED: 1}
    assert result.examples[0].recomputed == pytest.approx(31.3)
    assert result.defects == 0


def test_a_source_restated_and_built_again_is_no_defect_where_the_snapshots_that_were_online_are_kept(
    world: World, tmp_path: Path
) -> None:
    kept = tmp_path / "online.parquet"
    shutil.copyfile(world.build(), kept)
    accept(world.accepted, [(1, 11.1, "web", PURCHASES[0][3]), *PURCHASES[1:]])
    world.build()
    assert world.check(first(), second()).mismatches == {CauseGroup.TRANSFORMATION: 1}
    assert world.check(first(), second(), kept=(kept,)).mismatches == {CauseGroup.LATE_OR_RESTATED: 1}
    wrong = altered(first(), "spend", 77.0)
    assert world.check(wrong, kept=(kept,)).mismatches == {CauseGroup.TRANSFORMATION: 1}


def test_an_entity_erased_from_the_source_is_late_or_restated(world: World) -> None:
    accept(world.accepted, PURCHASES[2:])
    assert world.check(first()).mismatches == {CauseGroup.LATE_OR_RESTATED: 6}


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
    assert world.check(served(1, None, {}, status="MISSING")).mismatches == {CauseGroup.TRANSFORMATION: 6}


def pushed(entity: str, event: datetime, at: datetime = REQUEST) -> Pushes:
    return Pushes({entity: [(event, at)]})


def test_a_value_that_somebody_pushed_is_no_defect(world: World) -> None:
    row = served(1, APRIL + timedelta(days=2), {"orders": 77, "spend": 1.0})
    assert world.check(row).defects == 6
    result = world.check(row, second(), pushes=pushed("1", APRIL + timedelta(days=2)))
    assert (result.mismatches, result.defects) == ({CauseGroup.PUSHED: 6}, 0)


def test_an_entity_that_is_known_by_a_push_alone_is_no_defect(world: World) -> None:
    row = served(99, APRIL, {"orders": 3})
    assert world.check(row, pushes=pushed("99", APRIL)).mismatches == {CauseGroup.PUSHED: 1}


@pytest.mark.parametrize(
    ("entity", "event", "at"),
    [
        ("2", APRIL, REQUEST),
        ("1", APRIL - timedelta(microseconds=1), REQUEST),
        ("1", APRIL, REQUEST + timedelta(microseconds=1)),
    ],
    ids=["of another entity", "of another event", "after the prediction"],
)
def test_what_was_pushed_elsewhere_excuses_no_transformation(
    world: World, entity: str, event: datetime, at: datetime
) -> None:
    result = world.check(altered(first(), "orders", 3), second(), pushes=pushed(entity, event, at))
    assert (result.mismatches, result.defects) == ({CauseGroup.TRANSFORMATION: 1}, 1)


def test_a_row_that_a_push_replaced_by_one_of_after_the_request_is_no_defect(world: World) -> None:
    missing = served(1, None, {}, status="MISSING")
    assert world.check(missing, pushes=pushed("1", REQUEST + timedelta(minutes=4))).mismatches == {CauseGroup.PUSHED: 6}
    assert world.check(missing, pushes=pushed("1", REQUEST - timedelta(minutes=4))).defects == 6


def test_a_replay_of_before_what_is_online_is_no_defect(world: World) -> None:
    """The store keeps the latest row: as of March it has nothing once April is online."""
    replay = replace(served(1, None, {}, status="MISSING"), as_of=MARCH + timedelta(days=1))
    april = Watermarks((REQUEST - timedelta(days=1),), (APRIL,))
    assert world.check(replay, watermarks=april).mismatches == {CauseGroup.REPLAYED: 5}
    march = Watermarks((REQUEST - timedelta(days=1),), (MARCH,))
    assert world.check(replay, watermarks=march).mismatches == {CauseGroup.TRANSFORMATION: 5}


def test_a_replay_that_read_a_row_is_compared_as_any_other(world: World) -> None:
    replay = replace(altered(first(), "orders", 3), logged_at=REQUEST + timedelta(days=300))
    assert world.check(replay, second()).mismatches == {CauseGroup.TRANSFORMATION: 1}


def test_a_snapshot_materialized_after_the_request_excuses_a_missing_row(world: World) -> None:
    missing = served(1, None, {}, status="MISSING")
    online_before = Watermarks((APRIL,), (APRIL,))
    online_after = Watermarks((REQUEST + timedelta(hours=1),), (APRIL,))
    assert world.check(missing, watermarks=online_before).mismatches == {CauseGroup.TRANSFORMATION: 6}
    assert world.check(missing, watermarks=online_after).mismatches == {CauseGroup.LATE_OR_RESTATED: 6}


def test_an_entity_first_seen_after_the_last_snapshot_is_late(world: World) -> None:
    # Customer 3 bought first on 2 April: all six of its features are known by the request, and in no snapshot.
    assert world.check(served(3, None, {}, status="MISSING")).mismatches == {CauseGroup.LATE_OR_RESTATED: 6}


def test_a_value_from_a_row_that_nobody_read_is_a_transformation(world: World) -> None:
    assert world.check(served(99, None, {"orders": 1}, status="MISSING")).mismatches == {CauseGroup.TRANSFORMATION: 1}


@pytest.mark.parametrize("rescored", [0.5 + 2e-9, 0.5 - 2e-9, math.nan])
def test_a_score_that_cannot_be_repeated_is_a_defect(rescored: float) -> None:
    logged = served(99, None, {}, status="MISSING")
    result = check_parity("r1", [logged], [], {}, [rescored], stale_is_missing=False)
    assert (result.score_mismatches, result.defects) == (1, 1)
    assert check_parity("r1", [logged], [], {}, [0.5 + 5e-10], stale_is_missing=False).defects == 0


def test_no_more_than_ten_examples_are_kept(world: World) -> None:
    wrong = altered(first(), "orders", 7)
    result = world.check(*[wrong] * 12)
    assert result.mismatches == {CauseGroup.TRANSFORMATION: 12}
    assert len(result.examples) == 10


def test_the_checks_of_two_releases_add_up(world: World) -> None:
    good, bad = world.check(first()), world.check(altered(first(), "orders", 7))
    both = combined([good, bad])
    assert (both.predictions_checked, both.values_compared, both.defects) == (2, 12, 1)
    assert both.to_dict()["mismatches"] == {
        "late_or_restated": 0,
        "pushed": 0,
        "replayed": 0,
        "type": 0,
        "transformation": 1,
    }
    assert both.release_ids == ("r1", "r1")
    assert both.table().row_count == 11


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
