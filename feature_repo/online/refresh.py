"""The full refresh of online tables: fill new tables, then swap all of them for the old ones in one transaction."""

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
from feature_repo.online.table import SCHEMA, OnlineTable, listed
from feature_repo.online.tables import (
    add_primary_key,
    copy_rows,
    declared_columns,
    exists,
    fresh_table,
    joint_tables_of,
    lock,
    on_conflict,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    import pyarrow as pa

#: The longest wait of a swap for its locks, during which readers wait too. It is shorter than PostgreSQL's
#: deadlock_timeout, so that no reader is cancelled.
_LOCK_TIMEOUT_MILLISECONDS = 200
_SECONDS_BETWEEN_ATTEMPTS = 0.1
_ATTEMPTS = 600
#: PostgreSQL's work memory to compare a table with its load and to build its index; enough for millions of rows.
_MEMORY = "256MB"


@dataclass(frozen=True)
class Load:
    """The new content of a table: at most one row for each entity, with the columns of `table`."""

    table: OnlineTable
    rows: pa.Table | pa.RecordBatchReader


class Count(Enum):
    """The rows of a refresh to count: those that were copied, or those that differ from before."""

    COPIED = "copied"
    CHANGED = "changed"


def refresh(
    connection: psycopg.Connection,
    loads: Iterable[Load],
    as_of: datetime,
    progress: Callable[[str, int], object] | None = None,
    count: Count = Count.COPIED,
) -> dict[str, int]:
    """Replace the content of tables by `loads`, as known at `as_of`; return the number of rows by table name.

    Everything happens in the transaction of `connection`. So a reader sees all tables before or all tables after the
    refresh, and a killed run leaves nothing behind.

    Some present rows stay: those that were not knowable at `as_of`, and those later than the row of the load (they were
    pushed, or the previous refresh was of a later instant). Rows ahead of the clock do not stay. All other entities that are
    not in the load are removed, so that an entity that was erased offline is erased online.

    Parameters
    ----------
    loads : one for each table, consumed one after another.
    progress : called with the name of a table and the number of its rows sent to the server so far.
    count : the rows to count.

    Raises
    ------
    SourceError
        If a column cannot be converted to its dtype.
    DatabaseError
        If one of the tables is read for a minute without a pause.

    """
    connection.execute(f"SET LOCAL work_mem = '{_MEMORY}'")
    connection.execute(f"SET LOCAL maintenance_work_mem = '{_MEMORY}'")
    fresh: dict[OnlineTable, sql.Identifier] = {}
    counts: dict[str, int] = {}
    for load in loads:
        name = load.table.name
        table_progress = partial(progress, name) if progress else None
        fresh[load.table], counts[name] = _load(connection, load, table_progress)
    in_order = sorted(fresh, key=lambda table: table.name)
    joints = {joint: joint_tables.create(connection, joint, fresh) for joint in _joint_tables(in_order)}
    joint_upserts = {
        member: joint.upsert(position, fresh_joint)
        for joint, fresh_joint in joints.items()
        for position, member in enumerate(joint.members)
    }
    for table in in_order:
        lock(connection, table.name)
        _keep_later(connection, table, fresh[table], as_of, joint_upserts.get(table))
        if count is Count.CHANGED:
            counts[table.name] = _changed(connection, table, fresh[table])
        connection.execute(sql.SQL("ANALYZE {}").format(fresh[table]))
        _copy_grants(connection, table, fresh[table])
    for joint, fresh_joint in joints.items():
        joint_tables.create_triggers(connection, joint, fresh)
        _grant_reading(connection, fresh_joint, [fresh[member] for member in joint.members])
    _swap(connection, {table: fresh[table] for table in in_order}, joints)
    return counts


def _joint_tables(tables: Sequence[OnlineTable]) -> list[JointTable]:
    """Return the joint tables of `tables`: one for each set of two or more tables with the same keys, if it fits."""
    by_keys: dict[tuple[tuple[str, str], ...], list[OnlineTable]] = {}
    for table in tables:
        by_keys.setdefault(table.keys, []).append(table)
    joints = [JointTable(tuple(members)) for members in by_keys.values() if len(members) > 1]
    return [joint for joint in joints if joint.fits]


def _load(
    connection: psycopg.Connection, load: Load, progress: Callable[[int], object] | None
) -> tuple[sql.Identifier, int]:
    fresh = fresh_table()
    connection.execute(sql.SQL("CREATE TABLE {} ({})").format(fresh, declared_columns(load.table)))
    count = copy_rows(connection, fresh, load.table, load.rows, progress, frozen=True)
    add_primary_key(connection, fresh, load.table.key_columns)
    return fresh, count


def _keep_later(
    connection: psycopg.Connection,
    table: OnlineTable,
    fresh: sql.Identifier,
    as_of: datetime,
    joint_upsert: sql.Composed | None,
) -> None:
    """Copy to `fresh` the rows of `table` that were not knowable at `as_of` or are later than its own, except future rows.

    `joint_upsert` is the statement that upserts the copied rows (`brought`) into the joint table, if there is one.
    """
    same = sql.SQL(" AND ").join(sql.SQL("loaded.{0} = live.{0}").format(key) for key in table.key_columns)
    copy_later = sql.SQL(
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
    if joint_upsert:
        copy_later = sql.SQL("WITH brought AS ({} RETURNING live.*) {}").format(copy_later, joint_upsert)
    connection.execute(copy_later)


def _changed(connection: psycopg.Connection, table: OnlineTable, fresh: sql.Identifier) -> int:
    """Return the number of rows that are in one of the two tables only or differ in a value."""
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
    for privilege, grantee in granted:  # both come from the server, which has quoted the grantee if needed
        connection.execute(sql.SQL("GRANT {} ON {} TO {}").format(sql.SQL(privilege), fresh, sql.SQL(grantee)))


def _grant_reading(connection: psycopg.Connection, joint: sql.Identifier, members: Sequence[sql.Identifier]) -> None:
    """Grant SELECT on a joint table to the roles that may read all its members."""
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
    """Replace the old tables by the new ones while no reader holds a lock; readers wait until the transaction ends."""
    names = [table.name for table in fresh]
    old = joint_tables_of(connection, names)
    for name in old:
        lock(connection, name)
    _close(connection, [*names, *(name for name in old if exists(connection, name))])
    for name in old:
        joint_tables.drop(connection, name)
    for table, fresh_name in fresh.items():
        connection.execute(sql.SQL("DROP TABLE {}").format(table.identifier))
        connection.execute(sql.SQL("ALTER TABLE {} RENAME TO {}").format(fresh_name, sql.Identifier(table.name)))
    for joint, fresh_name in joints.items():
        joint_tables.publish(connection, joint, fresh_name)


def _close(connection: psycopg.Connection, names: Sequence[str]) -> None:
    """Lock the tables against readers until the transaction ends, as soon as no reader holds a lock."""
    tables = listed(sql.Identifier(SCHEMA, name) for name in names)
    statement = sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(tables)
    for _ in range(_ATTEMPTS):
        try:
            with connection.transaction():
                connection.execute(f"SET LOCAL lock_timeout = {_LOCK_TIMEOUT_MILLISECONDS}")
                connection.execute(statement)
                connection.execute("SET LOCAL lock_timeout = 0")
        except psycopg.errors.LockNotAvailable:
            time.sleep(_SECONDS_BETWEEN_ATTEMPTS)
        else:
            return
    raise DatabaseError(
        f"one of the online tables {', '.join(names)} is read by a query that does not end; stop that query and run again"
    )
