"""What a connection may send and for how long, tried with raw bytes on a real uvicorn."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import psutil
import pytest
import uvicorn

from serving.workers import http_protocol
from serving.workers.http_protocol import LONGEST_HEAD, MOST_HEADERS, BoundedConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import Receive, Scope, Send

#: Stands for every deadline of the protocol, so that the tests are quick.
DEADLINE = 0.3
BIG = b"x" * 2**23


async def _echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer the length of the body; /big answers much, and /ignore does not read the body."""
    if scope["type"] != "http":
        return
    length, more = 0, scope["path"] != "/ignore"
    while more:
        message = await receive()
        length, more = length + len(message.get("body", b"")), message.get("more_body", False)
    body = BIG if scope["path"] == "/big" else str(length).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def _listening() -> Iterator[tuple[uvicorn.Server, int]]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(BoundedConfig(_echo, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield server, listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with pytest.MonkeyPatch.context() as patch, _listening() as (_, port):
        for name in ("SECONDS_FOR_HEAD", "SECONDS_TO_READ_ANSWER", "_SECONDS_TO_DISCARD", "_SECONDS_TO_LINGER"):
            patch.setattr(http_protocol, name, DEADLINE)
        yield port


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def _rest(connection: socket.socket) -> bytes:
    """Read until the other side closes."""
    received = b""
    while chunk := connection.recv(2**16):
        received += chunk
    return received


def _asked(port: int, *parts: bytes) -> bytes:
    with _connect(port) as connection:
        for part in parts:
            connection.sendall(part)
        return _rest(connection)


def _is_problem(answer: bytes, status: int) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.startswith(b"HTTP/1.1 %d " % status) and b"application/problem+json" in head and body.startswith(b"{")


def test_requests_are_answered_and_the_connection_is_kept(port: int) -> None:
    with _connect(port) as connection:
        for body in (b"abc", b"defgh"):
            connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
            answer = connection.recv(2**16)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert answer.endswith(b"\r\n\r\n%d" % len(body))


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nhost: x\r\nlong: " + b"x" * LONGEST_HEAD,
        b"GET /" + b"x" * LONGEST_HEAD,
        b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * (LONGEST_HEAD // 6),
        b"\r\n" * LONGEST_HEAD,
        b"GET / HTTP/1.1\r\nhost: x\r\nlong: " + b"x" * LONGEST_HEAD + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * (MOST_HEADERS + 1) + b"\r\n",
    ],
    ids=["a value", "a path", "many headers", "empty lines", "a whole request", "too many headers"],
)
def test_a_head_that_is_too_long_is_refused(port: int, head: bytes) -> None:
    assert _is_problem(_asked(port, head), 431)


def test_headers_without_end_cost_no_memory(port: int) -> None:
    before = psutil.Process().memory_info().rss
    with _connect(port) as connection, suppress(OSError):  # closed meanwhile
        connection.sendall(b"GET / HTTP/1.1\r\nlong: ")
        for _ in range(400):
            connection.sendall(b"x" * 2**18)
    assert psutil.Process().memory_info().rss - before < 2**25


@pytest.mark.parametrize("junk", [b"nonsense\r\n\r\n", b"\x16\x03\x01\x02", b"BREW / HTTP/1.1\r\n\r\n"])
def test_what_is_not_http_is_told_so(port: int, junk: bytes) -> None:
    assert _is_problem(_asked(port, junk), 400)


@pytest.mark.parametrize(
    "part", [b"", b"\r\n", b"POST / HTTP/1.1\r\nhost:"], ids=["nothing", "an empty line", "half a head"]
)
def test_a_connection_that_asks_nothing_is_closed(port: int, part: bytes) -> None:
    began = time.monotonic()
    answer = _asked(port, part)
    assert DEADLINE * 0.9 < time.monotonic() - began < 10 * DEADLINE
    assert answer == b"" or _is_problem(answer, 408)


def test_a_head_that_comes_byte_by_byte_is_given_up(port: int) -> None:
    began = time.monotonic()
    with _connect(port) as connection, suppress(ConnectionError):
        connection.sendall(b"GET / HTTP/1.1\r\nslow: ")
        while time.monotonic() - began < 10 * DEADLINE:
            connection.sendall(b"x")
            time.sleep(DEADLINE / 10)
    assert time.monotonic() - began < 5 * DEADLINE


@pytest.mark.parametrize(
    "framing", [b"1;" + b"x" * 2**18, b"0\r\n" + b"t: x\r\n" * 2**16], ids=["chunk extension", "trailers"]
)
def test_the_frame_of_a_body_is_bounded(port: int, framing: bytes) -> None:
    head = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    assert _is_problem(_asked(port, head, framing), 400)


def test_a_body_of_tiny_chunks_is_read(port: int) -> None:
    head = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    assert _asked(port, head, b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n").endswith(b"\r\n\r\n50000")


def test_the_rest_of_a_body_that_was_answered_is_not_waited_for(port: int) -> None:
    began = time.monotonic()
    answer = _asked(port, b"POST /ignore HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000\r\n\r\n", b"x" * 1000)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert time.monotonic() - began < 10 * DEADLINE


def test_an_answer_that_nobody_reads_is_given_up(port: int) -> None:
    with _connect(port) as connection:
        connection.sendall(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n")
        time.sleep(5 * DEADLINE)
        assert len(_rest(connection)) < len(BIG)  # the kernel held a part of it


@pytest.mark.usefixtures("port")  # for its deadlines
def test_a_stopping_server_answers_what_is_on_its_way() -> None:
    ask = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
    with _listening() as (server, port), ExitStack() as stack:
        connections = [stack.enter_context(_connect(port)) for _ in range(20)]
        for connection in connections:
            connection.sendall(ask)
            assert connection.recv(2**16).startswith(b"HTTP/1.1 200")
        server.should_exit = True
        time.sleep(0.15)  # the server looks every 0.1 s
        for connection in connections:
            connection.sendall(ask)
        answers = [_rest(connection) for connection in connections]
    assert [b"connection: close" in answer for answer in answers] == [True] * 20


def test_more_connections_than_a_worker_may_hold_are_refused(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "most_connections", lambda: 2)
    with _connect(port), _connect(port):
        assert _is_problem(_asked(port), 503)
