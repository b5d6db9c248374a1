"""What is ahead of the clock: instants that have not come, beyond what two clocks may differ."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

#: Clocks differ; what is later than this after our own is a mistake.
TOLERATED_AHEAD = timedelta(minutes=5)


def is_ahead(instant: datetime, now: datetime) -> bool:
    """Return whether `instant` has not come at `now`."""
    return instant > now + TOLERATED_AHEAD


def not_come(instant: datetime, now: datetime) -> str:
    """Write what is wrong with an instant that is ahead of the clock, which says `now`."""
    return f"{instant:%Y-%m-%d %H:%M} is in the future; the clock says {now:%Y-%m-%d %H:%M} UTC"
