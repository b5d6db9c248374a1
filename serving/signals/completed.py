"""What is done when a request is complete: metrics, and a log line and spans if the settings ask for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from serving.signals.log_lines import log_request

if TYPE_CHECKING:
    from collections.abc import Iterable

    from serving.signals.spans import SpanExporter
    from serving.signals.trace import Trace

_OK = 200
_PREDICT = "/v1/predict"
#: Checks of the process, which are logged only if they fail.
_PROBES = frozenset({"/livez", "/healthz", "/readyz"})


class _Meters(Protocol):
    def request(self, route: str, status: int, seconds: float) -> None: ...
    def stages(self, began: float, ends: Iterable[tuple[str, float]]) -> None: ...


class CompletedRequests:
    """The records of completed requests; `route` is a template, never what a caller sent."""

    def __init__(self, meters: _Meters, exporter: SpanExporter | None = None, *, log: bool = False) -> None:
        self._meters, self._exporter, self._log = meters, exporter, log

    def record(self, trace: Trace, method: str, route: str, status: int) -> None:
        """Record a request that is complete now."""
        trace.lap("respond")
        seconds = trace.ends[-1][1] - trace.began
        self._meters.request(route, status, seconds)
        if route == _PREDICT and status == _OK:
            self._meters.stages(trace.began, trace.ends)
        if self._exporter:
            attributes: dict[str, str | int] = {
                "http.request.method": method,
                "http.route": route,
                "http.response.status_code": status,
            }
            self._exporter.finish(trace, f"{method} {route}", attributes, status)
        if self._log and not (route in _PROBES and status == _OK):
            fields = {"method": method, "route": route, "status": status, "seconds": round(seconds, 6)}
            caller = {"key": trace.key_id} if trace.key_id else {"subject": trace.subject} if trace.subject else {}
            log_request({**fields, **caller})
