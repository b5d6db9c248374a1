"""The instants of a plan move together, and nothing else in its text changes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.errors import PlanError
from core.plan.file import parse_plan
from panthera.retraining.plan_instants import moved_until

SUBSCRIPTION = Path(__file__).parents[3] / "worlds/subscription/plan.yaml"


def test_instants_move_by_whole_months_and_the_starts_and_comments_stay() -> None:
    text = SUBSCRIPTION.read_text()
    before, moved = parse_plan(text), moved_until(text, datetime(2024, 9, 1, tzinfo=UTC))
    after = parse_plan(moved)
    assert {source.observed_until for source in after.ingest.values()} == {datetime(2024, 9, 1, tzinfo=UTC)}
    assert after.training_set.as_of.start == before.training_set.as_of.start
    assert after.training_set.as_of.end == datetime(2024, 8, 1, tzinfo=UTC)
    assert after.materialize.as_of == datetime(2024, 8, 1, tzinfo=UTC)
    changed = [line for line in moved.splitlines() if line not in text.splitlines()]
    assert len(changed) == 5  # the anchored cut once, and the four lines that follow it
    assert len(moved) == len(text)


def test_moving_again_to_the_same_instant_changes_nothing() -> None:
    once = moved_until(SUBSCRIPTION.read_text(), datetime(2024, 9, 17, 12, 30, tzinfo=UTC))
    assert '"2024-09-17T12:30:00Z"' in once
    assert moved_until(once, datetime(2024, 9, 17, 12, 30, tzinfo=UTC)) == once


def test_the_last_day_of_a_month_moves_to_the_last_day_of_a_shorter_one() -> None:
    text = "ingest: {orders: {observed_until: 2024-01-05}}\nmaterialize: {as_of: 2023-12-31}\n"
    moved = moved_until(text, datetime(2024, 3, 5, tzinfo=UTC))
    assert moved == 'ingest: {orders: {observed_until: "2024-03-05"}}\nmaterialize: {as_of: "2024-02-29"}\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "ingest: {orders: {observed_until: 2024-10-01}}",
            "observed until 2024-10-01; give that instant or a later one",
        ),
        ("ingest: {orders: {reader: {kind: csv}}}", "no instant to move; leave out --until"),
    ],
)
def test_an_instant_of_the_past_and_a_plan_without_instants_are_refused(text: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        moved_until(text, datetime(2024, 9, 1, tzinfo=UTC))
