"""Errors as RFC 9457 problem details: one shape and media type for all error responses.

The extension member `error`, with `code` and `message`, is the error format of the first API version.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from core.errors import BundleError, DatabaseError, PantheraError, RequestError, StaleStateError
from serving.wire.refusals import NotAvailable, Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

MEDIA_TYPE = "application/problem+json"
#: Prefix of the URI that identifies a kind of problem; `error.code` follows it.
TYPE_PREFIX = "urn:problem-type:pantherapredict:"
#: Value of the Retry-After header in seconds, for errors where a retry can help.
RETRY_AFTER_SECONDS = 2
_RETRIED = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


def problem_of(error: PantheraError, *, extensions: Mapping[str, Any] | None = None) -> Response:
    """Return the problem response for an error; `extensions` adds members to the top level.

    A response of status 429 or 503 has the header Retry-After.
    """
    message = public_message(error)
    content = {
        "type": f"{TYPE_PREFIX}{error.code}",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": message,
        "error": error_member(error.code, message, error.details),
        **(extensions or {}),
    }
    retry = {"Retry-After": str(RETRY_AFTER_SECONDS)} if error.status in _RETRIED else {}
    headers = error.headers if isinstance(error, Refusal) else None
    body = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return Response(body, error.status, {**retry, **(headers or {})}, media_type=MEDIA_TYPE)


def error_member(code: str, message: str, details: Mapping[str, object] | None = None) -> dict[str, object]:
    """Return the member `error` of a response, or of one of its entities."""
    return {"code": code, "message": message, **(details or {})}


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
