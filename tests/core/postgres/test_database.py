"""Addresses, connections and migrations, against a real server."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine, text

from core.errors import DatabaseError, SourceError
from core.postgres import database
from core.postgres.database import connect, copy_query_to_csv, ensure_database, migrate, shown, sqlalchemy_url
from core.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

UNREACHABLE = "postgresql://anna:hunter2@127.0.0.1:1/shop"


def _one(url: str, query: str) -> object:
    with connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def test_a_second_migration_does_nothing(empty_database_url: str) -> None:
    numbers = migrate(empty_database_url)
    assert numbers == sorted(database._migrations())
    assert migrate(empty_database_url) == []


def test_migrations_are_numbered_from_one_without_a_gap() -> None:
    numbers = sorted(database._migrations())
    assert numbers == list(range(1, len(numbers) + 1))


def test_migrations_run_in_the_order_of_their_numbers(empty_database_url: str) -> None:
    scripts = {2: b"ALTER TABLE shelf ADD COLUMN height int", 10: b"DROP TABLE shelf", 1: b"CREATE TABLE shelf ()"}
    assert database._apply(empty_database_url, scripts) == [1, 2, 10]


def test_a_later_migration_is_applied_to_a_database_that_has_the_earlier_ones(empty_database_url: str) -> None:
    scripts = {1: b"CREATE TABLE shelf ()"}
    database._apply(empty_database_url, scripts)
    assert database._apply(empty_database_url, {**scripts, 2: b"DROP TABLE shelf"}) == [2]


def test_a_migration_that_fails_leaves_the_database_as_it_was(empty_database_url: str) -> None:
    with pytest.raises(DatabaseError, match='syntax error at or near "TABLEAU"'):
        database._apply(empty_database_url, {1: b"CREATE TABLE shelf ()", 2: b"CREATE TABLEAU"})
    assert _one(empty_database_url, "SELECT count(*) FROM pg_namespace WHERE nspname = 'panthera'") == 0


def test_processes_that_migrate_at_once_apply_each_migration_once(empty_database_url: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        applied = list(threads.map(migrate, [empty_database_url] * 4))
    assert sorted(number for numbers in applied for number in numbers) == sorted(database._migrations())


def test_a_database_of_a_newer_version_is_refused(database_url: str) -> None:
    with connect(database_url) as connection:
        connection.execute("INSERT INTO panthera.migration (number) VALUES (9001)")
    with pytest.raises(DatabaseError, match=r"has migration 9001, which this software does not know"):
        migrate(database_url)


def test_an_unreachable_server_gives_one_line_that_says_where_and_what_to_do_without_the_password() -> None:
    with pytest.raises(DatabaseError) as fault, connect(UNREACHABLE):
        pass
    message = str(fault.value)
    assert message.startswith("PostgreSQL at 127.0.0.1:1/shop cannot be reached (")
    assert message.endswith("start it (`panthera up` for the embedded one) or correct PANTHERA_DATABASE_URL")
    assert "hunter2" not in message
    assert "\n" not in message
    assert fault.value.__cause__ is None
    assert fault.value.__suppress_context__


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://anna:hunter2@[db/shop",
        "postgresql://anna:hunter2@db/shop?pasword=hunter2",
        "host=db password=hunter2",
    ],
)
def test_a_malformed_address_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(DatabaseError, match="PANTHERA_DATABASE_URL is not a libpq URL like") as fault, connect(url):
        pass
    assert "hunter2" not in str(fault.value)
    assert "hunter2" not in shown(url)


def test_an_exception_rolls_back_what_the_block_did(database_url: str) -> None:
    with pytest.raises(DatabaseError, match="division by zero"), connect(database_url) as connection:
        connection.execute("CREATE TABLE shelf ()").connection.execute("SELECT 1 / 0")
    assert _one(database_url, "SELECT to_regclass('shelf')") is None


@pytest.mark.parametrize("options", ["", "&options=-cdatestyle%3DGerman"])
def test_sqlalchemy_sees_one_schema_in_utc(database_url: str, options: str) -> None:
    engine = create_engine(sqlalchemy_url(database_url + options, "mlflow"))
    with engine.connect() as connection:
        found = connection.execute(text("SELECT current_schema(), current_setting('timezone')")).one()
    engine.dispose()
    assert tuple(found) == ("mlflow", "UTC")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql:///shop", "postgresql+psycopg:///shop?client_encoding=UTF8&options="),
        (
            "postgres://anna:p%40ss@db:5433/shop?sslmode=require&client_encoding=LATIN1",
            "postgresql+psycopg://anna:p%40ss@db:5433/shop?sslmode=require&client_encoding=UTF8&options=",
        ),
    ],
)
def test_an_address_for_sqlalchemy_keeps_every_part(url: str, expected: str) -> None:
    found, separator, options = sqlalchemy_url(url, "feast").partition("options=")
    assert found + separator == expected
    assert options.endswith("%20-csearch_path=feast")


def test_a_named_server_is_migrated_and_no_other_is_started(empty_database_url: str, tmp_path: Path) -> None:
    settings = Settings(
        plan=tmp_path / "params.yaml", state=tmp_path / "state", database_url=empty_database_url, mlflow_url=None
    )
    assert ensure_database(settings) == empty_database_url
    assert _one(empty_database_url, "SELECT count(*) FROM panthera.migration") == len(database._migrations())
    assert not settings.state.exists()


def test_the_rows_of_a_query_come_as_csv_that_tells_null_from_an_empty_text(database_url: str) -> None:
    file = io.BytesIO()
    names = copy_query_to_csv(database_url, "SELECT 1 AS shelf, NULL AS height, '' AS label, '5 %' AS share;", file)
    assert names == ["shelf", "height", "label", "share"]
    assert file.getvalue() == b'shelf,height,label,share\n1,,"",5 %\n'


def test_a_query_that_the_server_refuses_is_named_in_one_line(database_url: str) -> None:
    with pytest.raises(SourceError, match=r'refused the query: relation "shelf" does not exist') as fault:
        copy_query_to_csv(database_url, "SELECT * FROM shelf", io.BytesIO())
    assert "\n" not in str(fault.value)


def test_a_query_that_writes_is_refused(database_url: str) -> None:
    with pytest.raises(SourceError, match="refused the query"):
        copy_query_to_csv(database_url, "DELETE FROM panthera.migration RETURNING number", io.BytesIO())
