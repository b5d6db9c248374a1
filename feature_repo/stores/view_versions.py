"""The tables of a view's versions: which one holds now, what it takes over, and which are kept for releases.

A changed definition gets a new table. What the plan declares means something else after a change, so its new table starts
empty and the old one stays, retired, as long as a release reads it. Another view of Feast's is changed by its fields alone:
its new table takes over the values of every field that is still there and has the same type, unless one of the two is packed.
Where Feast's registry keeps versions for the online store, nothing is taken over or retired: each version may be filled, and
read, beside the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from feature_repo.online import history, tables
from feature_repo.online.tables import CREATED_TIME, EVENT_TIME, PACKED, SCHEMA, OnlineTable, listed, lock, on_conflict
from feature_repo.online.types import column_name

if TYPE_CHECKING:
    import psycopg

    from feature_repo.stores.stored_views import StoredView


def apply(connection: psycopg.Connection, view: StoredView) -> None:
    """Make the table of `view` the one of its name from now on, or that of one more version."""
    made = tables.create(connection, view.table)
    before = history.register(
        connection, view.project, view.name, view.table.name, made=made, beside_others=view.versioned
    )
    if before is not None and not view.declared:
        _take_over(connection, before, view.table)


def remove(connection: psycopg.Connection, project: str, view: str, declared: bool) -> None:
    """Note that `view` is gone: what the plan declared is retired, for releases may read it; anything else is dropped."""
    if declared:
        history.retire(connection, project, view)
        return
    history.drop(connection, history.tables_of(connection, project, view))


def _take_over(connection: psycopg.Connection, before: str, table: OnlineTable) -> None:
    if table.is_packed or before.endswith(PACKED):
        return
    old, new = (_column_types(connection, name) for name in (before, table.name))
    if any(old.get(name) != new[name] for name in map(column_name, table.key_names)):
        return
    names = [column_name(feature) for feature, _ in table.features]
    kept = [sql.Identifier(name) for name in names if old.get(name) == new[name]]
    columns = listed([*table.key_columns, sql.Identifier(EVENT_TIME), sql.Identifier(CREATED_TIME), *kept])
    lock(connection, table.name)
    connection.execute(
        sql.SQL("INSERT INTO {} AS live ({}) SELECT {} FROM {} {}").format(
            table.identifier, columns, columns, sql.Identifier(SCHEMA, before), on_conflict(table, kept)
        )
    )


def _column_types(connection: psycopg.Connection, name: str) -> dict[str, str]:
    return dict(
        connection.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
            "WHERE attrelid = to_regclass(format('%%I.%%I', %s::text, %s::text)) AND attnum > 0 AND NOT attisdropped",
            [SCHEMA, name],
        ).fetchall()
    )
