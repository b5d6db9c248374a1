"""Errors as RFC 9457 problem details: one shape and media type for all error responses.

The extension member `error`, with `code` and `message`, is the error format of the first API version.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from core.errors import BundleError, DatabaseError, PantheraError, RequestError, StaleStateError
from core.experiment.prediction_log import OutcomeConflictError
from feature_repo.online.push import PushConflictError
from serving.wire.refusals import NotAvailable, Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

MEDIA_TYPE = "application/problem+json"
#: Prefix of the URI that identifies a kind of problem; `error.code` follows it.
TYPE_PREFIX = "urn:problem-type:pantherapredict:"
#: Value of the Retry-After header in seconds, for errors where a retry can help.
RETRY_AFTER_SECONDS = 2
_RETRIED = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


def problem(
    status: int,
    code: str,
    message: str,
    *,
    headers: Mapping[str, str] | None = None,
    error: Mapping[str, Any] | None = None,
    extensions: Mapping[str, Any] | None = None,
) -> Response:
    """Return a problem response; `error` adds members to the member `error`, `extensions` to the top level.

    A response of status 429 or 503 has the header Retry-After.
    """
    content = {
        "type": f"{TYPE_PREFIX}{code}",
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "detail": message,
        "error": {"code": code, "message": message, **(error or {})},
        **(extensions or {}),
    }
    retry = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status in _RETRIED else {}
    body = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return Response(body, status, {**retry, **(headers or {})}, media_type=MEDIA_TYPE)


def problem_of(error: PantheraError) -> Response:
    """Return the problem response for a PantheraError."""
    message = public_message(error)
    if isinstance(error, Refusal):
        return problem(error.status, error.code, message, headers=error.headers)
    if isinstance(error, OutcomeConflictError):
        return problem(HTTPStatus.CONFLICT, "conflict", message, error={"outcome_ids": error.outcome_ids})
    if isinstance(error, PushConflictError):
        return problem(HTTPStatus.CONFLICT, "conflict", message, error={"event_ids": error.event_ids})
    if isinstance(error, BundleError):
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "release_broken", message)
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", message)


def public_message(error: PantheraError) -> str:
    """Return the message for clients, without paths, addresses or messages of the database; the log has those."""
    if isinstance(error, (RequestError, NotAvailable, StaleStateError)):
        return str(error)
    if isinstance(error, BundleError):
        return "the release cannot answer; the service's log says why; promote another release"
    if isinstance(error, DatabaseError):
        return (
            "the database cannot be reached, does not answer in time, or refuses the work; the service's log says why; "
            "it is tried again with every request"
        )
    return "the service cannot answer now; its log says why"
