"""The HTTP surface: all of it is the routes below, every other path is unknown, and every error has one shape."""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, TypeAlias

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request

from core.errors import PantheraError, RequestError
from core.plan.text import read_sections
from core.settings import read_settings
from serving.endpoints import Endpoints
from serving.metrics import UNKNOWN_ROUTE, Meters
from serving.respond import json_response
from serving.runtime import Runtime
from serving.wire.bodies import Bodies
from serving.wire.hosts import parse_allowed_hosts
from serving.wire.openapi import describe
from serving.wire.problems import problem, problem_of
from serving.wire.refusals import NotAvailable, UnknownHost, UnknownMethod, UnknownPath

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from pathlib import Path

    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from core.settings import Settings

Handler: TypeAlias = "Callable[[Endpoints, Request], Awaitable[Response]]"

_LOGGER = logging.getLogger(__name__)
_SECONDS_OF_SILENCE = 10.0
#: From the end of the headers to the answer.
_SECONDS_TO_ANSWER = 5.0
_LONGEST_SHOWN = 60
_METRICS = "/metrics"

#: Each path has one method; a path that takes GET takes HEAD too.
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
    """Read the clock."""
    return datetime.now(UTC)


def create_app(
    settings: Callable[[], Settings] = read_settings,
    clock: Callable[[], datetime] = now,
    started: Callable[[], None] = lambda: None,
    metrics: Path | None = None,
) -> Starlette:
    """Make the application; settings and plan are read when it starts, and `started` is called once it has.

    The running application has the attributes `state.runtime` and `state.meters`. The metrics of a worker are written
    to the folder `metrics`, which it shares with other workers.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        found = settings()
        plan = read_sections(found.plan)
        app.state.hosts = parse_allowed_hosts(found.allowed_hosts)
        app.state.runtime = Runtime(found, plan, clock)
        app.state.meters = Meters(metrics)
        app.state.reports = _Reports()
        bodies, openapi = Bodies(), json_response(describe(plan))
        app.state.endpoints = Endpoints(app.state.runtime, app.state.meters, clock, bodies, openapi)
        await app.state.runtime.start()
        started()
        try:
            yield
        finally:
            bodies.close()
            await app.state.runtime.stop()

    return Starlette(middleware=[Middleware(_Surface)], lifespan=lifespan)


class _Surface:
    """Answers every request, whatever its path and method; the router behind it has no route, and only starts and stops."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request and count it; scrapes are not counted, so that the gauges tell of the others."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, meters = scope["path"], scope["app"].state.meters
        if path == _METRICS:
            await self._respond(scope, receive, send)
            return
        began = perf_counter()
        with meters.in_progress():
            status = await self._respond(scope, receive, send)
        meters.request(path if path in ROUTES else UNKNOWN_ROUTE, status, perf_counter() - began)

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> int:
        request = Request(scope, receive, send)
        response = await _answered(request)
        await response(scope, receive, send)
        return response.status_code


async def _answered(request: Request) -> Response:
    """Return what the route's handler answers, or the error that it raises."""
    try:
        _check_host(request)
        async with asyncio.timeout(_SECONDS_TO_ANSWER):
            return await _handler(request)(request.app.state.endpoints, request)
    except PantheraError as error:
        request.app.state.reports.log(error)
        return problem_of(error)
    except ClientDisconnect:
        return problem(400, "disconnected", "the client went away before its body was complete")
    except TimeoutError:
        return problem(503, "timeout", f"there was no answer within {_SECONDS_TO_ANSWER:g} s")
    except Exception:
        _LOGGER.exception("an unforeseen error")
        return problem(500, "internal", "an unforeseen error, which is in the service's log")


def _check_host(request: Request) -> None:
    hosts = request.headers.getlist("host")
    local_address, _ = request.scope.get("server") or (None, None)
    if len(hosts) != 1 or not request.app.state.hosts.allow(hosts[0], local_address):
        raise UnknownHost(
            f"found {', '.join(map(repr, hosts))[:_LONGEST_SHOWN] or 'nothing'} as the request's Host; expected this machine's "
            "address, or a name of PANTHERA_ALLOWED_HOSTS"
        )


def _handler(request: Request) -> Handler:
    path = request.scope["path"]
    if path not in ROUTES:
        raise UnknownPath("this service has no such path; /openapi.json describes those that it has")
    method, handler = ROUTES[path]
    if request.method != method and (request.method, method) != ("HEAD", "GET"):
        raise UnknownMethod(f"found the method {request.method} for {path}; expected {method}", method)
    return handler


class _Reports:
    """Logs what responses leave out; the same again only after a while, since an outage answers every request with it."""

    def __init__(self) -> None:
        self._last: tuple[str, float] = ("", -math.inf)

    def log(self, error: PantheraError) -> None:
        """Log `error`, unless it is a refusal, which leaves out nothing."""
        message, now = str(error), monotonic()
        before, at = self._last
        if isinstance(error, (RequestError, NotAvailable)) or (message == before and now < at + _SECONDS_OF_SILENCE):
            return
        self._last = (message, now)
        _LOGGER.error("%s", message)
