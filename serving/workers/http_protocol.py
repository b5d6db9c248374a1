"""HTTP/1.1 with bounds: what a connection may send before it is heard, and how long it may take over each part.

uvicorn's own protocol reads headers of any size, and waits for ever for a first byte, for the rest of a request and for
a caller that does not read its answer.
"""

from __future__ import annotations

import resource
from functools import cache
from typing import TYPE_CHECKING, Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from serving.wire.problems import problem

if TYPE_CHECKING:
    import asyncio

    from starlette.responses import Response
    from starlette.types import ASGIApp

#: Bytes of the request line and the headers.
LONGEST_HEAD = 2**16
MOST_HEADERS = 100
#: Bytes that frame a body (chunk sizes, their extensions, trailers): so many, and so many for each byte of the body.
_LONGEST_FRAMING = 2**16
_MOST_FRAMING = 8
#: From a connection's first byte to the end of the headers; also the wait for that first byte.
SECONDS_FOR_HEAD = 5.0
#: How long a caller may leave its answer unread.
SECONDS_TO_READ_ANSWER = 10.0
#: How long the rest of a body is taken in and thrown away once it was refused, so that its sender reads why.
_SECONDS_TO_DISCARD = 2.0
#: How long an idle connection still takes a request when the service stops, as one may be on its way.
_SECONDS_TO_LINGER = 0.5
#: After this long, a stopping worker gives up what it still answers.
_SECONDS_TO_DRAIN = 7
_MOST_CONNECTIONS = 4096
#: Of the files that a process may open, those that are not connections.
_OTHER_FILES = 256

_NOT_HTTP = problem(400, "not_http", "found bytes that are no request of HTTP/1.1")
_LONG_HEAD = problem(
    431,
    "head_too_large",
    f"found a request line and headers of more than {LONGEST_HEAD} bytes or {MOST_HEADERS} headers; "
    "send what is long in a body",
)
_LONG_FRAMING = problem(
    400, "framing_too_large", "found a body whose chunk extensions or trailers are longer than itself; send it without"
)
_SLOW_HEAD = problem(408, "timeout", f"found no complete headers after {SECONDS_FOR_HEAD:g} s")
_FULL = problem(503, "too_many_connections", "too many connections are open; try again")


@cache
def most_connections() -> int:
    """Return how many connections one worker keeps open, given how many files it may open."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(min(files - _OTHER_FILES, _MOST_CONNECTIONS), 16)


class BoundedConfig(uvicorn.Config):
    """uvicorn's settings for an application behind `BoundedProtocol`, whatever else is asked for."""

    def __init__(self, app: ASGIApp, **options: Any) -> None:
        bounds = {"http": BoundedProtocol, "ws": "none", "proxy_headers": False, "access_log": False}
        drain = options.get("timeout_graceful_shutdown") or _SECONDS_TO_DRAIN
        super().__init__(app, **{**options, **bounds, "timeout_graceful_shutdown": drain})


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._refusal: Response | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._discarding = self._draining = False
        # Of the request that is being received; before its headers are complete, `_raw_bytes` are those of its head.
        self._begun = self._in_body = False
        self._requests = self._raw_bytes = self._body_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a first byte, but not for long."""
        super().connection_made(transport)
        if len(self.connections) > most_connections():
            self._refuse(_FULL)
        else:
            self._arm(SECONDS_FOR_HEAD, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget all deadlines."""
        self._disarm()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and refuse what is too long."""
        if self._discarding:
            return
        self._unset_keepalive_if_required()
        before = self._requests
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # answered as if it had not asked for another protocol
        except httptools.HttpParserError:
            self._refuse(self._refusal or _NOT_HTTP)
            return
        if self._requests == before:
            self._raw_bytes += len(data)
        if self._in_body:
            self._check_framing()
        elif self._begun or self._requests == before:
            self._check_head()

    def _check_framing(self) -> None:
        if self._raw_bytes > LONGEST_HEAD + _LONGEST_FRAMING + (1 + _MOST_FRAMING) * self._body_bytes:
            self._refuse(_LONG_FRAMING)

    def _check_head(self) -> None:
        if self._raw_bytes > LONGEST_HEAD:
            self._refuse(_LONG_HEAD)
        elif self._deadline is None:
            self._arm(SECONDS_FOR_HEAD, self._head_is_late)

    def on_message_begin(self) -> None:
        """Begin with a request."""
        self._begun = True
        self._raw_bytes = self._body_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Hand the request over, unless its head is too long: the parser may have read all of it at once."""
        self._disarm()
        length = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if length > LONGEST_HEAD or len(self.headers) > MOST_HEADERS:
            self._refusal = _LONG_HEAD
            raise ValueError(_LONG_HEAD.status_code)  # the parser makes an HttpParserError of it
        self._in_body = True
        super().on_headers_complete()
        if self._draining:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Count what came of the body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Be ready for the next request."""
        self._begun = self._in_body = False
        self._raw_bytes = 0
        self._requests += 1
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with the next request, unless the rest of the present one is still to come: then it was refused."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._arm(SECONDS_TO_READ_ANSWER, self.transport.abort)
        elif self.cycle.response_complete and self.cycle.more_body:
            self._discard_rest()

    def _discard_rest(self) -> None:
        self._unset_keepalive_if_required()
        self._discarding = True
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._arm(_SECONDS_TO_DISCARD, self.transport.abort)

    def pause_writing(self) -> None:
        """Wait until the caller reads its answer, but not for ever."""
        super().pause_writing()
        self._unread = self._unread or self.loop.call_later(SECONDS_TO_READ_ANSWER, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on, as the caller reads."""
        if self._unread:
            self._unread.cancel()
            self._unread = None
        super().resume_writing()

    def shutdown(self) -> None:
        """Answer what is being asked, and what is on its way; then close."""
        self._draining = True
        if self._is_idle():
            self.loop.call_later(_SECONDS_TO_LINGER, self._close_if_idle)
        else:
            self.cycle.keep_alive = False

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _close_if_idle(self) -> None:
        if self._is_idle():
            self.timeout_keep_alive_handler()

    def timeout_keep_alive_handler(self) -> None:
        """Close, and do not wait for ever until the last answer is read."""
        self.transport.close()
        self._arm(SECONDS_TO_READ_ANSWER, self.transport.abort)

    def _head_is_late(self) -> None:
        if not self._is_idle():  # the request before is still being answered
            self._arm(SECONDS_FOR_HEAD, self._head_is_late)
        elif self._begun:
            self._refuse(_SLOW_HEAD)
        else:
            self.timeout_keep_alive_handler()

    def _refuse(self, refusal: Response) -> None:
        """Answer what the application does not see, and close; no answer is possible among those of other requests."""
        self._disarm()
        if self._is_idle():
            self._write(refusal)
            self._discard_rest()
        elif self._in_body and not self.pipeline and not self.cycle.response_started:
            self.cycle.disconnected = True  # for the application, which then neither reads nor writes any more
            self.cycle.message_event.set()
            self._write(refusal)
            self._discard_rest()
        else:
            self.transport.abort()

    def _write(self, refusal: Response) -> None:
        headers = [*self.server_state.default_headers, *refusal.raw_headers, (b"connection", b"close")]
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(STATUS_LINE[refusal.status_code] + lines + b"\r\n" + bytes(refusal.body))

    def _arm(self, seconds: float, action: Any) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(seconds, action)

    def _disarm(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None
