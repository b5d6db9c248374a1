"""Comparison of instants with the present, with a tolerance for clock skew."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

#: Tolerated clock skew: an instant further ahead than this counts as an error.
TOLERATED_AHEAD = timedelta(minutes=5)


def is_ahead(instant: datetime, now: datetime) -> bool:
    """Return whether `instant` is in the future of `now`, by more than the tolerated clock skew."""
    return instant > now + TOLERATED_AHEAD


def future_fault(instant: datetime, now: datetime) -> str:
    """Compose the error message for an instant in the future of `now`."""
    return f"{instant:%Y-%m-%d %H:%M} is in the future; the clock says {now:%Y-%m-%d %H:%M} UTC"
