"""The ledger keeps every release once, what was said of it, and who had which role since when; nothing is rewritten."""

from __future__ import annotations

from dataclasses import asdict, fields

import psycopg
import pytest

from core.postgres.database import _apply, _migrations
from models.releases import ledger
from models.releases.ledger import Act, NewRelease, Verdict

RELEASE = NewRelease("one-1", "churn", "one", "d1", "service", "md5:1", "git:1", "1", {"test_roc_auc": 0.8}, "l", "ann")
OTHER = NewRelease("two-2", "churn", "two", "d2", "service", "md5:1", "git:1", "2", {})
ACT = Act("promote", "ann", "because")


def test_a_release_comes_back_as_it_was_entered(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        assert ledger.enter(connection, RELEASE)
        found = ledger.find_release(connection, "one-1")
    assert found is not None
    assert {field.name: asdict(found)[field.name] for field in fields(NewRelease)} == asdict(RELEASE)
    assert found.created_at.tzinfo is not None


def test_entering_a_release_again_changes_nothing(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        ledger.enter(connection, RELEASE)
        before = ledger.find_release(connection, "one-1")
        assert not ledger.enter(connection, RELEASE)
        assert ledger.find_release(connection, "one-1") == before


def test_the_newest_appointment_of_a_role_holds_and_each_says_whom_it_replaced(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        for release in (RELEASE, OTHER):
            ledger.enter(connection, release)
        assert ledger.current(connection, "churn", "champion") is None
        assert ledger.appoint(connection, "churn", "champion", "one-1", ACT)
        assert not ledger.appoint(connection, "churn", "champion", "one-1", Act("promote", "bob", "again"))
        assert ledger.appoint(connection, "churn", "champion", "two-2", ACT)
        assert ledger.appoint(connection, "churn", "champion", "one-1", Act("rollback", "bob", "back"))
        now = ledger.current(connection, "churn", "champion")
        history = ledger.history(connection, "churn")
    assert now is not None
    assert now.release_id == "one-1"
    assert [(row.release_id, row.replaced, row.cause, row.actor, row.reason) for row in history] == [
        ("one-1", None, "promote", "ann", "because"),
        ("two-2", "one-1", "promote", "ann", "because"),
        ("one-1", "two-2", "rollback", "bob", "back"),
    ]


def test_a_role_can_be_nobodys(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        ledger.enter(connection, RELEASE)
        ledger.appoint(connection, "churn", "challenger", "one-1", ACT)
        assert {
            role: release and release.registry_version for role, release in ledger.holders(connection, "churn").items()
        } == {"champion": None, "challenger": "1"}
        assert ledger.appoint(connection, "churn", "challenger", None, ACT)
        assert ledger.current(connection, "churn", "challenger") is None
        assert ledger.roles(connection, "churn") == {"champion": None, "challenger": None}
        assert not ledger.appoint(connection, "churn", "challenger", None, ACT)


def test_roles_and_lists_of_another_model_are_its_own(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        ledger.enter(connection, RELEASE)
        ledger.appoint(connection, "churn", "champion", "one-1", ACT)
        assert ledger.current(connection, "fraud", "champion") is None
        assert ledger.newest(connection, "fraud", 9) == []
        assert [release.release_id for release in ledger.newest(connection, None, 9)] == ["one-1"]


def test_a_verdict_comes_back_with_its_numbers(database_url: str) -> None:
    said = Verdict("two-2", "one-1", "won", "better", [{"check": "roc_auc", "passed": True, "lower": 0.01}])
    with psycopg.connect(database_url) as connection:
        for release in (RELEASE, OTHER):
            ledger.enter(connection, release)
        ledger.enter_verdict(connection, "churn", said, "ann")
        (found,) = ledger.verdicts(connection, ["two-2"])
        assert ledger.verdicts(connection, ["one-1"]) == []
    assert {field.name: asdict(found)[field.name] for field in fields(Verdict)} == asdict(said)
    assert found.actor == "ann"


@pytest.mark.parametrize("table", ["release", "release_role", "verdict"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET model = 'x'", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
def test_history_is_not_rewritten(database_url: str, table: str, statement: str) -> None:
    with psycopg.connect(database_url) as connection:
        ledger.enter(connection, RELEASE)
        ledger.appoint(connection, "churn", "champion", "one-1", ACT)
        with pytest.raises(psycopg.errors.RaiseException, match="is a history"):
            connection.execute(statement.format(f"panthera.{table}").encode())


def test_what_a_release_served_is_counted_by_day_and_arm(database_url: str) -> None:
    with psycopg.connect(database_url, options="-c timezone=Asia/Kolkata") as connection:
        for release in (RELEASE, OTHER):
            ledger.enter(connection, release)
        days = [
            ("one-1", "champion", 0),
            ("one-1", "champion", 0),
            ("one-1", "challenger", 1),
            ("two-2", "champion", 0),
        ]
        for number, (release_id, arm, day) in enumerate(days):
            connection.execute(
                "INSERT INTO panthera.prediction VALUES (gen_random_uuid(), %s, now(), %s, 'e', %s, 0.5, 'd', '{}', '{}', "
                "'{}', date_trunc('day', now(), 'UTC') + interval '2 days' + make_interval(days => %s))",
                [str(number), release_id, arm, day],
            )
        found = ledger.find_release(connection, "one-1")
        assert found is not None
        served = ledger.served_days(connection, found)
    assert [(day.arm, day.predictions) for day in served] == [("champion", 2), ("challenger", 1)]
    assert (served[1].day - served[0].day).days == 1


def test_the_history_that_an_older_version_wrote_is_kept_and_says_whom_each_replaced(empty_database_url: str) -> None:
    scripts = _migrations()
    _apply(empty_database_url, {number: scripts[number] for number in (1, 2)})
    with psycopg.connect(empty_database_url) as connection:
        for name in ("one", "two"):
            connection.execute(
                "INSERT INTO panthera.release VALUES (%s, 1, 'churn', 'c', 'd', 's', 'd', 'c', '1', '{}')", [name]
            )
            connection.execute(
                "INSERT INTO panthera.release_role (model, role, release_id, reason) "
                "VALUES ('churn', 'champion', %s, 'best')",
                [name],
            )
    _apply(empty_database_url, scripts)
    with psycopg.connect(empty_database_url) as connection:
        found = [(row.release_id, row.replaced, row.cause, row.actor) for row in ledger.history(connection, "churn")]
        assert found == [("one", None, "register", "unknown"), ("two", "one", "register", "unknown")]
        assert ledger.appoint(connection, "churn", "champion", "one", Act("rollback", "ann", "back"))
