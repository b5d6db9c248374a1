"""The records of online tables in the database: their views, the runs that filled them, and the retired ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from uuid import UUID, uuid4

from psycopg import sql
from psycopg.rows import class_row

from core.clock import TOLERATED_AHEAD
from feature_repo.online import joint_tables
from feature_repo.online.table import SCHEMA
from feature_repo.online.tables import joint_tables_of, lock

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    import psycopg

    from feature_repo.online.table import OnlineTable

Kind = Literal["full", "increment", "range"]


@dataclass(frozen=True)
class Run:
    """A finished materialization, which wrote `rows_written` rows to an online table.

    Attributes
    ----------
    kind : `full` replaced the table, `increment` merged new rows, `range` merged the rows of a given span of event times.
    as_of : the instant of the run; for `full` and `increment` it is the watermark after the run.

    """

    run_id: UUID
    view: str
    online_table: str
    kind: Kind
    as_of: datetime
    rows_written: int
    started_at: datetime | None
    finished_at: datetime


def record_run(
    connection: psycopg.Connection, view: str, table: OnlineTable, as_of: datetime, rows: int, kind: Kind = "full"
) -> UUID:
    """Write a materialization to the history, in the transaction that writes its rows; return its id."""
    run_id = uuid4()
    connection.execute(
        "INSERT INTO panthera.materialization (run_id, view, online_table, as_of, rows_written, kind) "
        "VALUES (%s, %s, %s, %s, %s, %s)",
        [run_id, view, table.name, as_of, rows, kind],
    )
    return run_id


def runs(connection: psycopg.Connection, name: str, most: int) -> list[Run]:
    """Fetch the last `most` runs that filled the present online table `name`, newest first."""
    with connection.cursor(row_factory=class_row(Run)) as cursor:
        cursor.execute(
            "SELECT run_id, view, online_table, kind, as_of, rows_written, started_at, finished_at "
            "FROM panthera.present_run WHERE online_table = %s ORDER BY finished_at DESC LIMIT %s",
            [name, most],
        )
        return cursor.fetchall()


def watermark(connection: psycopg.Connection, name: str) -> datetime | None:
    """Return the instant up to which the online table `name` holds everything knowable; None before its first run.

    A run as of a future instant does not count.
    """
    row = connection.execute(
        "SELECT max(as_of) FROM panthera.present_run WHERE online_table = %s AND kind <> 'range' "
        "AND as_of <= finished_at + %s",
        [name, TOLERATED_AHEAD],
    ).fetchone()
    return row[0] if row else None


def watermarks(connection: psycopg.Connection, names: Collection[str]) -> dict[str, datetime]:
    """Return the watermarks of online tables by name, without tables that no run has filled."""
    found = connection.execute(
        "SELECT online_table, max(as_of) FROM panthera.materialization WHERE online_table = ANY(%s) AND kind <> 'range' "
        "GROUP BY online_table",
        [list(names)],
    )
    return dict(found.fetchall())


#: Query for those of the online tables in the parameter that do not exist or have never been filled.
UNFILLED = """
SELECT name FROM unnest(%s::text[]) AS wanted (name)
WHERE to_regclass(format('online.%%I', name)) IS NULL
    OR NOT EXISTS (SELECT FROM panthera.present_run WHERE online_table = name)
ORDER BY name
"""


def unfilled(connection: psycopg.Connection, names: Collection[str]) -> list[str]:
    """Return those of the online tables `names` that do not exist or have never been filled."""
    return [name for (name,) in connection.execute(UNFILLED, [list(names)])]


def register(
    connection: psycopg.Connection,
    project: str,
    view: str,
    name: str,
    *,
    is_new: bool = False,
    keep_others: bool = False,
) -> str | None:
    """Write `name` as the present table of `view`; return the table that it replaces, if any.

    Parameters
    ----------
    is_new : whether the table was just created, so that no earlier run filled it.
    keep_others : whether the view's other tables stay in use; then none is replaced or retired.

    """
    before = connection.execute(
        "SELECT online_table FROM panthera.online_table WHERE project = %s AND view = %s AND online_table <> %s "
        "AND retired_at IS NULL",
        [project, view, name],
    ).fetchone()
    connection.execute(
        "INSERT INTO panthera.online_table (online_table, project, view) VALUES (%s, %s, %s) "
        "ON CONFLICT (online_table) DO UPDATE SET applied_at = clock_timestamp(), retired_at = NULL "
        "WHERE online_table.retired_at IS NOT NULL",
        [name, project, view],
    )
    if is_new:
        connection.execute(
            "UPDATE panthera.online_table SET made_at = clock_timestamp() WHERE online_table = %s", [name]
        )
    if keep_others:
        return None
    retire(connection, project, view, kept=name)
    return before[0] if before else None


def retire(connection: psycopg.Connection, project: str, view: str, kept: str = "") -> None:
    """Mark the tables of `view`, except `kept`, as retired: no definition names them any more."""
    connection.execute(
        "UPDATE panthera.online_table SET retired_at = clock_timestamp() "
        "WHERE project = %s AND view = %s AND online_table <> %s AND retired_at IS NULL",
        [project, view, kept],
    )


def tables_of(connection: psycopg.Connection, project: str, view: str) -> list[str]:
    """Return the tables of all versions of `view`."""
    found = connection.execute(
        "SELECT online_table FROM panthera.online_table WHERE project = %s AND view = %s ORDER BY 1", [project, view]
    )
    return [name for (name,) in found]


def tables_of_project(connection: psycopg.Connection, project: str) -> list[str]:
    """Return the tables of all views of `project`, including views that Feast's registry no longer has."""
    found = connection.execute(
        "SELECT online_table FROM panthera.online_table WHERE project = %s ORDER BY 1", [project]
    )
    return [name for (name,) in found]


def drop(connection: psycopg.Connection, names: Collection[str]) -> None:
    """Drop online tables that exist, with their joint tables, and delete their records; the history of runs stays."""
    for name in sorted(names):
        lock(connection, name)
    for joint in joint_tables_of(connection, names):
        joint_tables.drop(connection, joint)
    for name in sorted(names):
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(SCHEMA, name)))
    connection.execute("DELETE FROM panthera.online_table WHERE online_table = ANY(%s)", [list(names)])


def retired(connection: psycopg.Connection) -> list[str]:
    """Return the retired tables, which no definition of their view names any more."""
    found = connection.execute("SELECT online_table FROM panthera.online_table WHERE retired_at IS NOT NULL ORDER BY 1")
    return [name for (name,) in found]


def collect(connection: psycopg.Connection, needed: Collection[str]) -> list[str]:
    """Drop the retired tables that no release reads (those not in `needed`); return their names."""
    dropped = [name for name in retired(connection) if name not in needed]
    drop(connection, dropped)
    return dropped


def forget_pushes(connection: psycopg.Connection, before: datetime) -> int:
    """Delete the ids of rows pushed before an instant; return their number. The same rows, sent again, count as new."""
    return connection.execute("DELETE FROM panthera.pushed_row WHERE pushed_at < %s", [before]).rowcount
