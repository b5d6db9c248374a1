"""The exceptions for refused requests, each with an HTTP status and a machine-readable code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import PantheraError, RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Name of the service in challenges for a key (RFC 6750).
REALM = "panthera"


class Refusal(RequestError):  # noqa: N818 - the service's name for such errors
    """A refused request; the response has `status` and the problem details of `serving.wire.problems`."""

    headers: Mapping[str, str] | None = None


class NotJson(Refusal):
    """The body is not JSON."""

    status = 400
    code = "not_json"


class TooLarge(Refusal):
    """The body exceeds a limit of size or content."""

    status = 413
    code = "too_large"


class NotSupported(Refusal):
    """The headers declare a body other than uncompressed JSON in UTF-8."""

    status = 415
    code = "unsupported_media_type"


class TooMany(Refusal):
    """The queue for requests of this kind is full."""

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


class Unauthorized(Refusal):
    """The request has no valid key; `code` is the reason."""

    status = 401

    def __init__(self, message: str, code: str, challenge: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.headers = {"WWW-Authenticate": f'Bearer realm="{REALM}"{challenge}'}


class WrongScope(Refusal):
    """The key does not have the scope of the route."""

    status = 403
    code = "wrong_scope"

    def __init__(self, message: str, scope: str) -> None:
        super().__init__(message)
        challenge = f'Bearer realm="{REALM}", error="insufficient_scope", scope="{scope}"'
        self.headers = {"WWW-Authenticate": challenge}


class RateExceeded(Refusal):
    """The key has used its requests of this second."""

    status = 429
    code = "rate_exceeded"

    def __init__(self, message: str, seconds: int) -> None:
        super().__init__(message)
        self.headers = {"Retry-After": str(seconds)}


class NotHttp(Refusal):
    """The bytes are not an HTTP/1.1 request."""

    status = 400
    code = "not_http"


class HeadTooLarge(Refusal):
    """The request line and headers exceed a limit."""

    status = 431
    code = "head_too_large"


class FramingTooLarge(Refusal):
    """Chunk extensions or trailers exceed a limit."""

    status = 400
    code = "framing_too_large"


class Disconnected(Refusal):
    """The client left before its body was complete."""

    status = 400
    code = "disconnected"


class NoPrediction(Refusal):
    """None of the entities has a prediction; `code` is the reason of the first."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class NotAvailable(PantheraError):  # noqa: N818
    """The service cannot answer now, whatever the request; the response has status 503."""


class TimedOut(NotAvailable):
    """The service did not answer within its time limit."""

    code = "timeout"


class TooManyConnections(NotAvailable):
    """As many connections are open as the process can have."""

    code = "too_many_connections"


class InternalFault(NotAvailable):
    """An error that nobody expected; the service's log has its traceback."""

    status = 500
    code = "internal"


class ReleaseFault(NotAvailable):
    """A release in the ledger cannot be used; the cause, which may contain paths, is only logged."""
