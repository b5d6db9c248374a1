"""Erase an entity from all online tables."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from psycopg import sql

from feature_repo.online.table import SCHEMA
from feature_repo.online.tables import exists, joint_tables_of, lock
from feature_repo.online.types import column_name

if TYPE_CHECKING:
    import psycopg


def delete_entity(connection: psycopg.Connection, name: str, value: object) -> dict[str, int]:
    """Delete an entity's rows from every online table with the key column `name`; return their number by table.

    Retired tables are included. The records of the entity's pushed rows keep only the event id.

    Parameters
    ----------
    name : the key column.
    value : the key of the entity.

    """
    column = sql.Identifier(column_name(name))
    found = connection.execute(
        "SELECT c.relname FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary "
        "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY(i.indkey) "
        "WHERE c.relnamespace = %s::regnamespace AND a.attname = %s "
        "AND c.relname NOT IN (SELECT joint_table FROM panthera.joint_table)",
        [SCHEMA, column_name(name)],
    ).fetchall()
    tables = sorted(table for (table,) in found)
    # Lock all tables before deleting, joint tables last: every writer takes the locks in this order.
    for table in tables:
        lock(connection, table)
    tables = [table for table in tables if exists(connection, table)]
    joint = joint_tables_of(connection, tables)
    for table in joint:
        lock(connection, table)
    delete = sql.SQL("DELETE FROM {} WHERE {} = %s")
    deleted = {
        table: connection.execute(delete.format(sql.Identifier(SCHEMA, table), column), [value]).rowcount
        for table in tables
    }
    connection.execute(
        "UPDATE panthera.pushed_row SET entity = NULL, event_timestamp = NULL WHERE entity = %s AND online_table = ANY(%s)",
        [str(value), tables],
    )
    # The tables' triggers have deleted the joint rows, unless the triggers were dropped.
    for table in filter(partial(exists, connection), joint):
        connection.execute(delete.format(sql.Identifier(SCHEMA, table), column), [value])
    return deleted
