"""Drafts of tables whose rows are examples, each as of its own time."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from core.errors import PantheraError
from planner.verbs import check_sources

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.planner.drafted import Drafted

BEGIN = datetime(2023, 3, 1, 6, tzinfo=UTC)


def table(header: str, row: Callable[[int, datetime, random.Random], str], rows: int = 600, hours: float = 3.1) -> str:
    """Return a csv file with a row every few hours, in an order that tells nothing."""
    rng = random.Random(8)  # noqa: S311 - a fixed example
    lines = [row(number, BEGIN + timedelta(hours=number * hours), rng) for number in range(rows)]
    rng.shuffle(lines)
    return "\n".join([header, *lines]) + "\n"


def flight(number: int, at: datetime, rng: random.Random) -> str:
    late = "" if number % 50 == 7 else rng.randrange(90)
    return f"{number:05d},N{number % 40:03d}AA,{rng.choice('XYZ')},{at:%Y-%m-%d %H:%M},{rng.randrange(200, 900)},{late}"


FLIGHTS = table("flight,plane,carrier,leaves,miles,late", flight)


def booking(number: int, at: datetime, rng: random.Random) -> str:
    stays, gone = at + timedelta(days=rng.randrange(3, 60)), at + timedelta(days=rng.randrange(1, 12))
    fate, cancelled = ("cancelled", f"{gone:%d.%m.%Y}") if rng.random() < 0.3 else ("kept", "")
    guest, since = f"{number * 7 % 90:04d}", BEGIN - timedelta(days=number * 7 % 90)
    return f"{guest};{at:%d.%m.%Y};{stays:%d.%m.%Y};{cancelled};{since:%d.%m.%Y};{rng.randrange(1, 5)};{fate}"


BOOKINGS = table("guest no;booking date;planned stay;cancelled on;member since;persons;fate", booking)


def test_rows_with_times_are_examples_as_of_their_times_and_split_in_time(
    drafted: Drafted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, draft = drafted({"flights.csv": FLIGHTS}, "late >= 60", answers={"zone": "Europe/Berlin"})
    as_of, split, source = plan.training_set.as_of, plan.training_set.split, plan.ingest["flights"]
    assert as_of.each_row_of == "flights"
    assert source.event_time is not None
    assert (source.event_time.column, source.event_time.zone) == ("leaves", "Europe/Berlin")
    assert split.kind == "temporal"
    assert split.gap == plan.label.delay == timedelta(days=1)
    assert as_of.end + timedelta(days=1) == source.observed_until
    share = (split.test_from - as_of.start) / (as_of.end - as_of.start)
    assert 0.75 < share < 0.85
    assert [question.name for question in draft.sheet.open_questions] == ["delay"]
    monkeypatch.chdir(tmp_path)
    assert [one for one in check_sources(plan).findings if one.level == "refuse"] == []


def test_rows_whose_times_are_seconds_since_1970_are_examples_as_of_their_times(
    drafted: Drafted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rating(number: int, at: datetime, rng: random.Random) -> str:
        return f"{number % 50},{number * 7 % 90},{rng.randrange(1, 6)},{at.timestamp():.0f}"

    plan, _ = drafted({"ratings.csv": table("userId,movieId,rating,timestamp", rating)}, "rating >= 4")
    time = plan.ingest["ratings"].event_time
    assert time is not None
    assert (time.column, time.format, time.zone) == ("timestamp", "unix", None)
    assert (plan.training_set.as_of.each_row_of, plan.training_set.split.kind) == ("ratings", "temporal")
    monkeypatch.chdir(tmp_path)
    assert [one for one in check_sources(plan).findings if one.level == "refuse"] == []


def test_the_last_rows_without_a_target_say_how_long_it_takes_and_are_online_all_the_same(drafted: Drafted) -> None:
    def order(number: int, at: datetime, rng: random.Random) -> str:
        back = "" if number >= 540 else rng.choice(["yes", "no"])
        return f"{number},{at:%Y-%m-%d %H:%M},{rng.randrange(9)},{back}"

    plan, _ = drafted({"orders.csv": table("order_no,received,parts,back", order)}, "back = 'yes'")
    end = plan.build_features.snapshots.end
    assert plan.label.delay == timedelta(days=8)  # 60 rows, 3.1 hours apart
    assert plan.materialize.as_of == end == plan.ingest["orders"].observed_until
    assert plan.training_set.as_of.end == end - timedelta(days=8)


def test_what_a_row_states_is_a_feature_and_outcomes_of_earlier_rows_once_they_are_known(drafted: Drafted) -> None:
    plan, _ = drafted({"flights.csv": FLIGHTS}, "late >= 60", answers={"delay": "2d"})
    assert (plan.unit.key, plan.label.delay) == ("plane", timedelta(days=2))
    views = plan.build_features.views
    assert {"carrier", "miles", "hour_of_day", "weekday"} == set(views["row"].features)
    assert [view.every for view in views.values()] == ["row", "row"]
    outcomes = [one for one in views["plane_rows"].features.values() if "late" in one.sql]
    assert len(outcomes) > 1
    assert {one.lag for one in outcomes} == {timedelta(days=2)}


def test_of_several_times_the_booking_is_the_instant_and_the_cancellation_is_left_out(drafted: Drafted) -> None:
    plan, draft = drafted({"bookings.csv": BOOKINGS}, "fate = 'cancelled'")
    source = plan.ingest["bookings"]
    assert source.event_time is not None
    assert (source.event_time.column, source.event_time.format) == ("booking_date", "%d.%m.%Y")
    assert source.event_time.at == "end_of_day"
    features = plan.build_features.views["row"].features
    assert {"days_to_planned_stay", "days_to_member_since", "persons"} <= set(features)
    assert not [
        one
        for view in plan.build_features.views.values()
        for one in view.features.values()
        if "cancelled_on" in one.sql
    ]
    assert [note for note in draft.sheet.notes if note.startswith("'cancelled on' is no feature: it is later")]
    assert plan.label.delay is not None
    assert timedelta(days=8) < plan.label.delay < timedelta(days=12)  # measured by the times of cancellation


def test_several_rows_of_one_key_at_one_time_are_entities_of_their_own_with_the_history_of_the_key(
    drafted: Drafted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def order(number: int, at: datetime, rng: random.Random) -> str:
        return f"{at:%m/%d/%Y},C{number // 4 % 30:03d},{rng.randrange(9, 99)},{rng.choice(['yes', 'no'])}"

    text = table("order_date,customer_id,amount,returned", order)
    plan, _ = drafted({"orders.csv": text}, "returned = 'yes'", answers={"delay": "14d"})
    assert plan.unit.key == "row_number"
    assert plan.entities["customer"].of == "links.of_customer_id"
    assert plan.build_features.views["customer_id_rows"].entity == "customer"
    service = plan.build_features.services["everything"]
    assert service == ("row.*", "customer_id_rows.*")
    history = plan.build_features.views["customer_id_rows"].features
    assert history["rows_so_far"].lag == timedelta(days=1)
    assert "ORDER BY event_time, CAST" in history["target_last"].sql  # several rows have one time
    monkeypatch.chdir(tmp_path)
    assert [one for one in check_sources(plan).findings if one.level == "refuse"] == []


def member(number: int, at: datetime, rng: random.Random) -> str:
    return f"{number:05d},{at:%Y-%m-%d},{rng.choice(['a', 'b', 'c'])},{rng.choice(['Yes', 'No'])}"


MEMBERS = table("member_id,joined,tariff,churn", member)


def test_the_day_on_which_a_customer_joined_is_no_instant_unless_a_person_says_so(drafted: Drafted) -> None:
    plan, draft = drafted({"members.csv": MEMBERS}, "churn = 'Yes'")
    assert not plan.has_time
    assert [one.name for one in draft.sheet.open_questions] == ["time.members"]
    plan, _ = drafted({"members.csv": MEMBERS}, "churn = 'Yes'", answers={"time.members": "joined"})
    assert plan.training_set.as_of.each_row_of == "members"


def test_no_time_can_be_chosen_and_a_column_that_is_no_time_is_refused(drafted: Drafted) -> None:
    plan, _ = drafted({"flights.csv": FLIGHTS}, "late >= 60", time="none")
    assert not plan.has_time
    with pytest.raises(PantheraError, match="'miles' is no column with a time in every row of flights"):
        drafted({"flights.csv": FLIGHTS}, "late >= 60", time="miles")


def test_rows_of_one_class_in_a_part_are_split_at_random_and_it_is_said(drafted: Drafted) -> None:
    def late_only(number: int, at: datetime, rng: random.Random) -> str:
        return f"{at:%Y-%m-%d %H:%M},{rng.random():.3f},{int(number > 590)}"

    plan, draft = drafted({"days.csv": table("at,x,broken", late_only, rows=604)}, "broken = 1")
    assert not plan.has_time
    assert [note for note in draft.sheet.notes if "split at random, not in time" in note]
