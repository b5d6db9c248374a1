"""The as-of instants of a training set, chosen from the period between a table's first rows and the end of its data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from core.errors import PantheraError

#: Instants: at least so many are wanted, at most so many, and as many as give so many examples.
_FEW_INSTANTS, _MOST_INSTANTS, _EXAMPLES = 24, 2000, 20_000
_HOUR, _DAY, _WEEK, _MONTH = timedelta(hours=1), timedelta(days=1), timedelta(days=7), timedelta(days=30)
_LONGEST_HISTORY = timedelta(days=90)


@dataclass(frozen=True)
class Span:
    """The times of a table's rows, and the number of its entities."""

    name: str
    first: datetime
    last: datetime
    entities: int


@dataclass(frozen=True)
class Calendar:
    """The instants of the training set: first and last, their distance, the first of the later parts, and the cut.

    If they are monthly, they are the first days of calendar months.
    """

    start: datetime
    end: datetime
    every: timedelta
    validation: datetime
    test: datetime
    cut: datetime
    is_monthly: bool = False

    @property
    def cadence(self) -> str:
        """The distance between two instants, as written in a plan."""
        if self.every < _DAY:
            return f"{self.every // _HOUR} hour" + ("s" if self.every > _HOUR else "")
        if self.is_monthly:
            return "1 month"
        return f"{self.every.days} days" if self.every > _DAY else "1 day"

    @property
    def ttl(self) -> str:
        """The age up to which a snapshot of the cadence is fresh."""
        return f"{2 * (self.every // _HOUR)}h" if self.every < _DAY else f"{self.every.days + 5}d"


def make_calendar(span: Span, horizon: timedelta, lead: timedelta = timedelta()) -> Calendar:
    """Return the instants: the parts are a horizon apart, and the last label window ends before the end of the data.

    Raises
    ------
    PantheraError
        If the history is too short for these instants.

    """
    every, closes = _distance(horizon), horizon + lead
    unit = min(_DAY, every)
    first, cut = _floor(span.first, unit), _floor(span.last, unit) + unit
    whole = -(-closes // unit) * unit
    history = max(every, min(whole, _LONGEST_HISTORY)) if unit == _DAY else 2 * _DAY
    gap, most = -(-whole // every), max(_FEW_INSTANTS, min(_MOST_INSTANTS, _EXAMPLES // max(1, span.entities)))
    needed, begin, end = 2 * gap + 3, first + history, cut - whole
    instants = _months(begin, end, most) if every == _MONTH else []
    is_monthly = len(instants) >= needed
    if not is_monthly:
        instants = [end - place * every for place in range(min(most, (end - begin) // every + 1))][::-1]
    if len(instants) < needed:
        raise PantheraError(
            f"the rows of {span.name} span {(cut - first).days} days, {first:%Y-%m-%d} to {cut:%Y-%m-%d}; a horizon of "
            f"{_words(closes)} needs about {_words(needed * every + whole + history)}, to train, validate and test apart; "
            "choose a shorter one"
        )
    part = max(1, (len(instants) - 2 * gap) // 5)
    places = (0, -1, -2 * part - gap, -part)
    start, last, validation, test = (instants[place] for place in places)
    return Calendar(start, last, every, validation, test, cut, is_monthly)


def _months(begin: datetime, end: datetime, most: int) -> list[datetime]:
    """Return the first days of the months from `begin` to `end`, the last `most` of them."""
    found: list[datetime] = []
    month = _floor_month(end)
    while month >= begin and len(found) < most:
        found.append(month)
        month = _floor_month(month - _DAY)
    return found[::-1]


def _distance(horizon: timedelta) -> timedelta:
    """Return the distance between instants: months, weeks, the horizon in days, or an hour."""
    if horizon >= 2 * _WEEK:
        return _MONTH
    if horizon >= _WEEK:
        return _WEEK
    return max(_DAY, horizon // _DAY * _DAY) if horizon >= _DAY else _HOUR


def _words(length: timedelta) -> str:
    return f"{length.days} days" if length >= _DAY else f"{length // _HOUR} hours"


def _floor(time: datetime, unit: timedelta) -> datetime:
    return time - (time - _midnight(time)) % unit


def _floor_month(time: datetime) -> datetime:
    return datetime(time.year, time.month, 1, tzinfo=UTC)


def _midnight(time: datetime) -> datetime:
    return datetime(time.year, time.month, time.day, tzinfo=UTC)
