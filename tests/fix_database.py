"""A real PostgreSQL for the tests: one server for the run, and a fresh migrated database for each test that asks."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from core.postgres.database import migrate
from core.postgres.server import EmbeddedServer
from core.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

_TEMPLATE = "migrated"
#: What a database may set otherwise than we expect it, and what a role in it may set even over that.
HOSTILE_DATABASE = {
    "timezone": "Asia/Kolkata",
    "datestyle": "German, DMY",
    "intervalstyle": "sql_standard",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "standard_conforming_strings": "off",
    "search_path": "hostile",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "client_encoding": "LATIN1",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "idle_in_transaction_session_timeout": "2s",
    "idle_session_timeout": "2s",
    "synchronous_commit": "off",
}
HOSTILE_ROLE = {
    "datestyle": "SQL, MDY",
    "statement_timeout": "1",
    "lock_timeout": "1",
    "transaction_timeout": "5s",
    "exit_on_error": "on",
}


def with_database(url: str, database: str) -> str:
    """Name another database of the same server."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, f"/{database}", parts.query, parts.fragment))


#: What libpq would take from the environment for every session.
HOSTILE_ENVIRONMENT = {
    "PGTZ": "America/New_York",
    "PGDATESTYLE": "German",
    "PGCLIENTENCODING": "LATIN1",
    "PGOPTIONS": "-c datestyle=SQL -c statement_timeout=1",
}


def make_hostile(url: str) -> None:
    """Have the database at `url`, and the role in it, set everything otherwise for the sessions to come."""
    with psycopg.connect(url, autocommit=True) as connection:
        database = sql.Identifier(connection.info.dbname)
        role = sql.SQL("ROLE {} IN DATABASE {}").format(sql.Identifier(connection.info.user), database)
        for place, settings in ((sql.SQL("DATABASE {}").format(database), HOSTILE_DATABASE), (role, HOSTILE_ROLE)):
            for name, value in settings.items():
                values = sql.SQL(", ").join(map(sql.Literal, value.split(", ")))
                connection.execute(sql.SQL("ALTER {} SET {} = {}").format(place, sql.Identifier(name), values))


@pytest.fixture(scope="session")
def server_state() -> Iterator[Path]:
    """A state folder that the server's own user may enter, unlike pytest's temporary folders."""
    folder = Path(tempfile.mkdtemp(prefix="panthera-tests-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def server_url(server_state: Path) -> Iterator[str]:
    """The URL of the run's server, whose database `migrated` is the template of every test's own."""
    server = EmbeddedServer(server_state)
    try:
        server.start()
        with psycopg.connect(server.url, autocommit=True) as connection:
            # A test's data need not outlive a power cut.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_TEMPLATE)))
        migrate(with_database(server.url, _TEMPLATE))
        yield server.url
    finally:
        server.stop()


def _fresh_database(server_url: str, template: str) -> Iterator[str]:
    name = sql.Identifier(f"test_{uuid4().hex}")
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(name, sql.Identifier(template)))
        try:
            yield with_database(server_url, name.as_string().strip('"'))
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@pytest.fixture
def database_url(server_url: str) -> Iterator[str]:
    """The URL of a database of this test's own, with all migrations."""
    yield from _fresh_database(server_url, _TEMPLATE)


@pytest.fixture(scope="module")
def module_database_url(server_url: str) -> Iterator[str]:
    """The URL of a migrated database that the tests of one module share."""
    yield from _fresh_database(server_url, _TEMPLATE)


@pytest.fixture
def empty_database_url(server_url: str) -> Iterator[str]:
    """The URL of a database of this test's own, without any migration."""
    yield from _fresh_database(server_url, "template0")


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """Settings whose every place is this test's own; there is no plan yet."""
    return Settings(plan=tmp_path / "params.yaml", state=tmp_path / "state", database_url=database_url, mlflow_url=None)
