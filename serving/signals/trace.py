"""The trace of a request: its id, the W3C trace context that it came with, and the times of its stages."""

from __future__ import annotations

import re
from contextvars import ContextVar
from dataclasses import dataclass, field
from random import Random
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.requests import Request

REQUEST_ID_HEADER = b"x-request-id"
_TRACE_PARENT = b"traceparent"
#: Key of an ASGI scope that holds the request's trace.
SCOPE_KEY = "panthera.trace"
#: Ids identify, they protect nothing; the system's generator would cost a call of the kernel.
_RNG = Random()  # noqa: S311
_REQUEST_ID = re.compile(rb"[\w.:/+=@-]{1,128}", re.ASCII)
#: https://www.w3.org/TR/trace-context/#traceparent-header; a later version may append fields.
_VERSION_0 = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_LATER = re.compile(rb"(?!ff|00)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")


class Lap(NamedTuple):
    """A stage of a request, with the seconds of `perf_counter` at which it began and ended."""

    stage: str
    began: float
    ended: float


@dataclass(slots=True)
class Trace:
    """The trace of one request.

    Attributes
    ----------
    request_id : the caller's, or else the trace id.
    parent_id : id of the caller's span; None if the caller sent no trace context.
    sampled : whether the caller records its trace.
    ends : the completed stages in order, each with the time of `perf_counter` at which it ended; see `laps`.
    key_id : id of the API key that the request was allowed by.
    subject : the caller that its token names, if it came with one.

    """

    request_id: str
    trace_id: str
    span_id: str
    parent_id: str | None = None
    sampled: bool = False
    ends: list[tuple[str, float]] = field(default_factory=list)
    began: float = field(default_factory=perf_counter)
    key_id: str | None = None
    subject: str | None = None

    def lap(self, stage: str) -> None:
        """Record that `stage` ends now; it began when the previous one ended."""
        self.ends.append((stage, perf_counter()))

    def laps(self) -> list[Lap]:
        """Return the completed stages; the first began with the request."""
        began = [self.began, *(ended for _, ended in self.ends)]
        return [Lap(stage, start, ended) for start, (stage, ended) in zip(began, self.ends, strict=False)]


#: The trace of the request that the running code works for, for the log.
CURRENT: ContextVar[Trace | None] = ContextVar("panthera_trace", default=None)


def trace_of(headers: Iterable[tuple[bytes, bytes]]) -> Trace:
    """Return the trace of a request; an id that is not valid, or comes twice, is replaced by a random one."""
    ids = f"{_RNG.getrandbits(192):048x}"
    sent_id = parent = None
    for name, value in headers:
        if name == REQUEST_ID_HEADER:
            sent_id = value if sent_id is None else b""
        elif name == _TRACE_PARENT:
            parent = value if parent is None else b""
    trace_id, parent_id, sampled = _parent(parent) or (ids[:32], None, False)
    request_id = sent_id.decode() if sent_id and _REQUEST_ID.fullmatch(sent_id) else trace_id
    return Trace(request_id, trace_id, ids[32:], parent_id, sampled)


def trace_in(request: Request) -> Trace | None:
    """Return the trace of `request`, if it came through the application."""
    found: Trace | None = request.scope.get(SCOPE_KEY)
    return found


def lap(request: Request, stage: str) -> None:
    """Record that `stage` of `request` ends now."""
    if trace := trace_in(request):
        trace.lap(stage)


def _parent(value: bytes | None) -> tuple[str, str, bool] | None:
    """Return trace id, span id and sampled flag of a header `traceparent`; None if it is not valid."""
    found = value and (_VERSION_0.fullmatch(value) or _LATER.fullmatch(value))
    if not found or not found[1].strip(b"0") or not found[2].strip(b"0"):
        return None
    return found[1].decode(), found[2].decode(), bool(int(found[3], 16) & 1)
