"""A load generator for HTTP/1.1 in one process: closed-loop on each connection, or open-loop at a rate.

`python -m benchmarks.serving.load URL BODIES --connections 64 --seconds 5` sends the bodies of a file, one a line, in turn. It
prints one JSON object with the requests per second, the latencies and the statuses. With `--rate`, requests begin at random
instants (a Poisson process), whether earlier ones were answered or not, and each latency counts from that instant.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import subprocess
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from urllib.parse import urlsplit

import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: A request to send, with the instant from which its latency counts.
_Due: TypeAlias = "tuple[float, bytes]"

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_PREDICTION_ID = re.compile(rb'"prediction_id":"([0-9a-f-]{36})"')
_SECONDS_BETWEEN_ARRIVALS = 0.001
_SECONDS_TO_FINISH = 10.0
#: The status of a request whose connection broke before the response.
BROKEN = 0


@dataclass
class Tally:
    """What the responses were; `ids` are the prediction ids of the responses with status 200, if they are kept."""

    keeps_ids: bool = False
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    ids: list[bytes] = field(default_factory=list)

    def add(self, status: int, seconds: float, body: bytes) -> None:
        """Count one response."""
        self.statuses[status] += 1
        if status == 200:  # noqa: PLR2004
            self.latencies.append(seconds)
            if self.keeps_ids:
                self.ids += _PREDICTION_ID.findall(body)

    def figures(self, seconds: float) -> dict[str, Any]:
        """Return the figures of a run that took `seconds`; latencies in milliseconds, of status 200 only."""
        ordered = sorted(self.latencies)

        def quantile(share: float) -> float | None:
            return round(1000 * ordered[int(share * (len(ordered) - 1))], 3) if ordered else None

        return {
            "rate": round(len(ordered) / seconds, 1),
            "p50_ms": quantile(0.5),
            "p99_ms": quantile(0.99),
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "processor_share": round(time.process_time() / seconds, 2),
        }


class _Connection(asyncio.Protocol):
    """One connection, on which one request is open at a time; `free` is called when it can take another one."""

    def __init__(self, tally: Tally, free: Callable[[_Connection], None]) -> None:
        self._tally, self._free = tally, free
        self._buffer = b""
        self._began: float | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._free(self)

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, due: _Due) -> None:
        assert self._transport
        self._began, request = due
        self._transport.write(request)

    def close(self) -> None:
        self._began = None
        if self._transport:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        length = _LENGTH.search(self._buffer, 0, head + 2)
        end = head + 4 + (int(length[1]) if length else 0)
        if len(self._buffer) < end or self._began is None:
            return
        status, body = int(self._buffer[9:12]), self._buffer[head + 4 : end]
        self._buffer = self._buffer[end:]
        began, self._began = self._began, None
        self._tally.add(status, time.perf_counter() - began, body)
        self._free(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self._began is not None:
            self._tally.add(BROKEN, time.perf_counter() - self._began, b"")
            self._began = None


class Load:
    """The requests of one run; a connection that breaks or is closed is opened again."""

    def __init__(self, url: str, bodies: Sequence[bytes], headers: Sequence[str], tally: Tally) -> None:
        self._at = urlsplit(url)
        self._requests: Iterator[bytes] = cycle([self._request(body, headers) for body in bodies])
        self._tally = tally
        self._open: set[_Connection] = set()
        self._idle: list[_Connection] = []
        self._due: deque[_Due] = deque()
        self._until: float | None = None

    def _request(self, body: bytes, headers: Sequence[str]) -> bytes:
        lines = [
            f"POST {self._at.path} HTTP/1.1",
            f"host: {self._at.netloc}",
            "content-type: application/json",
            f"content-length: {len(body)}",
            *headers,
        ]
        return "\r\n".join([*lines, "", ""]).encode() + body

    async def closed_loop(self, connections: int, seconds: float) -> None:
        """Send on each connection as soon as its last request is answered."""
        self._until = time.perf_counter() + seconds
        keeper = asyncio.create_task(self._keep_open(connections))
        await asyncio.sleep(seconds)
        await self._finish(keeper)

    async def open_loop(self, connections: int, seconds: float, rate: float) -> None:
        """Begin `rate` requests a second at random instants; those that find no idle connection wait for one."""
        keeper = asyncio.create_task(self._keep_open(connections))
        rng = random.Random(1)  # noqa: S311
        arrival = time.perf_counter()
        end = arrival + seconds
        while (now := time.perf_counter()) < end:
            while arrival <= now:
                self._due.append((arrival, next(self._requests)))
                arrival += rng.expovariate(rate)
            self._send_due()
            await asyncio.sleep(_SECONDS_BETWEEN_ARRIVALS)
        await self._finish(keeper)

    def _free(self, connection: _Connection) -> None:
        if self._until is not None and time.perf_counter() < self._until:
            connection.send((time.perf_counter(), next(self._requests)))
        else:
            self._idle.append(connection)
            self._send_due()

    def _send_due(self) -> None:
        while self._due and self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                connection.send(self._due.popleft())

    async def _keep_open(self, connections: int) -> None:
        """Open connections, and again those that were closed; a refused one counts as a broken request."""
        loop = asyncio.get_running_loop()
        while True:
            self._open = {connection for connection in self._open if connection.is_open}
            try:
                while len(self._open) < connections:
                    _, made = await loop.create_connection(
                        lambda: _Connection(self._tally, self._free), self._at.hostname or "", self._at.port or 80
                    )
                    self._open.add(made)
            except OSError:
                self._tally.statuses[BROKEN] += 1
            await asyncio.sleep(0.02)

    async def _finish(self, keeper: asyncio.Task[None]) -> None:
        end = time.perf_counter() + _SECONDS_TO_FINISH
        while time.perf_counter() < end and (self._due or any(each not in self._idle for each in self._open)):
            await asyncio.sleep(0.01)
            self._open = {connection for connection in self._open if connection.is_open}
        keeper.cancel()
        for _ in self._due:
            self._tally.statuses[BROKEN] += 1
        for connection in self._open:
            connection.close()


@dataclass(frozen=True)
class Target:
    """The address of a route, a file with the bodies to send, one a line, and further header lines."""

    url: str
    bodies: Path
    headers: tuple[str, ...] = ()


def start_load(
    target: Target, connections: int, seconds: float, rate: float | None = None, ids: Path | None = None
) -> subprocess.Popen[str]:
    """Start the generator as a process of its own; its output is one line of JSON."""
    options = [f"--connections={connections}", f"--seconds={seconds}", *(f"--header={each}" for each in target.headers)]
    options += [f"--rate={rate}"] if rate else []
    options += [f"--ids={ids}"] if ids else []
    command = [sys.executable, "-m", "benchmarks.serving.load", target.url, str(target.bodies), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def figures_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for a generator and return its figures."""
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"the load generator ended with {process.returncode}")
    figures: dict[str, Any] = json.loads(output.splitlines()[-1])
    return figures


def main() -> None:
    """Read the arguments, send the requests, and print the figures."""
    parser = argparse.ArgumentParser(description="Send requests to one address, and measure the responses.")
    parser.add_argument("url")
    parser.add_argument("bodies", type=Path)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--header", action="append", default=[])
    parser.add_argument("--ids", type=Path, help="file to write the prediction ids of the responses to")
    arguments = parser.parse_args()
    tally = Tally(keeps_ids=arguments.ids is not None)
    load = Load(arguments.url, arguments.bodies.read_bytes().splitlines(), arguments.header, tally)
    if arguments.rate:
        uvloop.run(load.open_loop(arguments.connections, arguments.seconds, arguments.rate))
    else:
        uvloop.run(load.closed_loop(arguments.connections, arguments.seconds))
    if arguments.ids:
        arguments.ids.write_bytes(b"\n".join(tally.ids) + b"\n")
    print(json.dumps(tally.figures(arguments.seconds)))


if __name__ == "__main__":
    main()
