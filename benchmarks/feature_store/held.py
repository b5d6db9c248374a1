"""The assertion of checks under faults: it names what does not hold."""

from __future__ import annotations


class NotHeld(Exception):  # noqa: N818
    """Raised when a check does not hold."""


def holds(condition: object, what: str) -> None:
    """Raise NotHeld with the message `what` unless `condition`."""
    if not condition:
        raise NotHeld(what)
