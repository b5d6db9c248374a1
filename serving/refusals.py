"""Why a request is not answered: an exception for each kind, with its HTTP status and a word for machines."""

from __future__ import annotations

from core.errors import PantheraError, RequestError


class Refusal(RequestError):  # noqa: N818 - the word of this service for it
    """A request that is answered with `status` and the problem details of `serving.problems`."""

    status = 422
    code = "invalid"


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


class NotAvailable(PantheraError):  # noqa: N818
    """Nothing is wrong with the request: the service cannot answer now; answered with 503."""
