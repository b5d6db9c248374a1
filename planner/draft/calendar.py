"""The as-of instants of a training set, chosen from the period between a table's first rows and the end of its data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from core.errors import PantheraError

if TYPE_CHECKING:
    from planner.draft.entity_rows import Events

_MOST_INSTANTS = 24
_DAY, _WEEK, _MONTH = timedelta(days=1), timedelta(days=7), timedelta(days=30)
_LONGEST_HISTORY = timedelta(days=90)


@dataclass(frozen=True)
class Calendar:
    """The instants of the training set: first and last, their distance in days, the first of the later parts, and the cut."""

    start: datetime
    end: datetime
    every: timedelta
    validation: datetime
    test: datetime
    cut: datetime

    @property
    def cadence(self) -> str:
        """The distance between two instants, as written in a plan."""
        return f"{self.every.days} days" if self.every > _DAY else "1 day"


def make_calendar(events: Events, horizon: timedelta) -> Calendar:
    """Return the instants: the parts are a horizon apart, and the last label window ends before the end of the data.

    Raises
    ------
    PantheraError
        If the history is too short for these instants.

    """
    first, cut = _midnight(events.first), _midnight(events.last) + _DAY
    every = _MONTH if horizon >= 2 * _WEEK else _WEEK if horizon >= 3 * _DAY else _DAY
    whole = -(-horizon // _DAY) * _DAY
    end, history = cut - whole, max(every, min(whole, _LONGEST_HISTORY))
    instants = min(_MOST_INSTANTS, (end - first - history) // every + 1)
    gap = -(-whole // every)
    needed = 2 * gap + 3
    if instants < needed:
        raise PantheraError(
            f"the rows of {events.table.name} span {(cut - first).days} days, {first:%Y-%m-%d} to {cut:%Y-%m-%d}; a horizon of "
            f"{whole.days} days needs about {(needed * every + whole + history).days}, to train, validate and test apart; "
            "choose a shorter one"
        )
    part = max(1, (instants - 2 * gap) // 5)
    test = end - (part - 1) * every
    validation = test - (gap + part - 1) * every
    return Calendar(end - (instants - 1) * every, end, every, validation, test, cut)


def _midnight(time: datetime) -> datetime:
    return datetime(time.year, time.month, time.day, tzinfo=UTC)
