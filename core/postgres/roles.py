"""The roles of the database: of the service, the shadow scorer and readers; URLs with no more rights than a role."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urlsplit, urlunsplit

from psycopg.rows import class_row

from core.errors import DatabaseError
from core.postgres.database import connect, shown

if TYPE_CHECKING:
    import psycopg

_LOGGER = logging.getLogger(__name__)
#: The first version in which a member of a role may lack the right to take it.
_WITH_SET_OPTION = 160_000
SERVICE, SHADOW, READER = "panthera_service", "panthera_shadow", "panthera_reader"

#: `is_granted` is of the rights in this database, since a role belongs to the server: all of them were granted, or none.
_STANDING = """
SELECT session_user::text AS session_user, rolname = current_user AS is_present_user,
    rolcanlogin AND current_setting('listen_addresses') = '' AS may_log_in, pg_has_role(oid, %(privilege)s) AS may_be_taken,
    has_schema_privilege(oid, 'panthera', 'USAGE')
        AND has_table_privilege(oid, 'panthera.release', 'SELECT')
        AND (rolname <> 'panthera_service' OR has_function_privilege(oid, 'panthera.check_disk()', 'EXECUTE')) AS is_granted
FROM pg_roles WHERE rolname = %(role)s
"""


class _Standing(NamedTuple):
    """What a connection's user may do with a role, and whether the role has its rights in this database.

    Attributes
    ----------
    may_log_in : the role can log in without a password, as in the embedded server.

    """

    session_user: str
    is_present_user: bool
    may_log_in: bool
    may_be_taken: bool
    is_granted: bool


def grant_roles(connection: psycopg.Connection) -> str | None:
    """Create the roles and grant their privileges; return why the connection's user may not, or None."""
    row = connection.execute("SELECT panthera.grant_roles()").fetchone()
    return str(row[0]) if row and row[0] else None


def role_url(url: str, role: str) -> str:
    """Return `url` with sessions that have the rights of `role` only; `url` itself, and a log line, if that cannot be.

    With the embedded server, the process connects as the role itself. With another one, the role is a start-up option, so that
    each session of a pool has it from its first statement on.
    """
    with connect(url) as connection:
        standing = _standing(connection, role)
    if standing and standing.is_present_user:
        return url
    if standing and standing.is_granted:
        if standing.may_log_in and _can_connect(as_role := _with_user(url, role)):
            return as_role
        if standing.may_be_taken:
            return _with_role(url, role)
    _LOGGER.warning("%s", _shortfall(url, role, standing))
    return url


def _standing(connection: psycopg.Connection, role: str) -> _Standing | None:
    """Return the standing of `role`, None if there is no such role; before version 16, each member might take it."""
    privilege = "SET" if connection.info.server_version >= _WITH_SET_OPTION else "MEMBER"
    with connection.cursor(row_factory=class_row(_Standing)) as cursor:
        return cursor.execute(_STANDING, {"role": role, "privilege": privilege}).fetchone()


def _shortfall(url: str, role: str, standing: _Standing | None) -> str:
    if standing is None or not standing.is_granted:
        found, remedy = f"has no role {role} with its rights", "run `panthera up` as a user who may create roles"
    else:
        found, remedy = (
            f"does not let {standing.session_user} take the role {role}",
            f"`GRANT {role} TO …` to that user",
        )
    return (
        f"the database at {shown(url)} {found}, so this process has all rights of the user in its address; "
        f"to give it fewer, {remedy}"
    )


def _with_user(url: str, role: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{role}@{parts.netloc.rpartition('@')[2]}"))


def _can_connect(url: str) -> bool:
    try:
        with connect(url):
            return True
    except DatabaseError:  # a server on a socket only that is not the embedded one, and asks for a password
        return False


def _with_role(url: str, role: str) -> str:
    option = quote(f"-crole={role}", safe="")
    address, _, query = url.partition("?")
    pairs = [pair for pair in query.split("&") if pair]
    others = [pair for pair in pairs if not pair.startswith("options=")]
    stated = [pair for pair in pairs if pair.startswith("options=")]
    return f"{address}?{'&'.join([*others, f'{stated[-1]}%20{option}' if stated else f'options={option}'])}"
