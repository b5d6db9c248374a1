"""Advisory locks: their numbers, which must differ, and the statements that take them."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, LiteralString

if TYPE_CHECKING:
    import psycopg


class Lock(IntEnum):
    """The numbers of the locks; any fixed ones will do, and running services hold them, so they stay.

    `ONLINE_TABLE` is also taken by triggers of the migrations, and `GRANTS` by a function of theirs only.
    """

    MIGRATIONS = 7_205_331
    ONLINE_TABLE = 7_205_332
    REGISTRY = 7_205_333
    ROLES = 7_205_334
    RETRAINING = 7_205_335
    SEALING = 7_205_336
    GRANTS = 7_205_337
    EXPERIMENT = 7_205_340


#: Waits for the lock on a name and holds it until the end of the transaction; its parameters are `lock_parameters(lock, name)`.
ON_NAME: LiteralString = "SELECT pg_advisory_xact_lock(%s, hashtext(%s))"


def lock_parameters(lock: Lock, name: str) -> list[object]:
    """Return the parameters of `ON_NAME`."""
    return [int(lock), name]


def hold_on_name(connection: psycopg.Connection, lock: Lock, name: str) -> None:
    """Wait for the lock on `name`, and hold it until the end of the transaction."""
    connection.execute(ON_NAME, lock_parameters(lock, name))


def hold(connection: psycopg.Connection, lock: Lock) -> None:
    """Wait for the lock, and hold it until the end of the transaction."""
    connection.execute("SELECT pg_advisory_xact_lock(%s)", [int(lock)])


def hold_while_connected(connection: psycopg.Connection, lock: Lock) -> None:
    """Wait for the lock, and hold it until the connection ends, however it ends."""
    connection.execute("SELECT pg_advisory_lock(%s)", [int(lock)])


def try_hold_while_connected(connection: psycopg.Connection, lock: Lock, name: str) -> bool:
    """Take the lock on `name` until the connection ends, and return True; return False if another session has it."""
    row = connection.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", lock_parameters(lock, name)).fetchone()
    return bool(row and row[0])
