"""Samples of the log: the same every time, of about the size that was asked for."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from monitoring.logged_predictions import fetch_at_most, fetch_releases, fetch_share
from tests.monitoring.log_rows import NOON, log_prediction

if TYPE_CHECKING:
    import psycopg


def test_a_share_is_the_same_every_time_and_about_that_share(connection: psycopg.Connection) -> None:
    for number in range(1_000):
        log_prediction(connection, number, {})
    sample = fetch_share(connection, "r1", 0.2, None, None)
    # Binomial with n = 1,000 and p = 0.2: standard deviation 12.6, so five of them either side.
    assert 137 <= len(sample) <= 263
    assert fetch_share(connection, "r1", 0.2, None, None) == sample
    larger = {logged.prediction_id for logged in fetch_share(connection, "r1", 0.5, None, None)}
    assert {logged.prediction_id for logged in sample} < larger
    assert len(fetch_share(connection, "r1", 1.0, None, None)) == 1_000


def test_at_most_so_many_rows_are_read(connection: psycopg.Connection) -> None:
    for number in range(20):
        log_prediction(connection, number, {})
    assert len(fetch_at_most(connection, "r1", 7, None, None)) == 7
    assert len(fetch_at_most(connection, "r1", 100, None, None)) == 20


def test_a_prediction_comes_back_as_it_was_logged(connection: psycopg.Connection) -> None:
    times = {"v": "1998-04-01T00:00:00+00:00", "w": None}
    log_prediction(connection, 1, {"v__x": 0.1, "w__y": None}, score=0.25, event_times=times, entity="k")
    (logged,) = fetch_share(connection, "r1", 1.0, None, None)
    assert (logged.entity, logged.as_of, logged.score) == ("k", NOON, 0.25)
    assert logged.features == {"v__x": 0.1, "w__y": None}
    assert logged.event_time("v") == NOON - timedelta(hours=12)
    assert logged.event_time("w") is None


def test_the_releases_of_a_window_are_those_that_answered_in_it(connection: psycopg.Connection) -> None:
    log_prediction(connection, 1, {})
    log_prediction(connection, 2, {}, release_id="r2", as_of=NOON + timedelta(days=1))
    assert fetch_releases(connection, None, None) == ["r1", "r2"]
    assert fetch_releases(connection, None, NOON) == ["r1"]
