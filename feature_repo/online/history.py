"""What the database remembers of the online tables: whose they are, which runs filled them, and which nobody needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from uuid import UUID, uuid4

from psycopg import sql
from psycopg.rows import class_row

from core.clock import TOLERATED_AHEAD
from feature_repo.online import joint_tables
from feature_repo.online.tables import SCHEMA, joint_tables_of, lock

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    import psycopg

    from feature_repo.online.tables import OnlineTable

Kind = Literal["full", "increment", "range"]


@dataclass(frozen=True)
class Run:
    """A finished materialization: it brought `rows_written` rows online, all that was knowable `as_of` this instant.

    Attributes
    ----------
    kind : whether it made the table anew (`full`), merged what was new (`increment`), or merged the rows of a span of event
        times that somebody named (`range`).
    as_of : its instant; of all kinds but `range`, the watermark that it left.

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
    """Enter a materialization into the history, in the transaction that brings its rows; return its id."""
    run_id = uuid4()
    connection.execute(
        "INSERT INTO panthera.materialization (run_id, view, online_table, as_of, rows_written, kind) "
        "VALUES (%s, %s, %s, %s, %s, %s)",
        [run_id, view, table.name, as_of, rows, kind],
    )
    return run_id


def runs(connection: psycopg.Connection, name: str, most: int) -> list[Run]:
    """Read the last runs that filled the online table of today, the newest first."""
    with connection.cursor(row_factory=class_row(Run)) as cursor:
        cursor.execute(
            "SELECT run_id, view, online_table, kind, as_of, rows_written, started_at, finished_at "
            "FROM panthera.present_run WHERE online_table = %s ORDER BY finished_at DESC LIMIT %s",
            [name, most],
        )
        return cursor.fetchall()


def watermark(connection: psycopg.Connection, name: str) -> datetime | None:
    """Say up to which instant everything knowable has been brought into the online table `name`.

    A run as of an instant that had not come says nothing about it.
    """
    row = connection.execute(
        "SELECT max(as_of) FROM panthera.present_run WHERE online_table = %s AND kind <> 'range' "
        "AND as_of <= finished_at + %s",
        [name, TOLERATED_AHEAD],
    ).fetchone()
    return row[0] if row else None


def watermarks(connection: psycopg.Connection, names: Collection[str]) -> dict[str, datetime]:
    """Return the watermarks of online tables by their names, without those that no run has filled."""
    found = connection.execute(
        "SELECT online_table, max(as_of) FROM panthera.materialization WHERE online_table = ANY(%s) AND kind <> 'range' "
        "GROUP BY online_table",
        [list(names)],
    )
    return dict(found.fetchall())


#: Which of the online tables in the parameter are not there, or have never been filled.
UNFILLED = """
SELECT name FROM unnest(%s::text[]) AS wanted (name)
WHERE to_regclass(format('online.%%I', name)) IS NULL
    OR NOT EXISTS (SELECT FROM panthera.present_run WHERE online_table = name)
ORDER BY name
"""


def unfilled(connection: psycopg.Connection, names: Collection[str]) -> list[str]:
    """List which of these online tables are not there, or have never been filled."""
    return [name for (name,) in connection.execute(UNFILLED, [list(names)])]


def register(
    connection: psycopg.Connection,
    project: str,
    view: str,
    name: str,
    *,
    made: bool = False,
    beside_others: bool = False,
) -> str | None:
    """Enter `name` as the one table of `view` from now on; return the table that it takes over from, if any.

    Parameters
    ----------
    made : whether the table was made just now, so that earlier runs did not fill it.
    beside_others : whether it takes over from none and none is retired.

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
    if made:
        connection.execute(
            "UPDATE panthera.online_table SET made_at = clock_timestamp() WHERE online_table = %s", [name]
        )
    if beside_others:
        return None
    retire(connection, project, view, kept=name)
    return before[0] if before else None


def retire(connection: psycopg.Connection, project: str, view: str, kept: str = "") -> None:
    """Note that no definition of `view` names its tables any more, but `kept`."""
    connection.execute(
        "UPDATE panthera.online_table SET retired_at = clock_timestamp() "
        "WHERE project = %s AND view = %s AND online_table <> %s AND retired_at IS NULL",
        [project, view, kept],
    )


def tables_of(connection: psycopg.Connection, project: str, view: str) -> list[str]:
    """List the tables of all versions of `view`."""
    found = connection.execute(
        "SELECT online_table FROM panthera.online_table WHERE project = %s AND view = %s ORDER BY 1", [project, view]
    )
    return [name for (name,) in found]


def tables_of_project(connection: psycopg.Connection, project: str) -> list[str]:
    """List the tables of all views of `project`, also of those that Feast's registry no longer knows."""
    found = connection.execute(
        "SELECT online_table FROM panthera.online_table WHERE project = %s ORDER BY 1", [project]
    )
    return [name for (name,) in found]


def drop(connection: psycopg.Connection, names: Collection[str]) -> None:
    """Drop online tables, where they are there, with their joint tables, and forget whose they were.

    What is remembered of their runs stays.
    """
    for name in sorted(names):
        lock(connection, name)
    for joint in joint_tables_of(connection, names):
        joint_tables.drop(connection, joint)
    for name in sorted(names):
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(SCHEMA, name)))
    connection.execute("DELETE FROM panthera.online_table WHERE online_table = ANY(%s)", [list(names)])


def retired(connection: psycopg.Connection) -> list[str]:
    """List the tables that no definition of their view names any more."""
    found = connection.execute("SELECT online_table FROM panthera.online_table WHERE retired_at IS NOT NULL ORDER BY 1")
    return [name for (name,) in found]


def collect(connection: psycopg.Connection, needed: Collection[str]) -> list[str]:
    """Drop the retired tables that are not among `needed`, those that some release reads; return their names."""
    dropped = [name for name in retired(connection) if name not in needed]
    drop(connection, dropped)
    return dropped


def forget_pushes(connection: psycopg.Connection, before: datetime) -> int:
    """Forget the ids of rows that were pushed before an instant; return their number. Sent again, they are new."""
    return connection.execute("DELETE FROM panthera.pushed_row WHERE pushed_at < %s", [before]).rowcount
