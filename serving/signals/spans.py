"""The export of requests as OpenTelemetry spans, by OTLP over HTTP in JSON; a thread sends them, so no request waits.

See https://opentelemetry.io/docs/specs/otlp/#otlphttp. A collector that does not answer costs spans, never requests.
"""

from __future__ import annotations

import json
import logging
import threading
import urllib.request
from collections import deque
from time import monotonic, perf_counter, time_ns
from typing import TYPE_CHECKING, Any, NamedTuple

from core.errors import PantheraError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from serving.signals.trace import Trace

_LOGGER = logging.getLogger(__name__)
_SCOPE = {"name": "pantherapredict.serving"}
_KIND_INTERNAL, _KIND_SERVER = 1, 2
_STATUS_ERROR = 2
_FIRST_SERVER_ERROR = 500
#: Finished requests that wait to be sent; the oldest are dropped beyond it.
_MOST_WAITING = 2_000
#: Requests a second that are exported although their caller sent no trace context.
_MOST_ROOTS = 10
_SECONDS_BETWEEN_SENDS = 1.0
_SECONDS_TO_SEND = 2.0


class _Finished(NamedTuple):
    trace: Trace
    name: str
    attributes: Mapping[str, str | int]
    status: int
    ended: float


def traces_url(url: str) -> str:
    """Return the address that spans are posted to, for the base URL of a collector.

    Raises
    ------
    PantheraError
        If it is not an http or https URL.

    """
    if not url.startswith(("http://", "https://")):
        raise PantheraError("PANTHERA_OTLP_URL is not an http or https URL; expected one like http://collector:4318")
    return url.rstrip("/") + "/v1/traces"


class SpanExporter:
    """Sends the spans of finished requests in the background."""

    def __init__(self, url: str, service: str) -> None:
        self._url, self._service = traces_url(url), service
        self._waiting: deque[_Finished] = deque(maxlen=_MOST_WAITING)
        self._roots, self._second = 0, 0
        self._failed = False
        # Difference between the clock of `perf_counter` and Unix time.
        self._epoch_ns = time_ns() - int(perf_counter() * 1e9)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="span-exporter", daemon=True)
        self._thread.start()

    def finish(self, trace: Trace, name: str, attributes: Mapping[str, str | int], status: int) -> None:
        """Queue the spans of a request that ends now: if its caller records the trace, or as one of a few roots a second."""
        if trace.sampled or (trace.parent_id is None and self._takes_root()):
            self._waiting.append(_Finished(trace, name, attributes, status, perf_counter()))

    def _takes_root(self) -> bool:
        second = int(monotonic())
        if second != self._second:
            self._second, self._roots = second, 0
        self._roots += 1
        return self._roots <= _MOST_ROOTS

    def close(self) -> None:
        """Send what waits, and stop."""
        self._stopping.set()
        self._thread.join(2 * _SECONDS_TO_SEND)

    def _run(self) -> None:
        while not self._stopping.wait(_SECONDS_BETWEEN_SENDS):
            self._send()
        self._send()

    def _send(self) -> None:
        finished = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not finished:
            return
        spans = [span for request in finished for span in self._spans(request)]
        request = urllib.request.Request(  # noqa: S310 - `traces_url` has checked the scheme
            self._url, json.dumps(self._body(spans)).encode(), {"Content-Type": "application/json"}
        )
        try:
            urllib.request.urlopen(request, timeout=_SECONDS_TO_SEND).close()  # noqa: S310 - see above
            self._failed = False
        except OSError as error:
            if not self._failed:
                _LOGGER.warning("spans cannot be sent (%s); they are dropped until the collector answers", error)
            self._failed = True

    def _body(self, spans: list[dict[str, Any]]) -> dict[str, Any]:
        resource = {"attributes": [_attribute("service.name", self._service)]}
        return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": _SCOPE, "spans": spans}]}]}

    def _spans(self, request: _Finished) -> Iterator[dict[str, Any]]:
        """Yield the span of the request, then one for each of its stages."""
        trace = request.trace
        root = self._span(trace, trace.span_id, request.name, (trace.began, request.ended))
        yield {
            **root,
            "kind": _KIND_SERVER,
            **({"parentSpanId": trace.parent_id} if trace.parent_id else {}),
            "attributes": [_attribute(name, value) for name, value in request.attributes.items()],
            "status": {"code": _STATUS_ERROR} if request.status >= _FIRST_SERVER_ERROR else {},
        }
        for index, lap in enumerate(trace.laps(), 1):
            span = self._span(trace, _child_id(trace.span_id, index), lap.stage, (lap.began, lap.ended))
            yield {**span, "kind": _KIND_INTERNAL, "parentSpanId": trace.span_id}

    def _span(self, trace: Trace, span_id: str, name: str, times: tuple[float, float]) -> dict[str, Any]:
        began, ended = (str(self._epoch_ns + int(time * 1e9)) for time in times)
        return {
            "traceId": trace.trace_id,
            "spanId": span_id,
            "name": name,
            "startTimeUnixNano": began,
            "endTimeUnixNano": ended,
        }


def _child_id(span_id: str, index: int) -> str:
    """Return the id of the span of stage number `index`; ids are random, so that a sum is as distinct as another id."""
    return f"{(int(span_id, 16) + index) % 2**64:016x}"


def _attribute(name: str, value: str | int) -> dict[str, Any]:
    typed = {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}
    return {"key": name, "value": typed}
