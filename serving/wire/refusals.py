"""Why a request is not answered: an exception for each kind, with its HTTP status and a word for machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import PantheraError, RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping


class Refusal(RequestError):  # noqa: N818 - the word of this service for it
    """A request that is answered with `status` and the problem details of `serving.wire.problems`."""

    status = 422
    code = "invalid"
    headers: Mapping[str, str] | None = None


class NotJson(Refusal):
    """The body is not JSON."""

    status = 400
    code = "not_json"


class TooLarge(Refusal):
    """The body is longer than the service reads."""

    status = 413
    code = "too_large"


class NotSupported(Refusal):
    """The body says that it is something else than JSON."""

    status = 415
    code = "unsupported_media_type"


class TooMany(Refusal):
    """The service has as much of this kind to do as it takes."""

    status = 429
    code = "too_many_requests"


class TooSlow(Refusal):
    """The body did not arrive in time."""

    status = 408
    code = "timeout"


class UnknownPath(Refusal):
    """No route of the service has this path."""

    status = 404
    code = "unknown_path"


class UnknownMethod(Refusal):
    """The route has another method."""

    status = 405
    code = "unknown_method"

    def __init__(self, message: str, allowed: str) -> None:
        super().__init__(message)
        self.headers = {"Allow": allowed}


class UnknownHost(Refusal):
    """The request names a host that is not this service."""

    status = 421
    code = "unknown_host"


class NotAvailable(PantheraError):  # noqa: N818
    """Nothing is wrong with the request: the service cannot answer now; answered with 503."""


class ReleaseFault(NotAvailable):
    """A release that the ledger names cannot answer; the cause, which may name paths, is for the log."""
