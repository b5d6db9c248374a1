"""HTTP/1.1 with limits on the size of a request's parts and on the time for each of them.

uvicorn's own protocol reads headers of any size. It also waits without limit for a first byte, for the rest of a request, and
for a client that does not read the response.
"""

from __future__ import annotations

import resource
from functools import cache
from typing import TYPE_CHECKING, Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from serving.wire.problems import problem_of
from serving.wire.refusals import FramingTooLarge, HeadTooLarge, NotHttp, TooManyConnections, TooSlow

if TYPE_CHECKING:
    import asyncio

    from starlette.responses import Response
    from starlette.types import ASGIApp

#: Maximum bytes of the request line and the headers.
LONGEST_HEAD = 2**16
MOST_HEADERS = 100
#: Maximum bytes of chunk sizes, chunk extensions and trailers: a base, and a factor for each byte of the body.
_LONGEST_FRAMING = 2**16
_MOST_FRAMING = 8
#: Time limit for the first byte of a connection, and from that byte to the end of the headers.
SECONDS_FOR_HEAD = 5.0
#: Time limit for a client to read the response.
SECONDS_TO_READ_ANSWER = 10.0
#: Time for which the rest of a refused body is read and discarded, so that the client can read the response.
_SECONDS_TO_DISCARD = 2.0
#: Time for which an idle connection accepts a request after the service has begun to stop, since one may be in transit.
_SECONDS_TO_LINGER = 0.5
#: Time after which a stopping worker aborts its open requests.
_SECONDS_TO_DRAIN = 7
_MOST_CONNECTIONS = 4096
#: File descriptors of a process reserved for other uses than connections.
_OTHER_FILES = 256

_NOT_HTTP = problem_of(NotHttp("found bytes that are not an HTTP/1.1 request; send HTTP/1.1"))
_LONG_HEAD = problem_of(
    HeadTooLarge(
        f"found a request line and headers of more than {LONGEST_HEAD} bytes or {MOST_HEADERS} headers; "
        "send long values in the body"
    )
)
_LONG_FRAMING = problem_of(
    FramingTooLarge("found chunk extensions or trailers that are longer than the body; send it without them")
)
_SLOW_HEAD = problem_of(TooSlow(f"found no complete headers after {SECONDS_FOR_HEAD:g} s"))
_FULL = problem_of(TooManyConnections("too many connections are open; try again"))


@cache
def most_connections() -> int:
    """Return the maximum number of open connections of one worker, from the limit of open files."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(min(files - _OTHER_FILES, _MOST_CONNECTIONS), 16)


class BoundedConfig(uvicorn.Config):
    """uvicorn's configuration with `BoundedProtocol`, which overrides the given options."""

    def __init__(self, app: ASGIApp, **options: Any) -> None:
        overrides = {"http": BoundedProtocol, "ws": "none", "proxy_headers": False, "access_log": False}
        drain = options.get("timeout_graceful_shutdown") or _SECONDS_TO_DRAIN
        super().__init__(app, **{**options, **overrides, "timeout_graceful_shutdown": drain})


class BoundedProtocol(HttpToolsProtocol):
    """The protocol of one connection."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._refusal: Response | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._discarding = self._draining = False
        # State of the request being received; before its headers are complete, `_raw_bytes` counts the bytes of its head.
        self._begun = self._in_body = False
        self._requests = self._raw_bytes = self._body_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the deadline for the head; refuse the connection if there are too many."""
        super().connection_made(transport)
        if len(self.connections) > most_connections():
            self._refuse(_FULL)
        else:
            self._arm(SECONDS_FOR_HEAD, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel all deadlines."""
        self._disarm()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the received bytes; refuse a head or framing that is too long."""
        if self._discarding:
            return
        self._unset_keepalive_if_required()
        before = self._requests
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # the request is handled as HTTP/1.1
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
        """Reset the counters for a new request."""
        self._begun = True
        self._raw_bytes = self._body_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Pass the request to the application, unless its head is too long: the parser may have read it all at once."""
        self._disarm()
        length = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if length > LONGEST_HEAD or len(self.headers) > MOST_HEADERS:
            self._refusal = _LONG_HEAD
            raise ValueError(_LONG_HEAD.status_code)  # the parser converts it to an HttpParserError
        self._in_body = True
        super().on_headers_complete()
        if self._draining:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Count the bytes of the body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Reset the state for the next request."""
        self._begun = self._in_body = False
        self._raw_bytes = 0
        self._requests += 1
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Continue with the next request; if the body of this one is incomplete, it was refused, and its rest is discarded."""
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
        """Pause until the client reads the response; abort the connection if it does not within the limit."""
        super().pause_writing()
        self._unread = self._unread or self.loop.call_later(SECONDS_TO_READ_ANSWER, self.transport.abort)

    def resume_writing(self) -> None:
        """Continue, since the client reads; cancel the deadline."""
        if self._unread:
            self._unread.cancel()
            self._unread = None
        super().resume_writing()

    def shutdown(self) -> None:
        """Respond to the current request, or wait briefly for one in transit; then close."""
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
        """Close the connection; abort it if the client does not read the last response within the limit."""
        self.transport.close()
        self._arm(SECONDS_TO_READ_ANSWER, self.transport.abort)

    def _head_is_late(self) -> None:
        if not self._is_idle():  # the previous request is still in progress
            self._arm(SECONDS_FOR_HEAD, self._head_is_late)
        elif self._begun:
            self._refuse(_SLOW_HEAD)
        else:
            self.timeout_keep_alive_handler()

    def _refuse(self, refusal: Response) -> None:
        """Send the response `refusal` and close; abort without it if responses to earlier requests are in progress."""
        self._disarm()
        if self._is_idle():
            self._write(refusal)
            self._discard_rest()
        elif self._in_body and not self.pipeline and not self.cycle.response_started:
            self.cycle.disconnected = True  # stops the application from reading or writing
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
