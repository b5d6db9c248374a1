"""The full refresh of online tables: new tables beside the old ones, and all of them swapped at one instant."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from core.clock import TOLERATED_AHEAD
from core.errors import DatabaseError
from feature_repo.online import joint_tables
from feature_repo.online.joint_tables import JointTable
from feature_repo.online.tables import (
    SCHEMA,
    OnlineTable,
    beside,
    copy_rows,
    declared_columns,
    exists,
    index_keys,
    joint_tables_of,
    listed,
    lock,
    on_conflict,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
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


class Count(Enum):
    """Which rows of a refresh are counted: those that were sent, or those that are other ones than before."""

    COPIED = "copied"
    CHANGED = "changed"


def refresh(
    connection: psycopg.Connection,
    loads: Iterable[Load],
    as_of: datetime,
    progress: Callable[[str, int], object] | None = None,
    count: Count = Count.COPIED,
) -> dict[str, int]:
    """Make the tables hold `loads`, what is known as of `as_of`; return the number of rows, by the name of the table.

    All in the transaction of `connection`: whoever reads sees every table as before or every table as after, and nothing is
    left of a run that is killed. Rows that were not knowable at `as_of`, or are later than those of the load (somebody
    pushed them, or this refresh is of an earlier instant than the last one), stay, unless they are ahead of the clock. Other
    entities that are not in the load are gone afterwards: whoever was erased offline is erased here.

    Parameters
    ----------
    loads : one for each table, taken one after another.
    progress : called with the name of a table and the number of its rows that have gone to the server so far.
    count : which rows are counted.

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
    joints = {joint: joint_tables.make(connection, joint, fresh) for joint in _joint_tables(in_order)}
    bringing = {
        member: joint.upsert(position, made)
        for joint, made in joints.items()
        for position, member in enumerate(joint.members)
    }
    for table in in_order:
        lock(connection, table.name)
        _keep_later(connection, table, fresh[table], as_of, bringing.get(table))
        if count is Count.CHANGED:
            counts[table.name] = _changed(connection, table, fresh[table])
        connection.execute(sql.SQL("ANALYZE {}").format(fresh[table]))
        _copy_grants(connection, table, fresh[table])
    for joint, made in joints.items():
        joint_tables.keep(connection, joint, fresh)
        _grant_reading(connection, made, [fresh[member] for member in joint.members])
    _swap(connection, {table: fresh[table] for table in in_order}, joints)
    return counts


def _joint_tables(tables: Sequence[OnlineTable]) -> list[JointTable]:
    """Say which joint tables `tables` are to have: one for all that have the same keys, if they are several and fit."""
    by_keys: dict[tuple[tuple[str, str], ...], list[OnlineTable]] = {}
    for table in tables:
        by_keys.setdefault(table.keys, []).append(table)
    joints = [JointTable(tuple(alike)) for alike in by_keys.values() if len(alike) > 1]
    return [joint for joint in joints if joint.fits]


def _load(
    connection: psycopg.Connection, load: Load, progress: Callable[[int], object] | None
) -> tuple[sql.Identifier, int]:
    fresh = beside()
    connection.execute(sql.SQL("CREATE TABLE {} ({})").format(fresh, declared_columns(load.table)))
    count = copy_rows(connection, fresh, load.table, load.rows, progress, frozen=True)
    index_keys(connection, fresh, load.table.key_columns)
    return fresh, count


