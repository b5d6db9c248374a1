"""Connection pools of the service: sessions in UTC and autocommit mode, with translated errors.

A pool limits the time to wait for a connection, for a lock and for a statement, and the total time of a use of a connection.
The total limit holds even if the server stops responding.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool, ConnectionPool, PoolTimeout

from core.errors import DatabaseTimeoutError
from core.postgres.database import shown, translated
from core.postgres.liveness import Deadline, refuse_if_closed, tcp_options
from core.postgres.session import ENCODING, session_options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

BlockingPool: TypeAlias = "ConnectionPool[psycopg.Connection]"
_Result = TypeVar("_Result")

_MOST_CONNECTIONS = 10
#: After this time the pool gives up a failed connection, and the next request connects again at once. The pool's own retries
#: double their delay, so that they would prolong a long outage.
_SECONDS_TO_RECONNECT = 1.0
_SECONDS_TO_CONNECT = 2
#: How long a thread waits while a server restarts.
_SECONDS_TO_CONNECT_AGAIN = 10.0


@dataclass(frozen=True)
class PoolLimits:
    """The size of a pool and its time limits in seconds.

    Attributes
    ----------
    connections : maximum number of connections.
    wait : for a free connection.
    lock : for a lock that a statement needs.
    statement : for a statement, measured by the server.
    whole : from the request for a connection to its return; after it, the connection is closed. It exceeds `statement`, so
        that a responding server cancels the statement itself and the connection is kept.
    ping : for a connection and an empty statement before the work, if the work may take much longer; None sends no such
        statement, which would cost a round trip.

    """

    connections: int = _MOST_CONNECTIONS
    wait: float = 2.0
    lock: float = 4.0
    statement: float = 4.0
    whole: float = 6.0
    ping: float | None = None

    @property
    def options(self) -> str:
        """The server options of a session."""
        statement, lock = (round(1000 * seconds) for seconds in (self.statement, self.lock))
        return f"-cstatement_timeout={statement} -clock_timeout={lock}"


DEFAULT_LIMITS = PoolLimits()


class Pool(AsyncConnectionPool[psycopg.AsyncConnection]):
    """The connection pool of one event loop, with its limits."""

    def __init__(self, url: str, limits: PoolLimits) -> None:
        super().__init__(
            url,
            kwargs=_session(url, limits.options),
            min_size=min(2, limits.connections),
            max_size=limits.connections,
            timeout=limits.wait,
            reconnect_timeout=_SECONDS_TO_RECONNECT,
            check=_check,
            open=False,
            name="panthera",
        )
        self.limits = limits


def connection_pool(url: str, limits: PoolLimits = DEFAULT_LIMITS) -> Pool:
    """Return a pool for the server at `url`; no connection is opened before `await pool.open()`."""
    return Pool(url, limits)


def blocking_pool(url: str) -> BlockingPool:
    """Open and return a pool for threads; connections are not checked before use, see `with_connection`."""
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


async def _check(connection: psycopg.AsyncConnection) -> None:
    refuse_if_closed(connection)


def _session(url: str, limits: str = "") -> dict[str, Any]:
    """Return the connection parameters of a pool: autocommit, and the server options of `url` followed by `limits`."""
    url_options = conninfo_to_dict(url).get("options") or ""
    return {
        "autocommit": True,
        "connect_timeout": _SECONDS_TO_CONNECT,
        "options": session_options(f"{url_options} {limits}".strip()),
        "client_encoding": ENCODING,
        **tcp_options(url),
    }


def with_connection(pool: BlockingPool, work: Callable[[psycopg.Connection], _Result]) -> _Result:
    """Return the result of `work` with a connection of `pool`; run `work` again if the first connection was broken.

    `work` must be idempotent. The connection is always returned to the pool.

    Raises
    ------
    StaleStateError
        If a statement names a table that does not exist.
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
        pool.check()  # a restart of the server breaks the idle connections too
        with pool.connection() as connection:
            return work(connection)
    except psycopg.Error as error:
        raise translated(error, pool.conninfo if isinstance(pool.conninfo, str) else "") from None


@asynccontextmanager
async def lent(pool: Pool) -> AsyncIterator[psycopg.AsyncConnection]:
    """Yield a connection of `pool` and return it to the pool; it is closed if the block exceeds the limits of the pool.

    Raises
    ------
    StaleStateError
        If a statement names a table that does not exist.
    DatabaseTimeoutError
        If no connection is free, or the server does not answer, in time.
    DatabaseError
        If the server cannot be reached, or refuses a statement for another reason.

    """
    limits, began = pool.limits, asyncio.get_running_loop().time()
    deadline: Deadline | None = None
    try:
        async with pool.connection() as connection:
            deadline = Deadline(connection, began + (limits.ping or limits.whole))
            try:
                if limits.ping:
                    await connection.execute("")
                    deadline.move(began + limits.whole)
                yield connection
            finally:
                deadline.end()
    except psycopg.Error as error:
        if isinstance(error, PoolTimeout):
            raise DatabaseTimeoutError(f"PostgreSQL at {shown(pool_url(pool))} does not answer ({error})") from None
        if deadline is None or not deadline.is_over:
            raise translated(error, pool_url(pool)) from None
        await pool.drain()  # the idle connections may be dead too
        raise DatabaseTimeoutError(
            f"PostgreSQL at {shown(pool_url(pool))} does not answer: no reply in time, so the connection was "
            "closed; the next request connects again"
        ) from None


def pool_url(pool: Pool) -> str:
    """Return the libpq URL that `pool` connects to."""
    return pool.conninfo if isinstance(pool.conninfo, str) else ""
