"""Each role of the database tries what it must not do; a server whose user may not create roles works as before."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest

from core.postgres.database import connect, migrate
from core.postgres.roles import READER, SERVICE, SHADOW, _standing, _with_role, grant_roles, role_url
from tests.fix_database import with_database

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAY = {
    SERVICE: [
        "SELECT * FROM panthera.release",
        "SELECT * FROM panthera.api_key",
        "SELECT * FROM online.facts",
        "INSERT INTO online.facts VALUES (2)",
        "INSERT INTO panthera.outcome (outcome_id, entity, observed_at, value) VALUES ('o', '1', now(), 1)",
        "SELECT panthera.check_disk()",
    ],
    SHADOW: [
        "SELECT * FROM panthera.prediction",
        "INSERT INTO panthera.shadow_score SELECT release_id, gen_random_uuid(), 1 FROM panthera.release",
    ],
    READER: ["SELECT * FROM panthera.prediction", "SELECT * FROM online.facts"],
}
_MAY_NOT = {
    SERVICE: [
        "DELETE FROM panthera.prediction",
        "UPDATE panthera.prediction SET score = 1",
        "UPDATE panthera.outcome SET value = 1",
        "TRUNCATE panthera.exposure",
        "INSERT INTO panthera.release_role (model, role, reason, cause, actor) VALUES ('m', 'champion', '', 'promote', 'me')",
        "INSERT INTO panthera.api_key_change (key_id, cause, actor, reason) VALUES ('0', 'create', '', '')",
        "DELETE FROM online.facts",
        "DROP TABLE online.facts",
        "CREATE TABLE panthera.mine (a int)",
        "CREATE TABLE public.mine (a int)",
        "ALTER TABLE panthera.prediction DISABLE TRIGGER ALL",
        "SELECT panthera.grant_roles()",
        "CREATE ROLE another",
        "COPY panthera.prediction TO PROGRAM 'id'",
        "SELECT pg_read_file('postgresql.conf')",
        "INSERT INTO panthera.shadow_score (release_id, prediction_id, score) VALUES ('r', gen_random_uuid(), 1)",
    ],
    SHADOW: [
        "SELECT * FROM panthera.api_key",
        "INSERT INTO panthera.outcome (outcome_id, entity, observed_at, value) VALUES ('o', '1', now(), 1)",
        "INSERT INTO online.facts VALUES (2)",
        "DELETE FROM panthera.shadow_score",
        "SELECT panthera.check_disk()",
    ],
    READER: [
        "SELECT * FROM panthera.api_key",
        "INSERT INTO panthera.outcome (outcome_id, entity, observed_at, value) VALUES ('o', '1', now(), 1)",
        "INSERT INTO online.facts VALUES (2)",
        "DELETE FROM panthera.prediction",
    ],
}


def _as(url: str, role: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(url, autocommit=True, options=f"-crole={role}")


def test_a_role_may_do_its_work_and_nothing_else(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("CREATE TABLE online.facts (id int)")  # later than the grants
    for role, statements in _MAY.items():
        with _as(database_url, role) as connection:
            for statement in statements:
                connection.execute(statement.encode())
    for role, statements in _MAY_NOT.items():
        with _as(database_url, role) as connection:
            for statement in statements:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement.encode())


def test_sessions_of_the_service_have_its_role_whatever_the_url_has_besides(database_url: str) -> None:
    assert "?" in database_url
    for url in (database_url, f"{database_url}&options=-cwork_mem%3D8MB"):
        with connect(role_url(url, SERVICE)) as connection:
            row = connection.execute("SELECT current_user, current_setting('work_mem')").fetchone()
        assert row == (SERVICE, "8MB" if url != database_url else "4MB")
        with connect(_with_role(url, SERVICE)) as connection:  # as with a server that listens on the network
            assert connection.execute("SELECT current_user, current_setting('work_mem')").fetchone() == row


def test_the_embedded_server_is_not_served_by_its_superuser(database_url: str) -> None:
    with connect(role_url(database_url, SERVICE)) as connection:
        row = connection.execute("SELECT session_user, rolsuper FROM pg_roles WHERE rolname = session_user").fetchone()
        assert row == (SERVICE, False)
    with (
        psycopg.connect(role_url(database_url, SERVICE)) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("SET SESSION AUTHORIZATION postgres")


@pytest.fixture
def plain_user(database_url: str) -> Iterator[str]:
    """An address of an empty database, by a user who owns it and may not create roles."""
    name = f"plain_{uuid4().hex[:8]}"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN".encode())
        connection.execute(f"CREATE DATABASE {name} OWNER {name} TEMPLATE template0".encode())
    parts = urlsplit(with_database(database_url, name))
    yield urlunsplit(parts._replace(netloc=f"{name}@{parts.netloc.rpartition('@')[2]}"))
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name}".encode())
        connection.execute(f"DROP OWNED BY {name}".encode())
        connection.execute(f"DROP ROLE {name}".encode())


def test_a_user_who_may_not_create_roles_serves_as_before_and_is_told(
    plain_user: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(plain_user) as connection:
        exists = connection.execute(
            "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'panthera_service')"
        ).fetchone()
    assert exists == (True,)  # of another database of this server, so that they are there but not this user's
    assert migrate(plain_user)
    logging.getLogger("core.postgres.roles").disabled = False  # by the logging of a migration of MLflow in this process
    monkeypatch.setattr("core.postgres.roles._can_connect", lambda _: False)  # as a server that asks for a password
    assert role_url(plain_user, SERVICE) == plain_user
    assert "does not let" in caplog.text
    with connect(plain_user) as connection:
        connection.execute(
            "INSERT INTO panthera.outcome (outcome_id, entity, observed_at, value) VALUES ('o', '1', now(), 1)"
        )
        connection.execute("SELECT panthera.check_disk()")


def test_who_may_grant_a_role_is_let_take_it(plain_user: str, database_url: str) -> None:
    user = urlsplit(plain_user).username
    with psycopg.connect(database_url, autocommit=True) as administrator:
        for role in (SERVICE, SHADOW, READER):
            # What PostgreSQL gives to the creator of a role.
            grant = f"GRANT {role} TO {user} WITH ADMIN TRUE, SET FALSE, INHERIT FALSE"
            administrator.execute(grant.encode())
    migrate(plain_user)
    with connect(plain_user) as connection:
        standing = _standing(connection, SERVICE)
    assert standing
    assert (standing.may_be_taken, standing.is_granted) == (True, True)
    with connect(_with_role(plain_user, SERVICE)) as connection:
        assert connection.execute("SELECT session_user::text, current_user::text").fetchone() == (user, SERVICE)


def test_a_role_without_its_rights_in_this_database_is_not_taken(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("REVOKE EXECUTE ON FUNCTION panthera.check_disk() FROM panthera_service")
    logging.getLogger("core.postgres.roles").disabled = False  # by the logging of a migration of MLflow in this process
    assert role_url(database_url, SERVICE) == database_url
    assert "run `panthera up`" in caplog.text
    with connect(database_url) as owner:
        assert grant_roles(owner) is None
    assert role_url(database_url, SERVICE) != database_url


def test_the_check_of_the_disk_runs_nothing_of_its_caller(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(f"GRANT TEMPORARY ON DATABASE {owner.info.dbname} TO panthera_service".encode())
    with _as(database_url, SERVICE) as connection:
        connection.execute("CREATE TEMPORARY TABLE panthera_room (filler text)")
        with pytest.raises(psycopg.errors.DuplicateTable):
            connection.execute("SELECT panthera.check_disk()")


def test_a_user_who_may_not_migrate_can_use_a_database_that_is_up_to_date(database_url: str) -> None:
    assert migrate(role_url(database_url, SERVICE)) == []
