"""Connections of a process that serves: pooled, in UTC, each statement its own transaction, errors in plain words."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from core.database import translated
from core.session import ENCODING, session_options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

Pool: TypeAlias = "AsyncConnectionPool[psycopg.AsyncConnection]"
BlockingPool: TypeAlias = "ConnectionPool[psycopg.Connection]"
_Result = TypeVar("_Result")

_MOST_CONNECTIONS = 10
#: How long a request waits for a connection before it is told that there is none.
_SECONDS_TO_WAIT = 2.0
#: After this long the pool forgets a failed connection, and the next request tries again at once. The pool's own
#: retries double their delay, so a long outage would be followed by a longer one.
_SECONDS_TO_RECONNECT = 1.0
#: How long a thread waits while a server restarts.
_SECONDS_TO_CONNECT_AGAIN = 10.0
_LIMITED = "-cstatement_timeout=4000"


def connection_pool(url: str) -> Pool:
    """Make the pool for the server at `url`; nothing is opened before `await pool.open()`."""
    return AsyncConnectionPool(
        url,
        kwargs=_session(url, _LIMITED),
        min_size=1,
        max_size=_MOST_CONNECTIONS,
        timeout=_SECONDS_TO_WAIT,
        reconnect_timeout=_SECONDS_TO_RECONNECT,
        check=AsyncConnectionPool.check_connection,
        open=False,
        name="panthera",
    )


def blocking_pool(url: str) -> BlockingPool:
    """Make and open a pool for threads that wait, for the server at `url`; it checks no connection before it lends it."""
    return ConnectionPool(
        url,
        kwargs=_session(url),
        min_size=1,
        max_size=_MOST_CONNECTIONS,
        timeout=_SECONDS_TO_CONNECT_AGAIN,
        reconnect_timeout=_SECONDS_TO_RECONNECT,
        open=True,
        name="panthera-blocking",
    )


def _session(url: str, limits: str = "") -> dict[str, Any]:
    """Return how a pool's connections are made: each statement its own transaction, `limits` after the options of `url`."""
    given = conninfo_to_dict(url).get("options") or ""
    options = session_options(f"{given} {limits}".strip())
    return {"autocommit": True, "connect_timeout": 2, "options": options, "client_encoding": ENCODING}


def with_connection(pool: BlockingPool, work: Callable[[psycopg.Connection], _Result]) -> _Result:
    """Do `work` with a connection of `pool`, and once more if the first one turns out to be broken.

    So `work` must be something that may be done twice. The connection goes back to the pool however it ends.

    Raises
    ------
    StaleStateError
        If a statement speaks of a table that is not there.
    DatabaseError
        If the server cannot be reached, or refuses a statement for another reason.

    """
    try:
        connection = pool.getconn()
        try:
            return work(connection)
        except (psycopg.OperationalError, psycopg.InterfaceError):
            if not connection.broken:
                raise
        finally:
            pool.putconn(connection)
        pool.check()  # what broke one connection, such as a restart of the server, broke the idle ones too
        with pool.connection() as connection:
            return work(connection)
    except psycopg.Error as error:
        raise translated(error, pool.conninfo if isinstance(pool.conninfo, str) else "") from None


@asynccontextmanager
async def lent(pool: Pool) -> AsyncIterator[psycopg.AsyncConnection]:
    """Lend a connection of `pool`; it goes back to the pool however the block ends.

    Raises
    ------
    StaleStateError
        If a statement speaks of a table that is not there.
    DatabaseError
        If the server cannot be reached, or refuses a statement for another reason.

    """
    try:
        async with pool.connection() as connection:
            yield connection
    except psycopg.Error as error:
        raise translated(error, pool_url(pool)) from None


def pool_url(pool: Pool) -> str:
    """Say which libpq URL `pool` connects to."""
    return pool.conninfo if isinstance(pool.conninfo, str) else ""
