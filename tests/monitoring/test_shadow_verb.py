"""`panthera shadow --follow`: it scores with the release that has the role now."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from benchmarks.small_release import PLAN, enter
from core.postgres.database import connect
from models.releases import ledger
from models.releases.ledger import Act
from monitoring.shadow_verb import shadow_verb
from tests.monitoring.log_rows import log_prediction

if TYPE_CHECKING:
    from core.settings import Settings

SINCE = datetime(2020, 1, 1, tzinfo=UTC)


def _wait_for(settings: Settings, release_id: str) -> set[int]:
    """Wait until the release has scored a prediction, and return those that it scored."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with connect(settings.database_url or "") as connection:
            query = "SELECT prediction_id FROM panthera.shadow_score WHERE release_id = %s"
            found = {row[0].int for row in connection.execute(query, [release_id])}
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{release_id} scored nothing")


def test_a_follower_waits_for_a_challenger_and_goes_over_to_the_next_one(settings: Settings) -> None:
    url, act = settings.database_url or "", Act("promote", "ann", "test")
    for number, name in enumerate(("r1", "r2", "r3")):
        enter(settings, name, cut=10 + number)
    with connect(url) as connection:
        ledger.appoint(connection, "churn", "champion", "r1", act)
        log_prediction(connection, 1, {"history__orders": 3})
    follower = multiprocessing.get_context("fork").Process(
        target=shadow_verb, args=(settings, PLAN, None, SINCE), kwargs={"follow": True}
    )
    follower.start()
    try:
        for name in ("r2", "r3"):
            with connect(url) as connection:
                ledger.appoint(connection, "churn", "challenger", name, act)
            assert _wait_for(settings, name) == {1}
    finally:
        assert follower.pid
        os.kill(follower.pid, signal.SIGKILL)
        follower.join()
