"""The exception family of the platform; its messages are written for the person who runs it."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NO_DETAILS: Mapping[str, object] = MappingProxyType({})


class PantheraError(Exception):
    """An error that the user can act on: the message names what was found, expected, where, and what to do next.

    Attributes
    ----------
    status : HTTP status of the service's response when the error ends a request.
    code : the kind of error for machines.
    details : what machines need beside code and message, in JSON types.

    """

    status = 503
    code = "unavailable"
    details: Mapping[str, object] = _NO_DETAILS


class PlanError(PantheraError):
    """The plan lacks something required or contains something not allowed; `faults` pairs each key with what is wrong."""

    def __init__(self, message: str, faults: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.faults = tuple(faults)


class SourceError(PantheraError):
    """A source is missing, unreachable, corrupt, or differs from its declaration in the plan."""


class QualityError(PantheraError):
    """More rows of a source were rejected than the plan allows."""


class DatabaseError(PantheraError):
    """PostgreSQL cannot be started or reached, or refused a statement."""


class DatabaseTimeoutError(DatabaseError):
    """PostgreSQL did not answer within the time limit; an immediate retry would most likely time out too."""


class StaleStateError(PantheraError):
    """Something that a stage made no longer exists: a table, a registry entry, a release, a receipt."""


class BundleError(PantheraError):
    """A bundle is absent, incomplete, altered, not signed by a trusted key, of an unknown format, or scores differently."""

    status = 500
    code = "release_broken"


class ReleaseError(PantheraError):
    """A release cannot be assigned the requested role."""


class RequestError(PantheraError):
    """A request to the service is refused; answered with 4xx and the message."""

    status = 422
    code = "invalid"


class ConflictError(RequestError):
    """Ids of a request already belong to other content; nothing of the request was stored.

    Parameters
    ----------
    name, ids : the name of these ids in the response, and the ids.

    """

    status = 409
    code = "conflict"

    def __init__(self, message: str, name: str, ids: Sequence[str]) -> None:
        super().__init__(message)
        self.details = {name: list(ids)}
