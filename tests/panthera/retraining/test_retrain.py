"""A retraining leads to a challenger, never to another champion, however it ends; each is recorded."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.small_release import TEXT, enter
from core.errors import PantheraError
from core.postgres.database import connect
from models.releases import ledger
from models.releases.ledger import Verdict
from models.releases.retrainings import latest_events, open_retraining
from models.releases.role_decision import decide_roles
from monitoring.rounds.record import NewRound, record
from monitoring.rounds.rules import Decision
from panthera.retraining.retrain import retrain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from core.plan.plan import Plan
    from core.settings import Settings
    from models.releases.ledger import LedgerRelease, NewRelease, Outcome

WHY = "the inputs drifted"


@pytest.fixture
def trained(settings: Settings) -> Settings:
    """A project whose first training has given both roles."""
    settings.plan.write_text(TEXT)
    register(settings, "first", "lost")
    return settings


def register(settings: Settings, name: str, outcome: Outcome) -> None:
    """Do what the stage `register` does with a release on which the gate says `outcome`."""

    def compare(release: NewRelease, champion: LedgerRelease) -> Verdict:
        return Verdict(release.release_id, champion.release_id, outcome, "so it is", ())

    decide_roles(settings.database_url or "", [enter(settings, name)], compare, "ann")


def stages(name: str, outcome: Outcome) -> Callable[[Settings, Plan, Path], None]:
    return lambda settings, _plan, _data: register(settings, name, outcome)


def failing(*_: Any) -> None:
    raise PantheraError("`dvc repro` failed with exit code 255")


def killed(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def roles(settings: Settings) -> tuple[str | None, str | None]:
    with connect(settings.database_url or "") as connection:
        now = ledger.roles(connection, "churn")
    return now["champion"], now["challenger"]


def events(settings: Settings) -> list[tuple[str, str | None]]:
    with connect(settings.database_url or "") as connection:
        return [(each.event, each.release_id) for each in reversed(latest_events(connection, "churn", 50))]


@pytest.mark.parametrize(
    ("outcome", "then", "event"),
    [
        ("won", "second", "challenger"),
        ("undecided", "second", "challenger"),
        ("lost", None, "no_role"),
    ],
)
def test_the_champion_stays_and_a_release_that_does_not_lose_challenges_it(
    trained: Settings, tmp_path: Path, outcome: Outcome, then: str | None, event: str
) -> None:
    done = retrain(trained, tmp_path, WHY, run=stages("second", outcome))
    assert (done.outcome, done.release_id, done.is_challenger) == (event, "second", event == "challenger")
    assert roles(trained) == ("first", then)
    assert events(trained) == [("began", "first"), (event, "second")]
    assert done.table().row_count >= 4
    register(trained, "third", "won")  # by hand, after the retraining has ended
    assert roles(trained)[0] == "third"


def test_stages_that_find_nothing_to_do_leave_everything_unchanged(trained: Settings, tmp_path: Path) -> None:
    done = retrain(trained, tmp_path, WHY, run=lambda *_: None)
    assert (done.outcome, done.champion, done.challenger) == ("unchanged", "first", None)
    again = retrain(trained, tmp_path, WHY, run=stages("first", "won"))
    assert (again.outcome, again.reason) == ("unchanged", "first is the champion already")


def test_a_stage_that_fails_is_recorded_and_changes_no_role(trained: Settings, tmp_path: Path) -> None:
    with pytest.raises(PantheraError, match="exit code 255"):
        retrain(trained, tmp_path, WHY, run=failing)
    assert roles(trained) == ("first", None)
    assert events(trained) == [("began", "first"), ("failed", "first")]


def test_a_retraining_that_was_killed_still_never_replaces_the_champion(trained: Settings, tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(
        target=retrain, args=(trained, tmp_path, WHY), kwargs={"run": killed}
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert roles(trained) == ("first", None)
    with connect(trained.database_url or "") as connection:
        assert open_retraining(connection, "churn") is not None
    done = retrain(trained, tmp_path, WHY, run=stages("second", "won"))
    assert done.is_challenger
    assert [event for event, _ in events(trained)] == ["began", "interrupted", "began", "challenger"]


def test_the_stages_of_a_killed_retraining_that_go_on_end_it_with_a_challenger(
    trained: Settings, tmp_path: Path
) -> None:
    process = multiprocessing.get_context("fork").Process(
        target=retrain, args=(trained, tmp_path, WHY), kwargs={"run": killed}
    )
    process.start()
    process.join()
    register(trained, "second", "won")
    assert roles(trained) == ("first", "second")
    assert events(trained) == [("began", "first"), ("challenger", "second")]


def test_only_one_retraining_of_a_model_runs_at_a_time(trained: Settings, tmp_path: Path) -> None:
    refused: list[str] = []

    def another(*_: Any) -> None:
        def run() -> None:
            try:
                retrain(trained, tmp_path, WHY, run=failing)
            except PantheraError as error:
                refused.append(str(error))

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()

    retrain(trained, tmp_path, WHY, run=another)
    assert "a retraining of 'churn' is running since" in refused[0]


def test_a_round_that_blocked_refuses_a_retraining_until_another_does_not(trained: Settings, tmp_path: Path) -> None:
    at = datetime(2026, 3, 8, tzinfo=UTC)
    blocked = NewRound(
        "churn", "first", None, at, at, Decision.BLOCK, ["orders is missing in 90.0%"], {}, False, None, False, "ann"
    )
    with connect(trained.database_url or "") as connection:
        record(connection, blocked)
    with pytest.raises(PantheraError, match=r"blocked: orders is missing in 90\.0%; mend the data"):
        retrain(trained, tmp_path, WHY, run=failing)
    assert events(trained) == []
    with connect(trained.database_url or "") as connection:
        record(connection, replace(blocked, decision=Decision.HOLD))
    assert retrain(trained, tmp_path, WHY, run=lambda *_: None).outcome == "unchanged"


def test_newer_sources_move_the_plan_before_the_stages_run(trained: Settings, tmp_path: Path) -> None:
    seen: list[datetime] = []

    def look(_settings: Settings, plan: Plan, _data: Path) -> None:
        seen.append(plan.ingest["visits"].observed_until)
        assert '"2026-07-01"' in trained.plan.read_text()

    retrain(trained, tmp_path, WHY, datetime(2026, 7, 1, tzinfo=UTC), run=look)
    assert seen == [datetime(2026, 7, 1, tzinfo=UTC)]
    with pytest.raises(PantheraError, match="give that instant or a later one"):
        retrain(trained, tmp_path, WHY, datetime(2026, 6, 1, tzinfo=UTC), run=failing)


@pytest.mark.parametrize("why", ["  ", "two\x1b[0mlines"])
def test_a_retraining_needs_a_reason_and_a_champion(settings: Settings, tmp_path: Path, why: str) -> None:
    settings.plan.write_text(TEXT)
    with pytest.raises(PantheraError, match="reason is empty"):
        retrain(settings, tmp_path, why, run=failing)
    with pytest.raises(PantheraError, match="no champion of 'churn' is registered; run `dvc repro`"):
        retrain(settings, tmp_path, WHY, run=failing)
