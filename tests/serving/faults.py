"""Ways to break a database under a running service, and to mend it again."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import psycopg

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    import httpx

    from tests.serving.conftest import Client


class Proxy:
    """Passes bytes between the service and the socket of PostgreSQL, until it goes silent; counts the round trips.

    A round trip is a message of the client that comes after one of the server.
    """

    def __init__(self, url: str) -> None:
        self._socket = f"{parse_qs(urlsplit(url).query)['host'][0]}/.s.PGSQL.5432"
        self._user, self._database = urlsplit(url).username, urlsplit(url).path
        self.is_silent = False
        self.round_trips = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._writers: list[asyncio.StreamWriter] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Listen for the length of the block; give the URL that goes through here."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            yield f"postgresql://{self._user}@127.0.0.1:{port}{self._database}"
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for writer in self._writers:
                writer.transport.abort()
            await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self._socket)
        self._writers += [writer, back]
        turns = [True]
        for source, target, is_client in ((reader, back, True), (there, writer, False)):
            self._tasks.append(asyncio.create_task(self._pass(source, target, turns, is_client=is_client)))

    async def _pass(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, turns: list[bool], *, is_client: bool
    ) -> None:
        while chunk := await source.read(2**16):
            while self.is_silent:  # noqa: ASYNC110 - whoever made it so is no task
                await asyncio.sleep(0.05)
            self.round_trips += is_client and not turns[0]
            turns[0] = is_client
            target.write(chunk)
        target.close()


@contextmanager
def frozen(*processes: int) -> Iterator[None]:
    """Stop processes without ending them."""
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


@contextmanager
def locked(url: str, table: str) -> Iterator[None]:
    """Hold a lock on `table` that lets nobody read or write it."""
    with psycopg.connect(url) as connection:
        connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        yield


def backends(url: str) -> list[int]:
    """List the server processes of the service's connections."""
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND backend_type = 'client backend'"
        )
        return [process for (process,) in found]


async def timed(request: Callable[[], object]) -> tuple[httpx.Response, float]:
    """Send a request; return the response, and the seconds that it took."""
    began = time.perf_counter()
    response: httpx.Response = await request()  # type: ignore[misc]
    return response, time.perf_counter() - began


async def seconds_until_answered(client: Client, within: float) -> float:
    """Ask for a prediction again and again; return the seconds until there is one."""
    began = time.perf_counter()
    async with asyncio.timeout(within):
        while (await client.predict(1)).status_code != 200:  # noqa: ASYNC110 - nobody else can say so
            await asyncio.sleep(0.05)
    return time.perf_counter() - began
