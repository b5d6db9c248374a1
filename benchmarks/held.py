"""What a check says that does not hold."""

from __future__ import annotations


class NotHeld(Exception):  # noqa: N818
    """A check did not hold."""


def holds(condition: object, what: str) -> None:
    """Refuse to go on unless `condition`."""
    if not condition:
        raise NotHeld(what)
