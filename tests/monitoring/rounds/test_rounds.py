"""Whole rounds on a real log, bundle and ledger: what they decide, record, carry out and post."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest

from benchmarks.monitoring.parity import REQUEST, SPENDING
from core.errors import PantheraError
from core.experiment.phases import enter_phase, phase_terms
from core.plan.file import read_plan
from core.plan.plan import Decide
from core.postgres.database import connect
from feature_repo.online.tables import create
from feature_repo.views.definitions import declared_table
from models.releases import ledger
from models.releases.ledger import Act, NewRelease
from monitoring.rounds.alerts import Channels
from monitoring.rounds.history import read_history
from monitoring.rounds.run import Options, run_round
from monitoring.verbs import Window
from panthera.cli import _parser
from tests.monitoring.spending_world import World, altered, first
from tests.monitoring.test_verbs import register, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from core.plan.plan import Plan
    from core.settings import Settings
    from monitoring.rounds.run import Round

DAY = timedelta(days=1)
SERVED = 40


@pytest.fixture(scope="module")
def plan() -> Plan:
    """The plan of the small world, whose log is recomputed as a whole."""
    plan = read_plan(Path(__file__).parents[3] / "params.yaml")
    views = plan.build_features.model_copy(update={"views": {"spending": SPENDING}})
    words = {"parity_sample": 1.0, "expected_drift": {}, "decide": Decide(better="higher", minimum_rows=40)}
    return plan.model_copy(update={"build_features": views, "monitor": plan.monitor.model_copy(update=words)})


@pytest.fixture
def digest(settings: Settings, plan: Plan) -> str:
    return register(settings, plan.register_.model, plan.label.horizon, declared_table(plan, "spending").name)


def look(settings: Settings, plan: Plan, data: Path, end: datetime = REQUEST, **options: Any) -> Round:
    """Run a round over the week that ends at `end`."""
    return run_round(settings, plan, Window.before(end, 7 * DAY), Options(data, **options))


def rows_of(settings: Settings) -> list[tuple[Any, ...]]:
    with psycopg.connect(settings.database_url or "") as connection:
        return connection.execute(
            "SELECT decision, has_drift, acted, target FROM panthera.monitor_round ORDER BY round_id"
        ).fetchall()


@contextmanager
def receiver(status: int = 200) -> Iterator[tuple[str, list[Any]]]:
    """Yield the URL of a server that keeps what is posted to it."""
    received: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook/s3cret", received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_drift_is_held_once_then_answered_by_a_retraining_then_held_for_the_cooldown(
    settings: Settings, plan: Plan, digest: str, tmp_path: Path
) -> None:
    World(tmp_path)
    serve(settings, digest, *[first()] * SERVED)  # all alike: every column drifted
    with receiver() as (url, received):
        rounds = [look(settings, plan, tmp_path, REQUEST + day * DAY, channels=Channels(url)) for day in (0, 1, 2)]
    assert [each.decided.decision for each in rounds] == ["hold", "retrain", "hold"]
    assert rows_of(settings) == [
        ("hold", True, False, None),
        ("retrain", True, False, None),
        ("hold", True, False, None),
    ]
    assert [(each["decision"], each["round_id"]) for each in received] == [("retrain", rounds[1].round_id)]
    assert "panthera retrain" in (rounds[1].next_step or "")
    assert rounds[1].table().row_count >= 3
    told = read_history(settings, plan, 50).to_dict()["events"]
    assert isinstance(told, list)
    assert [(each["kind"], each.get("decision") or each["cause"]) for each in told] == [
        ("role", "register"),
        ("round", "hold"),
        ("round", "retrain"),
        ("round", "hold"),
    ]


def test_a_round_that_acts_records_its_decision_and_then_retrains_once_in_the_cooldown(
    settings: Settings, plan: Plan, digest: str, tmp_path: Path
) -> None:
    World(tmp_path)
    serve(settings, digest, *[first()] * SERVED)
    recorded_before: list[tuple[str, list[Any]]] = []

    def retrain(why: str) -> str | None:
        recorded_before.append((why, rows_of(settings)))
        return "the retraining led to no challenger"

    rounds = [look(settings, plan, tmp_path, REQUEST + day * DAY, act=True, retrain=retrain) for day in (0, 1, 2)]
    ((why, rows),) = recorded_before
    assert why.startswith("panthera monitor: the score drifted")
    assert rows[1] == ("retrain", True, True, None)
    assert (rounds[1].acted, rounds[1].act_problem) == (True, "the retraining led to no challenger")
    assert [each.decided.decision for each in rounds] == ["hold", "retrain", "hold"]
    look(settings, plan, tmp_path, REQUEST + 20 * DAY, act=True, dry_run=True, retrain=retrain)
    assert len(recorded_before) == 1


def test_a_broken_feed_blocks_however_long_it_drifts_and_its_alert_may_fail(
    settings: Settings, plan: Plan, digest: str, tmp_path: Path
) -> None:
    World(tmp_path)
    serve(settings, digest, *[altered(first(), "channel", None)] * SERVED)
    with receiver(500) as (url, _):
        failed = look(settings, plan, tmp_path, channels=Channels(url))
    unreached = look(settings, plan, tmp_path, REQUEST + DAY, channels=Channels(url))
    assert [failed.decided.decision, unreached.decided.decision] == ["block", "block"]
    acted: list[str] = []
    look(settings, plan, tmp_path, REQUEST + 2 * DAY, act=True, retrain=acted.append)
    assert acted == []
    assert "spending__channel is missing in 100.0%" in failed.decided.reasons[0]
    assert failed.alert_problem == "the webhook at 127.0.0.1 answered with status 500"
    assert unreached.alert_problem == "the webhook at 127.0.0.1 could not be reached (ConnectError)"
    wrong = look(settings, plan, tmp_path, channels=Channels("ftp://s3cret"))
    assert "not a URL with http" in (wrong.alert_problem or "")


def test_a_service_that_fell_silent_blocks_and_a_dry_run_writes_nothing(
    settings: Settings, plan: Plan, digest: str, tmp_path: Path
) -> None:
    before_it_served = look(settings, plan, tmp_path, dry_run=True)
    assert before_it_served.decided.decision == "hold"
    assert "drift was not measured: release r1" in before_it_served.decided.reasons[0]
    serve(settings, digest, first())
    with receiver() as (url, received):
        silent = look(settings, plan, tmp_path, REQUEST + 30 * DAY, dry_run=True, channels=Channels(url))
    assert (silent.decided.decision, silent.round_id) == ("block", None)
    assert rows_of(settings) == []
    assert received == []


def test_a_round_without_a_champion_says_how_to_get_one(settings: Settings, plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(PantheraError, match=r"no champion of .* run `dvc repro`"):
        look(settings, plan, tmp_path)


def challenge(settings: Settings, plan: Plan, digest: str) -> None:
    """Have r2 challenge r1, and win: of a hundred units each, eighty instead of twenty have the outcome 1."""
    model, table = plan.register_.model, declared_table(plan, "spending")
    with connect(settings.database_url or "") as connection:
        ledger.enter(connection, NewRelease("r2", model, "orders", digest, "all", "d", "c", "2", {}))
        ledger.appoint(connection, model, "challenger", "r2", Act("promote", "somebody", "to try it"))
        create(connection, table)
        connection.execute(
            "INSERT INTO panthera.materialization VALUES (gen_random_uuid(), 'spending', %s, %s, 1)",
            [table.name, REQUEST],
        )
        serve_ = plan.serve
        terms = phase_terms(serve_.experiment, serve_.salt, {"champion": 1, "challenger": 1}, "r1", "r2")
        phase = enter_phase(connection, terms)
        exposed = REQUEST - (plan.label.matures_after or timedelta()) - 10 * DAY
        for arm, release, ones in (("champion", "r1", 20), ("challenger", "r2", 80)):
            for number in range(100):
                entity = f"{arm}{number}"
                connection.execute(
                    "INSERT INTO panthera.exposure (experiment, entity, arm, bucket, release_id, prediction_id, exposed_at, "
                    "phase_id) VALUES (%s, %s, %s, 0, %s, %s, %s, %s)",
                    [serve_.experiment, entity, arm, release, uuid4(), exposed, phase],
                )
                connection.execute(
                    "INSERT INTO panthera.outcome (outcome_id, entity, observed_at, value) VALUES (%s, %s, %s, %s)",
                    [entity, entity, exposed + (plan.label.matures_after or DAY), int(number < ones)],
                )


def test_a_better_challenger_is_proposed_and_with_act_promoted_once(
    settings: Settings, plan: Plan, digest: str, tmp_path: Path
) -> None:
    World(tmp_path)
    serve(settings, digest, first())
    challenge(settings, plan, digest)
    proposed = look(settings, plan, tmp_path, dry_run=True, act=True)
    assert (proposed.decided.decision, proposed.decided.target, proposed.acted) == ("promote", "r2", False)
    assert "panthera promote r2" in (proposed.next_step or "")
    done = look(settings, plan, tmp_path, act=True)
    assert (done.acted, done.next_step, done.act_problem) == (True, None, None)
    with connect(settings.database_url or "") as connection:
        assert ledger.roles(connection, plan.register_.model) == {"champion": "r2", "challenger": None}
        assert ledger.history(connection, plan.register_.model)[-2].reason.startswith("panthera monitor: the outcomes")
    assert look(settings, plan, tmp_path, REQUEST + DAY, act=True).acted is False
    assert rows_of(settings)[0] == ("promote", False, True, "r2")


def test_the_verb_exits_with_3_for_attention_and_watches_until_it_is_stopped(
    settings: Settings,
    plan: Plan,
    digest: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("panthera.monitor_verbs.read_settings", lambda: settings)
    monkeypatch.setattr("panthera.monitor_verbs.read_current_plan", lambda: plan)
    arguments = ["monitor", "--data", str(tmp_path), "--json"]

    def run(*more: str) -> int:
        parsed = _parser().parse_args([*arguments, *more])
        return int(parsed.function(parsed))

    assert run() == 0
    serve(settings, digest, first())
    assert run() == 3  # it served in 1998, and nothing in the last week
    assert json.loads(capsys.readouterr().out.partition("\n}\n")[2])["decision"] == "block"
    naps: list[int] = []

    def nap(seconds: int) -> None:
        naps.append(seconds)
        if len(naps) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("panthera.monitor_verbs.time.sleep", nap)
    with pytest.raises(KeyboardInterrupt):
        run("--watch", "5")
    assert (naps, len(rows_of(settings))) == ([5, 5], 4)
    parsed = _parser().parse_args(["history", "--limit", "2"])
    assert parsed.function(parsed) == 0
    assert capsys.readouterr().out.count("round: block") == 2
