"""The HTTP surface: an ASGI application whose routes are `/v1/...`, and in which every error has one shape."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING, TypeAlias

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Route

from core.errors import BundleError, PantheraError
from core.plan_file import read_plan
from core.prediction_log import OutcomeConflictError
from core.settings import read_settings
from feature_repo.push import PushConflictError
from serving.endpoints import Endpoints
from serving.metrics import Meters
from serving.refusals import Refusal
from serving.respond import error_response, json_response
from serving.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from core.settings import Settings

Handler: TypeAlias = "Callable[[Endpoints, Request], Awaitable[Response]]"

_LOGGER = logging.getLogger(__name__)
_RETRY = {"Retry-After": "2"}


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
        app.state.runtime = Runtime(found, read_plan(found.plan), clock)
        app.state.meters = Meters()
        app.state.endpoints = Endpoints(app.state.runtime, app.state.meters, clock)
        await app.state.runtime.start()
        started()
        try:
            yield
        finally:
            await app.state.runtime.stop()

    return Starlette(
        routes=[
            _route("POST", "/v1/predict", Endpoints.predict),
            _route("GET", "/v1/features", Endpoints.features),
            _route("POST", "/v1/features/push", Endpoints.push),
            _route("POST", "/v1/outcomes", Endpoints.outcomes),
            _route("GET", "/v1/cohorts", Endpoints.cohorts),
            _route("GET", "/v1/status", Endpoints.status),
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
        return _refused(error)
    except ClientDisconnect:
        return error_response(400, "disconnected", "the client went away before its body was complete")
    except Exception:
        _LOGGER.exception("an unforeseen error")
        return error_response(500, "internal", "an unforeseen error, which is in the service's log")


def _refused(error: PantheraError) -> Response:
    if isinstance(error, Refusal):
        return error_response(error.status, error.code, str(error))
    if isinstance(error, OutcomeConflictError):
        found = {"code": "conflict", "message": str(error), "outcome_ids": error.outcome_ids}
        return json_response({"error": found}, 409)
    if isinstance(error, PushConflictError):
        found = {"code": "conflict", "message": str(error), "event_ids": error.event_ids}
        return json_response({"error": found}, 409)
    if isinstance(error, BundleError):
        _LOGGER.error("%s", error)
        return error_response(500, "release_broken", str(error))
    return error_response(503, "unavailable", str(error), _RETRY)


async def _http_error(_: Request, error: Exception) -> Response:
    """Answer what the router itself refuses, such as a method that a route does not have."""
    if not isinstance(error, HTTPException):
        raise error
    return error_response(error.status_code, "http", error.detail, error.headers)
