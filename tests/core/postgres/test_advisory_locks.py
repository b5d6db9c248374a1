"""The numbers of the advisory locks, in the code and in the migrations."""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING

from core.postgres.advisory_locks import Lock, hold_on_name
from core.postgres.database import connect

if TYPE_CHECKING:
    import psycopg


def test_the_migrations_take_the_locks_of_the_online_tables_and_of_the_grants() -> None:
    scripts = [
        file.read_text() for file in resources.files("core.postgres.migrations").iterdir() if ".sql" in file.name
    ]
    taken = {int(number) for script in scripts for number in re.findall(r"pg_advisory\w*\((\d+)", script)}
    assert taken == {Lock.ONLINE_TABLE, Lock.GRANTS}


def _is_free(connection: psycopg.Connection, lock: Lock, name: str) -> bool:
    row = connection.execute("SELECT pg_try_advisory_xact_lock(%s, hashtext(%s))", [int(lock), name]).fetchone()
    return row is not None and bool(row[0])


def test_a_lock_on_a_name_keeps_others_from_that_name_alone(database_url: str) -> None:
    with connect(database_url) as holder, connect(database_url) as other:
        hold_on_name(holder, Lock.ROLES, "churn")
        assert not _is_free(other, Lock.ROLES, "churn")
        assert _is_free(other, Lock.ROLES, "fraud")
        assert _is_free(other, Lock.ONLINE_TABLE, "churn")
        holder.rollback()
        assert _is_free(other, Lock.ROLES, "churn")
