"""The one family of errors whose messages are written for the person who runs the platform."""


class PantheraError(Exception):
    """Something the user can act on: the message says what was found, expected, where, and what to do."""


class PlanError(PantheraError):
    """The plan does not say what it must, or says what it may not."""


class SourceError(PantheraError):
    """A source is missing, unreachable, corrupt, or not of the shape that the plan declares."""


class QualityError(PantheraError):
    """More rows of a source were rejected than the plan allows."""


class DatabaseError(PantheraError):
    """PostgreSQL cannot be started, reached or understood."""


class DatabaseTimeoutError(DatabaseError):
    """PostgreSQL did not do something in the time that it had; asked again at once, it would not either."""


class StaleStateError(PantheraError):
    """A receipt names something that is no longer there: a table, a registry entry, a release."""


class BundleError(PantheraError):
    """A bundle is incomplete, altered, or of a format that this version cannot read."""


class ReleaseError(PantheraError):
    """A release cannot have the role that it was to be given."""


class RequestError(PantheraError):
    """A request to the service is malformed; answered with 4xx and the message."""
