"""The ledger keeps every release once, and who had which role since when."""

from __future__ import annotations

from dataclasses import asdict, fields

import psycopg

from models import ledger
from models.ledger import NewRelease

RELEASE = NewRelease("one-1", "churn", "one", "d1", "service", "md5:1", "git:1", "1", {"test_roc_auc": 0.8})
OTHER = NewRelease("two-2", "churn", "two", "d2", "service", "md5:1", "git:1", "2", {})


def test_a_release_comes_back_as_it_was_entered(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        ledger.enter(connection, RELEASE)
        found = ledger.find(connection, "one-1")
    assert found is not None
    assert {field.name: asdict(found)[field.name] for field in fields(NewRelease)} == asdict(RELEASE)
    assert found.created_at.tzinfo is not None


def test_entering_a_release_again_changes_nothing(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        ledger.enter(connection, RELEASE)
        before = ledger.find(connection, "one-1")
        ledger.enter(connection, RELEASE)
        assert ledger.find(connection, "one-1") == before


def test_the_newest_appointment_of_a_role_holds(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        for release in (RELEASE, OTHER):
            ledger.enter(connection, release)
        assert ledger.current(connection, "churn", "champion") is None
        assert ledger.appoint(connection, "churn", "champion", "one-1", "first")
        assert not ledger.appoint(connection, "churn", "champion", "one-1", "again")
        assert ledger.appoint(connection, "churn", "champion", "two-2", "better")
        assert ledger.appoint(connection, "churn", "champion", "one-1", "back")
        now = ledger.current(connection, "churn", "champion")
        history = connection.execute(
            "SELECT release_id, reason FROM panthera.release_role ORDER BY change_id"
        ).fetchall()
    assert now is not None
    assert now.release_id == "one-1"
    assert history == [("one-1", "first"), ("two-2", "better"), ("one-1", "back")]


def test_roles_of_another_model_are_its_own(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        ledger.enter(connection, RELEASE)
        ledger.appoint(connection, "churn", "champion", "one-1", "first")
        assert ledger.current(connection, "fraud", "champion") is None
