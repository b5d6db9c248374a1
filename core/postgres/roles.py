"""The roles of the database: what the service and readers may do, and the URL with which the service has no more rights."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit, urlunsplit

from core.errors import DatabaseError
from core.postgres.database import connect

if TYPE_CHECKING:
    import psycopg

#: The first version in which a member of a role may lack the right to take it.
_WITH_SET_OPTION = 160_000
SERVICE, READER = "panthera_service", "panthera_reader"


def grant_roles(connection: psycopg.Connection) -> str | None:
    """Create the roles and grant their privileges; return why the connection's user may not, or None."""
    row = connection.execute("SELECT panthera.grant_roles()").fetchone()
    return str(row[0]) if row and row[0] else None


def service_url(url: str) -> str:
    """Return `url` with sessions that have the rights of the service only; `url` itself if its user may not take the role.

    With the embedded server, the service connects as the role itself. With another one, the role is a start-up option, so that
    each session of a pool has it from its first statement on.
    """
    with connect(url) as connection:
        may_log_in, may_take = _may_log_in(connection), _may_take(connection)
    if may_log_in and _can_connect(as_service := _with_user(url)):
        return as_service
    return _with_role(url) if may_take else url


def _with_user(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{SERVICE}@{parts.netloc.rpartition('@')[2]}"))


def _can_connect(url: str) -> bool:
    try:
        with connect(url):
            return True
    except DatabaseError:  # a server on a socket only that is not the embedded one, and asks for a password
        return False


def _with_role(url: str) -> str:
    option = quote(f"-crole={SERVICE}", safe="")
    address, _, query = url.partition("?")
    pairs = [pair for pair in query.split("&") if pair]
    others = [pair for pair in pairs if not pair.startswith("options=")]
    stated = [pair for pair in pairs if pair.startswith("options=")]
    return f"{address}?{'&'.join([*others, f'{stated[-1]}%20{option}' if stated else f'options={option}'])}"


def _may_log_in(connection: psycopg.Connection) -> bool:
    """Return whether the role of the service can log in without a password, as in the embedded server."""
    row = connection.execute(
        "SELECT bool_or(rolcanlogin) AND current_setting('listen_addresses') = '' FROM pg_roles WHERE rolname = %s",
        [SERVICE],
    ).fetchone()
    return bool(row and row[0])


def _may_take(connection: psycopg.Connection) -> bool:
    """Return whether the user may take the role; before version 16, each of its members might."""
    privilege = "SET" if connection.info.server_version >= _WITH_SET_OPTION else "MEMBER"
    row = connection.execute(
        "SELECT bool_or(pg_has_role(oid, %s)) FROM pg_roles WHERE rolname = %s AND rolname <> current_user",
        [privilege, SERVICE],
    ).fetchone()
    return bool(row and row[0])
