"""The HTTP surface: an ASGI application whose routes are `/v1/...`, and in which every error has one shape."""

from __future__ import annotations

import logging
import math
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, TypeAlias

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Route

from core.errors import PantheraError, RequestError
from core.plan_text import read_sections
from core.settings import read_settings
from serving.bodies import Bodies
from serving.endpoints import Endpoints
from serving.metrics import Meters
from serving.problems import problem, problem_of
from serving.refusals import NotAvailable
from serving.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from core.settings import Settings

Handler: TypeAlias = "Callable[[Endpoints, Request], Awaitable[Response]]"

_LOGGER = logging.getLogger(__name__)
_SECONDS_OF_SILENCE = 10.0


def now() -> datetime:
    """Read the clock."""
    return datetime.now(UTC)


def create_app(
    settings: Callable[[], Settings] = read_settings,
    clock: Callable[[], datetime] = now,
    started: Callable[[], None] = lambda: None,
) -> Starlette:
    """Make the application; settings and plan are read when it starts, and `started` is called once it has.

    The running application has the attributes `state.runtime` and `state.meters`.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        found = settings()
        app.state.runtime = Runtime(found, read_sections(found.plan), clock)
        app.state.meters = Meters()
        app.state.reports = _Reports()
        bodies = Bodies()
        app.state.endpoints = Endpoints(app.state.runtime, app.state.meters, clock, bodies)
        await app.state.runtime.start()
        started()
        try:
            yield
        finally:
            bodies.close()
            await app.state.runtime.stop()

    return Starlette(
        routes=[
            _route("POST", "/v1/predict", Endpoints.predict),
            _route("GET", "/v1/features", Endpoints.features),
            _route("POST", "/v1/features/push", Endpoints.push),
            _route("POST", "/v1/outcomes", Endpoints.outcomes),
            _route("GET", "/v1/cohorts", Endpoints.cohorts),
            _route("GET", "/v1/status", Endpoints.status),
            _route("GET", "/readyz", Endpoints.ready),
        ],
        exception_handlers={HTTPException: _http_error},
        lifespan=lifespan,
    )


def _route(method: str, path: str, handler: Handler) -> Route:
    async def endpoint(request: Request) -> Response:
        began = perf_counter()
        response = await _answered(handler, request)
        request.app.state.meters.request(path, response.status_code, perf_counter() - began)
        return response

    return Route(path, endpoint, methods=[method])


async def _answered(handler: Handler, request: Request) -> Response:
    """Answer with what `handler` says, or with the error that it raises."""
    try:
        return await handler(request.app.state.endpoints, request)
    except PantheraError as error:
        request.app.state.reports.log(error)
        return problem_of(error)
    except ClientDisconnect:
        return problem(400, "disconnected", "the client went away before its body was complete")
    except Exception:
        _LOGGER.exception("an unforeseen error")
        return problem(500, "internal", "an unforeseen error, which is in the service's log")


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


async def _http_error(_: Request, error: Exception) -> Response:
    """Answer what the router itself refuses, such as a method that a route does not have."""
    if not isinstance(error, HTTPException):
        raise error
    return problem(error.status_code, "http", error.detail, headers=error.headers)
