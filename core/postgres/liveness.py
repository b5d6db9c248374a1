"""Ends waiting for a server that has gone silent: a failover, a firewall or a frozen process closes no connection."""

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

#: How the kernel finds out that the other end of a TCP connection is gone: after 11 s without a sign of it.
_TCP_OPTIONS = {
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
#: A reply that has arrived but was not read yet is no silence: the process was busy.
_SECONDS_TO_READ_IT = 0.1


def tcp_options(url: str) -> dict[str, Any]:
    """Return the libpq options that notice a dead TCP connection, but those that `url` sets itself."""
    given = conninfo_to_dict(url)
    return {name: value for name, value in _TCP_OPTIONS.items() if name not in given}


def hang_up(connection: BaseConnection[Any]) -> None:
    """Shut the connection's socket down, so that whoever waits for its server gets an error at once.

    Closing it would leave the waiting call asleep, and cancelling the call would wait for the server first.
    """
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


def refuse_if_closed(connection: BaseConnection[Any]) -> None:
    """Raise psycopg.OperationalError if the server has closed an idle connection; asks the kernel, not the server."""
    while _is_readable(connection):
        connection.pgconn.consume_input()


def _is_readable(connection: BaseConnection[Any]) -> bool:
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


class Deadline:
    """Hangs `connection` up at an instant of the running event loop, unless it is ended before."""

    __slots__ = ("_connection", "_timer", "is_over")

    def __init__(self, connection: BaseConnection[Any], at: float) -> None:
        self.is_over = False
        self._connection = connection
        self._timer = asyncio.get_running_loop().call_at(at, self._over)

    def end(self) -> None:
        """Let the connection be."""
        self._timer.cancel()

    def move(self, at: float) -> None:
        """Set another instant, unless it is over."""
        self._timer.cancel()
        if not self.is_over:
            self._timer = asyncio.get_running_loop().call_at(at, self._over)

    def _over(self) -> None:
        with suppress(psycopg.Error):  # it is closed already
            if not self.is_over and _is_readable(self._connection):
                self._timer = asyncio.get_running_loop().call_later(_SECONDS_TO_READ_IT, self._hang_up)
                return
        self._hang_up()

    def _hang_up(self) -> None:
        self.is_over = True
        hang_up(self._connection)


@contextmanager
def hung_up_after(connection: psycopg.Connection, seconds: float) -> Iterator[None]:
    """Hang `connection` up if the block takes longer than `seconds`; for threads, which nobody can cancel."""
    timer = threading.Timer(seconds, hang_up, [connection])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
