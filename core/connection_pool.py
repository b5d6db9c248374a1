"""Connections of a process that serves: pooled, in UTC, each statement its own transaction, errors in plain words."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool

from core.database import shown
from core.errors import DatabaseError, StaleStateError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Pool: TypeAlias = "AsyncConnectionPool[psycopg.AsyncConnection]"

_MOST_CONNECTIONS = 10
#: How long a request waits for a connection before it is told that there is none.
_SECONDS_TO_WAIT = 2.0
#: After this long the pool forgets a failed connection, and the next request tries again at once. The pool's own
#: retries double their delay, so a long outage would be followed by a longer one.
_SECONDS_TO_RECONNECT = 1.0
_OPTIONS = "-c timezone=UTC -c statement_timeout=4000"


def connection_pool(url: str) -> Pool:
    """Make the pool for the server at `url`; nothing is opened before `await pool.open()`."""
    given = conninfo_to_dict(url).get("options") or ""
    return AsyncConnectionPool(
        url,
        kwargs={"autocommit": True, "connect_timeout": 2, "options": f"{given} {_OPTIONS}".strip()},
        min_size=1,
        max_size=_MOST_CONNECTIONS,
        timeout=_SECONDS_TO_WAIT,
        reconnect_timeout=_SECONDS_TO_RECONNECT,
        check=AsyncConnectionPool.check_connection,
        open=False,
        name="panthera",
    )


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
    except psycopg.errors.UndefinedTable as error:
        raise StaleStateError(f"{_reason(error)}; run `panthera repair`, which brings it back") from None
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise DatabaseError(
            f"PostgreSQL at {shown(pool_url(pool))} does not answer ({_reason(error)}); "
            "it is tried again with every request"
        ) from None
    except psycopg.Error as error:
        raise DatabaseError(f"PostgreSQL refused a statement: {_reason(error)}") from None


def pool_url(pool: Pool) -> str:
    """Say which libpq URL `pool` connects to."""
    return pool.conninfo if isinstance(pool.conninfo, str) else ""


def _reason(error: psycopg.Error) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
