"""Detection of dead connections: after a failover, a firewall drop or a frozen process, no end closes the connection."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg._connection_base import BaseConnection

#: TCP keepalive: the kernel closes a connection after 11 s without a packet from the other end.
_TCP_OPTIONS = {
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
#: Grace period for a reply that has arrived but has not been read, because the process was busy.
_GRACE_SECONDS = 0.1


def tcp_options(url: str) -> dict[str, Any]:
    """Return the libpq options that detect a dead TCP connection, except those that `url` sets itself."""
    url_parts = conninfo_to_dict(url)
    return {name: value for name, value in _TCP_OPTIONS.items() if name not in url_parts}


def hang_up(connection: BaseConnection[Any]) -> None:
    """Shut down the connection's socket, so that a call that waits for the server fails at once.

    Closing the connection would not wake the waiting call, and cancelling the call would first wait for the server.
    """
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
        duplicate.shutdown(socket.SHUT_RDWR)


def refuse_if_closed(connection: BaseConnection[Any]) -> None:
    """Raise psycopg.OperationalError if the server has closed an idle connection; polls the socket, without a round trip."""
    while _is_readable(connection):
        connection.pgconn.consume_input()


def _is_readable(connection: BaseConnection[Any]) -> bool:
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


class Deadline:
    """A timer that shuts down `connection` at the time `at` of the running event loop, unless `end` is called before."""

    __slots__ = ("_connection", "_timer", "is_over")

    def __init__(self, connection: BaseConnection[Any], at: float) -> None:
        self.is_over = False
        self._connection = connection
        self._timer = asyncio.get_running_loop().call_at(at, self._over)

    def end(self) -> None:
        """Cancel the timer."""
        self._timer.cancel()

    def move(self, at: float) -> None:
        """Set another time, unless the deadline has passed."""
        self._timer.cancel()
        if not self.is_over:
            self._timer = asyncio.get_running_loop().call_at(at, self._over)

    def _over(self) -> None:
        with suppress(psycopg.Error):  # raised for a connection that is already closed
            if not self.is_over and _is_readable(self._connection):
                self._timer = asyncio.get_running_loop().call_later(_GRACE_SECONDS, self._hang_up)
                return
        self._hang_up()

    def _hang_up(self) -> None:
        self.is_over = True
        hang_up(self._connection)


@contextmanager
def hung_up_after(connection: psycopg.Connection, seconds: float) -> Iterator[None]:
    """Shut down `connection` if the block takes longer than `seconds`; for threads, which cannot be cancelled."""
    timer = threading.Timer(seconds, hang_up, [connection])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
