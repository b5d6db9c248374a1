"""Connections of a process that serves: pooled, in UTC, each statement its own transaction, errors in plain words.

Nobody waits for ever: each pool limits the wait for a connection, a statement, a lock, and the use of a connection as a
whole, which ends also where the server has gone silent.
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
#: After this long the pool forgets a failed connection, and the next request tries again at once. The pool's own
#: retries double their delay, so a long outage would be followed by a longer one.
_SECONDS_TO_RECONNECT = 1.0
_SECONDS_TO_CONNECT = 2
#: How long a thread waits while a server restarts.
_SECONDS_TO_CONNECT_AGAIN = 10.0


@dataclass(frozen=True)
class PoolLimits:
    """How many connections a pool has, and how many seconds a use of one may take.

    Attributes
    ----------
    connections : at most.
    wait : for a free connection.
    lock : for a lock that a statement needs.
    statement : for a statement, by the server's clock.
    whole : from asking for a connection to its return; then it is closed. More than `statement`, so that a server that is
        there ends the statement itself and keeps the connection.
    ping : for a connection and the server's first sign of life, for work that may take much longer than that; None asks for
        no such sign, which would cost a round trip.

    """

    connections: int = _MOST_CONNECTIONS
    wait: float = 2.0
    lock: float = 4.0
    statement: float = 4.0
    whole: float = 6.0
    ping: float | None = None

    @property
    def options(self) -> str:
        """Return the server options of a session."""
        statement, lock = (round(1000 * seconds) for seconds in (self.statement, self.lock))
        return f"-cstatement_timeout={statement} -clock_timeout={lock}"


DEFAULT_LIMITS = PoolLimits()


class Pool(AsyncConnectionPool[psycopg.AsyncConnection]):
    """The connections of one event loop, with their limits."""

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
    """Return the pool for the server at `url`; nothing is opened before `await pool.open()`."""
    return Pool(url, limits)


def blocking_pool(url: str) -> BlockingPool:
    """Open and return a pool for threads that wait, for the server at `url`; it checks no connection before it lends it."""
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
    """Return how a pool's connections are made: each statement its own transaction, `limits` after the options of `url`."""
    given = conninfo_to_dict(url).get("options") or ""
    return {
        "autocommit": True,
        "connect_timeout": _SECONDS_TO_CONNECT,
        "options": session_options(f"{given} {limits}".strip()),
        "client_encoding": ENCODING,
        **tcp_options(url),
    }


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
    """Lend a connection of `pool`; it goes back to the pool however the block ends, and is closed if it takes too long.

    Raises
    ------
    StaleStateError
        If a statement speaks of a table that is not there.
    DatabaseTimeoutError
        If there is no connection, or no answer of the server, in time.
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
        await pool.drain()  # what silenced one connection may have silenced the idle ones too
        raise DatabaseTimeoutError(
            f"PostgreSQL at {shown(pool_url(pool))} does not answer: it said nothing in time, so the connection was "
            "closed; it is tried again with every request"
        ) from None


def pool_url(pool: Pool) -> str:
    """Say which libpq URL `pool` connects to."""
    return pool.conninfo if isinstance(pool.conninfo, str) else ""