def _keep_later(
    connection: psycopg.Connection,
    table: OnlineTable,
    fresh: sql.Identifier,
    as_of: datetime,
    bringing: sql.Composed | None,
) -> None:
    """Keep the rows of `table` that are not knowable at `as_of` or later than those in `fresh`, but none of the future.

    `bringing` is the statement that brings them, in `brought`, into a joint table, if there is one.
    """
    same = sql.SQL(" AND ").join(sql.SQL("loaded.{0} = live.{0}").format(key) for key in table.key_columns)
    keeping = sql.SQL(
        "INSERT INTO {fresh} AS live ({columns}) SELECT {live_columns} FROM {table} AS live "
        "LEFT JOIN {fresh} AS loaded ON {same} "
        "WHERE ((loaded.event_timestamp IS NULL "
        "AND greatest(live.event_timestamp, live.created_timestamp) > {as_of}) "
        "OR (live.event_timestamp, live.created_timestamp) > (loaded.event_timestamp, loaded.created_timestamp)) "
        "AND greatest(live.event_timestamp, live.created_timestamp) <= clock_timestamp() + {tolerated} "
        "{on_conflict}"
    ).format(
        fresh=fresh,
        table=table.identifier,
        columns=listed(table.sql_columns),
        live_columns=listed(sql.SQL("live.{}").format(column) for column in table.sql_columns),
        same=same,
        as_of=sql.Literal(as_of),
        tolerated=sql.Literal(TOLERATED_AHEAD),
        on_conflict=on_conflict(table),
    )
    if bringing:
        keeping = sql.SQL("WITH brought AS ({} RETURNING live.*) {}").format(keeping, bringing)
    connection.execute(keeping)


def _changed(connection: psycopg.Connection, table: OnlineTable, fresh: sql.Identifier) -> int:
    """Count the rows that are in one of the two tables only, or differ in a value."""
    same = sql.SQL(" AND ").join(sql.SQL("fresh.{0} = live.{0}").format(key) for key in table.key_columns)
    row = connection.execute(
        sql.SQL("SELECT count(*) FROM {} AS fresh FULL JOIN {} AS live ON {} WHERE fresh IS DISTINCT FROM live").format(
            fresh, table.identifier, same
        )
    ).fetchone()
    return int(row[0]) if row else 0


def _copy_grants(connection: psycopg.Connection, table: OnlineTable, fresh: sql.Identifier) -> None:
    granted = connection.execute(
        "SELECT privilege_type, CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE grantee::regrole::text END "
        "FROM pg_class, aclexplode(relacl) WHERE oid = %s::regclass AND grantee <> relowner",
        [table.identifier.as_string()],
    ).fetchall()
    for privilege, grantee in granted:  # both are the server's own words, the grantee quoted where it must be
        connection.execute(sql.SQL("GRANT {} ON {} TO {}").format(sql.SQL(privilege), fresh, sql.SQL(grantee)))


def _grant_reading(connection: psycopg.Connection, joint: sql.Identifier, members: Sequence[sql.Identifier]) -> None:
    """Let those read a joint table who may read all its members."""
    granted = connection.execute(
        "SELECT CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE grantee::regrole::text END FROM pg_class, aclexplode(relacl) "
        "WHERE oid = ANY(%s::regclass[]) AND privilege_type = 'SELECT' AND grantee <> relowner "
        "GROUP BY grantee HAVING count(DISTINCT oid) = %s",
        [[member.as_string() for member in members], len(members)],
    ).fetchall()
    for (grantee,) in granted:
        connection.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(joint, sql.SQL(grantee)))


def _swap(
    connection: psycopg.Connection,
    fresh: Mapping[OnlineTable, sql.Identifier],
    joints: Mapping[JointTable, sql.Identifier],
) -> None:
    """Put the new tables in the place of the old ones, when nobody reads those; no reader is let in until the end."""
    names = [table.name for table in fresh]
    old = joint_tables_of(connection, names)
    for name in old:
        lock(connection, name)
    _close(connection, [*names, *(name for name in old if exists(connection, name))])
    for name in old:
        joint_tables.drop(connection, name)
    for table, made in fresh.items():
        connection.execute(sql.SQL("DROP TABLE {}").format(table.identifier))
        connection.execute(sql.SQL("ALTER TABLE {} RENAME TO {}").format(made, sql.Identifier(table.name)))
    for joint, made in joints.items():
        joint_tables.take_place(connection, joint, made)


def _close(connection: psycopg.Connection, names: Sequence[str]) -> None:
    """Wait for a moment at which nobody reads the tables, and keep readers out until the transaction ends."""
    tables = listed(sql.Identifier(SCHEMA, name) for name in names)
    statement = sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(tables)
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
    raise DatabaseError(
        f"one of the online tables {', '.join(names)} is being read without a pause; end that query and run again"
    )
