"""The ASGI application: the routes of the service, the check of the Host header, and errors as problem details."""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import lru_cache
from time import monotonic
from typing import TYPE_CHECKING, TypeAlias

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request

from core.errors import PantheraError, RequestError
from core.plan.text import read_sections
from core.settings import read_settings
from serving.access.guard import Guard
from serving.access.rate_limits import RateLimits
from serving.access.token_keys import TokenKeys
from serving.access.tokens import TokenGuard, TokenTerms
from serving.endpoints import Endpoints
from serving.gauges import StateGauges
from serving.metrics import UNKNOWN_ROUTE, Meters
from serving.respond import json_response
from serving.runtime import Runtime
from serving.signals.completed import CompletedRequests
from serving.signals.log_lines import log_as_json
from serving.signals.spans import SpanExporter
from serving.signals.trace import CURRENT, REQUEST_ID_HEADER, SCOPE_KEY, lap, trace_of
from serving.wire.bodies import Bodies
from serving.wire.hosts import parse_allowed_hosts
from serving.wire.openapi import describe
from serving.wire.problems import problem_of
from serving.wire.refusals import (
    Disconnected,
    InternalFault,
    NotAvailable,
    TimedOut,
    UnknownHost,
    UnknownMethod,
    UnknownPath,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from pathlib import Path

    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

    from core.plan.plan import Plan
    from core.settings import Settings

Handler: TypeAlias = "Callable[[Endpoints, Request], Awaitable[Response]]"

_LOGGER = logging.getLogger(__name__)
#: An error that repeats within this time is logged once.
_SECONDS_BETWEEN_REPEATS = 10.0
#: Time limit from the end of the headers to the response.
_SECONDS_TO_ANSWER = 5.0
_LONGEST_SHOWN = 60
_METRICS = "/metrics"

#: Method and handler by path; a path with GET also accepts HEAD.
ROUTES: Mapping[str, tuple[str, Handler]] = {
    "/v1/predict": ("POST", Endpoints.predict),
    "/v1/features": ("GET", Endpoints.features),
    "/v1/features/push": ("POST", Endpoints.push),
    "/v1/outcomes": ("POST", Endpoints.outcomes),
    "/v1/cohorts": ("GET", Endpoints.cohorts),
    "/v1/status": ("GET", Endpoints.status),
    "/livez": ("GET", Endpoints.alive),
    "/healthz": ("GET", Endpoints.alive),
    "/readyz": ("GET", Endpoints.ready),
    _METRICS: ("GET", Endpoints.metrics),
    "/openapi.json": ("GET", Endpoints.description),
    "/docs.json": ("GET", Endpoints.description),
}


def now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def create_app(
    settings: Callable[[], Settings] = read_settings,
    clock: Callable[[], datetime] = now,
    started: Callable[[], None] = lambda: None,
    metrics: Path | None = None,
) -> Starlette:
    """Return the application; it reads settings and plan when it starts, then calls `started`.

    The running application has the attributes `state.runtime` and `state.meters`. A worker writes its metrics, and what the
    callers of keys with a rate limit have used, to the folder `metrics`, which all workers share.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        current = settings()
        plan = read_sections(current.plan)
        app.state.hosts = parse_allowed_hosts(current.allowed_hosts)
        app.state.runtime = Runtime(current, plan, clock)
        meters = app.state.meters = Meters(metrics, plan.project.problem)
        exporter = SpanExporter(current.otlp_url, plan.project.name) if current.otlp_url else None
        app.state.completed = CompletedRequests(meters, exporter, log=current.log == "json")
        terms = TokenTerms.of(current)
        tokens = TokenGuard(terms, TokenKeys(terms.source), clock) if terms else None
        app.state.guard = Guard(app.state.runtime.keys, RateLimits(metrics), clock, tokens)
        app.state.errors = _ErrorLog()
        bodies = Bodies()
        app.state.endpoints = Endpoints(
            app.state.runtime, app.state.meters, clock, bodies, _description_of(plan, terms)
        )
        await app.state.runtime.start()
        started()
        if current.log == "json":
            log_as_json()
        app.state.gauges = StateGauges(app.state.runtime, meters)
        background = [asyncio.create_task(app.state.gauges.follow())]
        if tokens:
            background.append(asyncio.create_task(tokens.keys.follow()))
        try:
            yield
        finally:
            for task in background:
                task.cancel()
            bodies.close()
            if exporter:
                await asyncio.to_thread(exporter.close)
            await app.state.runtime.stop()

    return Application(lifespan=lifespan)


def _description_of(plan: Plan, terms: TokenTerms | None) -> Callable[[tuple[str, ...]], bytes]:
    """Return a function that composes the API description with the names of the classes, which releases may bring."""
    issuer = terms.issuer if terms else None
    return lru_cache(maxsize=2)(lambda classes: bytes(json_response(describe(plan, classes, issuer)).body))


class Application(Starlette):
    """The application: it handles every HTTP request itself, without Starlette's layers; Starlette handles the lifespan."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request, count it in the metrics, log it and export it; scrapes are not counted."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        scope["app"] = self
        path, state = scope["path"], self.state
        trace = scope[SCOPE_KEY] = trace_of(scope["headers"])
        CURRENT.set(trace)
        if path == _METRICS:
            await self._respond(scope, receive, send)
            return
        with state.meters.in_progress():
            status = await self._respond(scope, receive, send)
        state.completed.record(trace, scope["method"], path if path in ROUTES else UNKNOWN_ROUTE, status)

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> int:
        request = Request(scope, receive, send)
        response = await _response(request)
        response.raw_headers.append((REQUEST_ID_HEADER, scope[SCOPE_KEY].request_id.encode()))
        await response(scope, receive, send)
        return response.status_code


async def _response(request: Request) -> Response:
    """Return the response of the route's handler, or a problem response for the error that it raises."""
    try:
        _check_host(request)
        _check_path(request)
        await request.app.state.guard.check(request)
        lap(request, "authenticate")
        async with asyncio.timeout(_SECONDS_TO_ANSWER):
            return await _handler(request)(request.app.state.endpoints, request)
    except PantheraError as error:
        request.app.state.errors.log(error)
        return problem_of(error)
    except ClientDisconnect:
        return problem_of(Disconnected("the client disconnected before its body was complete"))
    except TimeoutError:
        return problem_of(TimedOut(f"there was no answer within {_SECONDS_TO_ANSWER:g} s; try again"))
    except Exception:
        _LOGGER.exception("unexpected error")
        return problem_of(InternalFault("an unexpected error; see the service's log"))


def _check_host(request: Request) -> None:
    hosts = [value.decode("latin-1") for name, value in request.scope["headers"] if name == b"host"]
    local_address, _ = request.scope.get("server") or (None, None)
    if len(hosts) != 1 or not request.app.state.hosts.allow(hosts[0], local_address):
        raise UnknownHost(
            f"found {', '.join(map(repr, hosts))[:_LONGEST_SHOWN] or 'nothing'} as the request's Host; expected this machine's "
            "address, or a name of PANTHERA_ALLOWED_HOSTS"
        )


def _check_path(request: Request) -> None:
    if request.scope["path"] not in ROUTES:
        raise UnknownPath("this service has no such path; /openapi.json describes those that it has")


def _handler(request: Request) -> Handler:
    path = request.scope["path"]
    method, handler = ROUTES[path]
    if request.method != method and (request.method, method) != ("HEAD", "GET"):
        raise UnknownMethod(f"found the method {request.method} for {path}; expected {method}", method)
    return handler


class _ErrorLog:
    """Logs the details that responses leave out; a repeated error is logged once in 10 s, since an outage fails every one."""

    def __init__(self) -> None:
        self._last: tuple[str, float] = ("", -math.inf)

    def log(self, error: PantheraError) -> None:
        """Log `error`, unless its response has the whole message or it was logged shortly before."""
        message, now = str(error), monotonic()
        last_message, last_time = self._last
        is_repeat = message == last_message and now < last_time + _SECONDS_BETWEEN_REPEATS
        if isinstance(error, (RequestError, NotAvailable)) or is_repeat:
            return
        self._last = (message, now)
        _LOGGER.error("%s", message)
