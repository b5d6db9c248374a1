"""The full refresh of online tables: new tables beside the old ones, and all of them swapped at one instant."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
from psycopg import sql

from core.errors import DatabaseError
from feature_repo.online_tables import SCHEMA, OnlineTable, copy_rows, listed, lock, on_conflict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    import pyarrow as pa

#: A reader waits at most so long for a swap; less than PostgreSQL's deadlock_timeout, so no reader is ever ended by one.
_MOST_MILLISECONDS_IN_THE_WAY = 200
_SECONDS_BETWEEN_ATTEMPTS = 0.1
_ATTEMPTS = 600
#: What PostgreSQL may hold in memory to compare a table with its load, and to build its index: millions of rows, not on disk.
_MEMORY = "256MB"


@dataclass(frozen=True)
class Load:
    """What a table is to hold: at most one row an entity, with the columns of `table`."""

    table: OnlineTable
    rows: pa.Table | pa.RecordBatchReader


def refresh(
    connection: psycopg.Connection,
    loads: Iterable[Load],
    as_of: datetime,
    progress: Callable[[str, int], object] | None = None,
) -> dict[str, int]:
    """Make the tables hold `loads`, what is known as of `as_of`; return the rows copied, by the name of the table.

    All in the transaction of `connection`: whoever reads sees every table as before or every table as after, and nothing is
    left of a run that is killed. Rows that were not knowable at `as_of`, or are later than those of the load (somebody
    pushed them, or this refresh is of an earlier instant than the last one), stay. Other entities that are not in the load
    are gone afterwards: whoever was erased offline is erased here.

    Parameters
    ----------
    loads : one for each table, taken one after another.
    progress : called with the name of a table and the number of its rows that have gone to the server so far.

    Raises
    ------
    SourceError
        If a column cannot be of its dtype.
    DatabaseError
        If somebody reads one of the tables for a minute without a pause.

    """
    connection.execute(f"SET LOCAL work_mem = '{_MEMORY}'")
    connection.execute(f"SET LOCAL maintenance_work_mem = '{_MEMORY}'")
    fresh: dict[OnlineTable, sql.Identifier] = {}
    counts: dict[str, int] = {}
    for load in loads:
        name = load.table.name
        told = partial(progress, name) if progress else None
        fresh[load.table], counts[name] = _load(connection, load, told)
    in_order = sorted(fresh, key=lambda table: table.name)
    for table in in_order:
        lock(connection, table.name)
        _keep_later(connection, table, fresh[table], as_of)
        connection.execute(sql.SQL("ANALYZE {}").format(fresh[table]))
        _copy_grants(connection, table, fresh[table])
    _close(connection, in_order)
    for table in in_order:
        connection.execute(sql.SQL("DROP TABLE {}").format(table.identifier))
        connection.execute(sql.SQL("ALTER TABLE {} RENAME TO {}").format(fresh[table], sql.Identifier(table.name)))
    return counts


def _load(
    connection: psycopg.Connection, load: Load, progress: Callable[[int], object] | None
) -> tuple[sql.Identifier, int]:
    fresh = sql.Identifier(SCHEMA, f"fresh_{uuid4().hex}")
    connection.execute(sql.SQL("CREATE TABLE {} (LIKE {})").format(fresh, load.table.identifier))
    count = copy_rows(connection, fresh, load.table, load.rows, progress, frozen=True)
    keys = listed(load.table.key_columns)
    connection.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY ({})").format(fresh, keys))
    return fresh, count


def _keep_later(connection: psycopg.Connection, table: OnlineTable, fresh: sql.Identifier, as_of: datetime) -> None:
    same = sql.SQL(" AND ").join(sql.SQL("loaded.{0} = live.{0}").format(key) for key in table.key_columns)
    connection.execute(
        sql.SQL(
            "INSERT INTO {fresh} AS live ({columns}) SELECT {live_columns} FROM {table} AS live "
            "LEFT JOIN {fresh} AS loaded ON {same} "
            "WHERE (loaded.event_timestamp IS NULL "
            "AND greatest(live.event_timestamp, live.created_timestamp) > {as_of}) "
            "OR (live.event_timestamp, live.created_timestamp) > (loaded.event_timestamp, loaded.created_timestamp) "
            "{on_conflict}"
        ).format(
            fresh=fresh,
            table=table.identifier,
            columns=listed(table.sql_columns),
            live_columns=listed(sql.SQL("live.{}").format(column) for column in table.sql_columns),
            same=same,
            as_of=sql.Literal(as_of),
            on_conflict=on_conflict(table),
        )
    )


def _copy_grants(connection: psycopg.Connection, table: OnlineTable, fresh: sql.Identifier) -> None:
    granted = connection.execute(
        "SELECT privilege_type, CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE grantee::regrole::text END "
        "FROM pg_class, aclexplode(relacl) WHERE oid = %s::regclass AND grantee <> relowner",
        [table.identifier.as_string()],
    ).fetchall()
    for privilege, grantee in granted:  # both are the server's own words, the grantee quoted where it must be
        connection.execute(sql.SQL("GRANT {} ON {} TO {}").format(sql.SQL(privilege), fresh, sql.SQL(grantee)))


def _close(connection: psycopg.Connection, tables: Sequence[OnlineTable]) -> None:
    """Wait for a moment at which nobody reads the tables, and keep readers out until the transaction ends."""
    statement = sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(listed(table.identifier for table in tables))
    for _ in range(_ATTEMPTS):
        try:
            with connection.transaction():
                connection.execute(f"SET LOCAL lock_timeout = {_MOST_MILLISECONDS_IN_THE_WAY}")
                connection.execute(statement)
                connection.execute("SET LOCAL lock_timeout = 0")
        except psycopg.errors.LockNotAvailable:
            time.sleep(_SECONDS_BETWEEN_ATTEMPTS)
        else:
            return
    names = ", ".join(table.name for table in tables)
    raise DatabaseError(f"one of the online tables {names} is being read without a pause; end that query and run again")
