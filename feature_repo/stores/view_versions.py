"""The online tables of a view's versions: the present one, the rows that it copies, and the retired ones.

A changed definition gets a new table. For a view of the plan, the new table starts empty, since its values have a new
meaning; the old table is retired and stays as long as a release reads it. For any other Feast view, only the fields can
change: the new table copies the values of every field that still exists with the same type, unless one of the two tables is
packed. If Feast's registry keeps versions for the online store, nothing is copied or retired: all versions stay in use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from feature_repo.online import history, tables
from feature_repo.online.table import CREATED_TIME, EVENT_TIME, PACKED, SCHEMA, OnlineTable, listed
from feature_repo.online.tables import lock, on_conflict
from feature_repo.online.types import column_name

if TYPE_CHECKING:
    import psycopg

    from feature_repo.stores.stored_views import StoredView


def apply(connection: psycopg.Connection, view: StoredView) -> None:
    """Create the table of `view` and make it the view's present one, or that of a further version."""
    is_new = tables.create(connection, view.table)
    before = history.register(
        connection, view.project, view.name, view.table.name, is_new=is_new, keep_others=view.versioned
    )
    if before is not None and not view.declared:
        _copy_common_fields(connection, before, view.table)


def remove(connection: psycopg.Connection, project: str, view: str, declared: bool) -> None:
    """Retire the tables of a declared view, since releases may read them; drop those of any other view."""
    if declared:
        history.retire(connection, project, view)
        return
    history.drop(connection, history.tables_of(connection, project, view))


def _copy_common_fields(connection: psycopg.Connection, before: str, table: OnlineTable) -> None:
    if table.is_packed or before.endswith(PACKED):
        return
    old, new = (_column_types(connection, name) for name in (before, table.name))
    if any(old.get(name) != new[name] for name in map(column_name, table.key_names)):
        return
    names = [column_name(feature) for feature, _ in table.features]
    common = [sql.Identifier(name) for name in names if old.get(name) == new[name]]
    columns = listed([*table.key_columns, sql.Identifier(EVENT_TIME), sql.Identifier(CREATED_TIME), *common])
    lock(connection, table.name)
    connection.execute(
        sql.SQL("INSERT INTO {} AS live ({}) SELECT {} FROM {} {}").format(
            table.identifier, columns, columns, sql.Identifier(SCHEMA, before), on_conflict(table, common)
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
