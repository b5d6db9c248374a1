"""Sessions are alike whatever the database, the role, the environment and the address say; other encodings are refused."""

from __future__ import annotations

import asyncio
import io
from contextlib import closing
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import create_engine, text

from core.errors import DatabaseError, SourceError
from core.postgres import session
from core.postgres.database import connect, copy_query_to_csv, ensure_database, migrate, sqlalchemy_url
from core.postgres.pool import blocking_pool, connection_pool, lent
from core.settings import Settings
from tests.fix_database import HOSTILE_ENVIRONMENT, make_hostile, with_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SETTINGS = {**session.TRANSACTIONS, **session.VALUES, "datestyle": "ISO, YMD", "client_encoding": "UTF8"}
SHOWN = ", ".join(f"current_setting('{name}')" for name in SETTINGS)


@pytest.fixture
def hostile_url(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database, a role in it and an environment that set everything otherwise."""
    make_hostile(database_url)
    for name, value in HOSTILE_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return database_url


def alike(row: object) -> bool:
    assert isinstance(row, tuple)
    return dict(zip(SETTINGS, row, strict=True)) == SETTINGS


def test_a_connection_has_our_settings_over_those_of_database_role_and_environment(hostile_url: str) -> None:
    with connect(hostile_url) as connection:
        assert alike(connection.execute(f"SELECT {SHOWN}").fetchone())
        assert connection.execute("SELECT current_setting('transaction_timeout')").fetchone() == ("0",)


def test_the_connections_of_a_pool_have_our_settings_and_a_deadline_where_requests_wait(hostile_url: str) -> None:
    async def ask() -> tuple[object, object]:
        pool = connection_pool(hostile_url)
        await pool.open()
        try:
            async with lent(pool) as connection:
                shown = await (await connection.execute("SHOW statement_timeout")).fetchone()
                await connection.execute("SET statement_timeout = 0")
                await connection.execute("SET lock_timeout = 0")
                return shown, await (await connection.execute(f"SELECT {SHOWN}")).fetchone()
        finally:
            await pool.close()

    deadline, settings = asyncio.run(ask())
    assert deadline == ("4s",)
    assert alike(settings)
    with closing(blocking_pool(hostile_url)) as pool, pool.connection() as connection:
        assert alike(connection.execute(f"SELECT {SHOWN}").fetchone())


def test_the_tools_that_take_a_url_have_our_settings(hostile_url: str) -> None:
    engine = create_engine(sqlalchemy_url(hostile_url, "mlflow"))
    with engine.connect() as connection:
        assert alike(tuple(connection.execute(text(f"SELECT {SHOWN}")).one()))
        assert connection.execute(text("SELECT current_schema()")).scalar_one() == "mlflow"
        assert connection.execute(text("SELECT current_setting('transaction_timeout')")).scalar_one() == "0"
    engine.dispose()


def test_an_address_may_set_deadlines_and_cannot_change_how_values_are_written(database_url: str) -> None:
    url = f"{database_url}&options=-cdatestyle%3DGerman%20-cstatement_timeout%3D7000"
    with connect(url) as connection:
        assert connection.execute("SHOW datestyle").fetchone() == ("ISO, YMD",)
        assert connection.execute("SHOW statement_timeout").fetchone() == ("7s",)


def test_a_source_keeps_its_schemas_and_writes_its_values_as_any_other(hostile_url: str) -> None:
    with connect(hostile_url) as connection:
        connection.execute("CREATE SCHEMA hostile")
        connection.execute("CREATE TABLE hostile.shelf AS SELECT timestamptz '2024-02-01Z' AS made")
    file = io.BytesIO()
    copy_query_to_csv(
        f"{hostile_url}&options=-cstatement_timeout%3D0",
        "SELECT made, 0.1::float8 AS height, interval '1 day' AS life, '\\x41'::bytea AS code, 'ü' AS label FROM shelf",
        file,
    )
    assert file.getvalue().decode().splitlines()[1] == "2024-02-01 00:00:00+00,0.1,1 day,\\x41,ü"


def test_a_source_that_gives_up_is_named_in_one_line(hostile_url: str) -> None:
    with pytest.raises(SourceError, match="refused the query: canceling statement due to statement timeout"):
        copy_query_to_csv(f"{hostile_url}&options=-cstatement_timeout%3D10", "SELECT pg_sleep(9)", io.BytesIO())


@pytest.fixture(params=["LATIN1", "SQL_ASCII", "WIN1252", "EUC_JP"])
def foreign_url(request: pytest.FixtureRequest, server_url: str) -> Iterator[str]:
    """The URL of a database with another encoding."""
    name = sql.Identifier(f"foreign_{request.param}")
    with psycopg.connect(server_url, autocommit=True) as connection:
        made = sql.SQL("CREATE DATABASE {} ENCODING {} LOCALE 'C' TEMPLATE template0")
        connection.execute(made.format(name, sql.Literal(request.param)))
        try:
            yield with_database(server_url, f"foreign_{request.param}")
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def test_a_database_of_another_encoding_is_refused_by_every_door_and_stays_empty(
    foreign_url: str, tmp_path: Path
) -> None:
    settings = Settings(plan=tmp_path / "params.yaml", state=tmp_path, database_url=foreign_url, mlflow_url=None)
    for door in (lambda: ensure_database(settings), lambda: migrate(foreign_url)):
        with pytest.raises(DatabaseError, match=r"has the encoding \w+, .* expected UTF8: make one with") as fault:
            door()
        assert "\n" not in str(fault.value)
    with psycopg.connect(foreign_url) as connection:
        found = connection.execute("SELECT count(*) FROM pg_namespace WHERE nspname = 'panthera'").fetchone()
    assert found == (0,)


def test_a_source_of_another_encoding_is_read_as_what_it_means(server_url: str) -> None:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE shop_in_latin1 ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        file = io.BytesIO()
        copy_query_to_csv(with_database(server_url, "shop_in_latin1"), "SELECT 'Zoë' AS name", file)
        assert file.getvalue().decode() == "name\nZoë\n"
    finally:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute("DROP DATABASE shop_in_latin1")
