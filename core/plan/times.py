"""The types of instants, durations and periods in a plan."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import Annotated, Self
from zoneinfo import available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from core.plan.section import Section

#: The years that every tool of the platform can represent; the bound is nanoseconds in 64 bits.
YEARS = range(1700, 2200)
LONGEST = timedelta(days=36_525)
#: Rows of a table without event_time stand before every instant that a plan can name.
ROWS_WITHOUT_TIME = datetime(YEARS.start, 1, 1, tzinfo=UTC)
#: The one instant of a plan whose label has no time. It is never shown; no clock writes it, so no row of a table has it.
WITHOUT_TIME = datetime(2000, 1, 1, microsecond=1, tzinfo=UTC)


def parse_instant(value: object) -> datetime:
    """Return a date (its first instant in UTC) or a time with a zone as an instant in UTC; raise ValueError otherwise."""
    time = _time(value)
    if time.year not in YEARS:
        raise ValueError(f"{value!s} is outside the years {YEARS.start} to {YEARS.stop - 1}")
    return time.astimezone(UTC)


def _time(value: object) -> datetime:
    if isinstance(value, str):
        try:
            value = date.fromisoformat(value) if len(value) == len("2000-01-01") else datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{value!r} is not a date like 1998-04-01 or a time like 1998-04-01T12:00:00Z") from None
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{value.isoformat()} has no time zone; write it with one, as in 1998-04-01T12:00:00Z")
        return value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    raise ValueError(f"{value!r} is not a date or a time")


_DURATION = re.compile(r"^([1-9]\d*)\s*(s|m|h|d|w)$")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_duration(value: object) -> timedelta:
    """Return a duration like 90d as a timedelta; raise ValueError for anything else, or for more than 100 years."""
    if isinstance(value, timedelta):
        return value
    match = _DURATION.match(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is not a duration like 90d; the units are s, m, h, d and w")
    try:
        duration = timedelta(**{_UNITS[match[2]]: int(match[1])})
    except (OverflowError, ValueError):  # int() refuses a text of more than 4,300 digits
        duration = timedelta.max
    if duration > LONGEST:
        raise ValueError(f"{match[0][:20]!r} is longer than {LONGEST.days} days; leave the key out for no limit")
    return duration


def day_or_time(instant: datetime) -> str:
    """Compose an instant for a message: its day, with the time of day if that is not midnight in UTC."""
    instant = instant.astimezone(UTC)
    midnight = instant.time() == datetime.min.time()
    return f"{instant:%Y-%m-%d}" if midnight else f"{instant:%Y-%m-%d %H:%M} UTC"


def written(instant: datetime) -> str:
    """Compose an instant as it is written in a plan: its day, or its time with the suffix Z if that is not midnight in UTC."""
    instant = instant.astimezone(UTC)
    midnight = instant.time() == datetime.min.time()
    return f"{instant:%Y-%m-%d}" if midnight else instant.isoformat().replace("+00:00", "Z")


def in_units(duration: timedelta) -> str:
    """Compose a length of time for a message, in the largest unit of which it is a whole number.

    >>> in_units(timedelta(days=30)), in_units(timedelta(hours=1)), in_units(timedelta(minutes=90))
    ('30 days', '1 hour', '90 minutes')
    """
    units = {"day": timedelta(days=1), "hour": timedelta(hours=1), "minute": timedelta(minutes=1)}
    unit = next((unit for unit, length in units.items() if not duration % length), "second")
    count = duration // units.get(unit, timedelta(seconds=1))
    return f"{count:,} {unit}{'' if count == 1 else 's'}"


def _zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError(f"{name!r} is not a time zone like Europe/Berlin")
    return name


#: The directives of DuckDB's strptime; a minus sign allows numbers without leading zeros.
_DIRECTIVES = frozenset(
    [
        "a",
        "b",
        "c",
        "d",
        "-d",
        "f",
        "g",
        "h",
        "j",
        "-j",
        "m",
        "-m",
        "n",
        "p",
        "u",
        "w",
        "x",
        "y",
        "-y",
        "z",
        "A",
        "B",
        "G",
        "H",
        "-H",
        "I",
        "-I",
        "M",
        "-M",
        "S",
        "-S",
        "T",
        "U",
        "V",
        "W",
        "X",
        "Y",
        "Z",
        "%",
    ]
)
#: Formats of times that are numbers since 1970-01-01 in UTC, with how many of their units a second has.
UNIX_FORMATS = MappingProxyType({"unix": 1, "unix_ms": 10**3, "unix_us": 10**6, "unix_ns": 10**9})
_DIRECTIVE = re.compile(r"%(-?.?)", re.DOTALL)
_YEAR_DIRECTIVES = frozenset({"c", "G", "x", "y", "-y", "Y"})


def _time_format(form: str) -> str:
    if form in UNIX_FORMATS:
        return form
    used = _DIRECTIVE.findall(form)
    unknown = [directive for directive in used if directive not in _DIRECTIVES]
    if unknown:
        raise ValueError(
            f"{form!r} has the unknown directive %{unknown[0]}; known are {', '.join(sorted(_DIRECTIVES))}"
        )
    if not _YEAR_DIRECTIVES.intersection(used):
        raise ValueError(
            f"{form!r} reads no year; write one, as in %Y-%m-%d %H:%M; a number since 1970 is one of {', '.join(UNIX_FORMATS)}"
        )
    if "Z" in used and not (form.endswith("%Z") and used.index("Z") == len(used) - 1):
        raise ValueError(f"{form!r} has %Z before its end; a zone in words stands last")
    return form


def without_time() -> datetime:
    """Return `WITHOUT_TIME`; a default factory, so that the value does not appear in the plan's page and schema."""
    return WITHOUT_TIME


def without_end() -> timedelta:
    """Return `LONGEST`; a default factory, so that the value does not appear in the plan's page and schema."""
    return LONGEST


Zone = Annotated[str, AfterValidator(_zone)]
TimeFormat = Annotated[str, AfterValidator(_time_format)]
Instant = Annotated[datetime, BeforeValidator(parse_instant)]
Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
CADENCE = r"^[1-9]\d*( (minute|hour|day|week|month|quarter|year)s?|m|h|d|w)$"
_UNITS_OF_CADENCE = {"m": "minute", "h": "hour", "d": "day", "w": "week"}


def _in_words(cadence: str) -> str:
    """Return a cadence with its unit as a word, since SQL may read the letter m as months."""
    unit = _UNITS_OF_CADENCE.get(cadence[-1])
    return f"{cadence[:-1]} {unit}" if unit and cadence[-2].isdecimal() else cadence


Cadence = Annotated[str, Field(pattern=CADENCE), AfterValidator(_in_words)]
#: The cadence of a view that has a snapshot at the time of each row of its source.
EACH_ROW = "row"


class Period(Section):
    """The instants start, start + every, ..., up to and including end."""

    start: Instant
    """First instant."""
    end: Instant
    """Last instant; it belongs to the period."""

    @model_validator(mode="after")
    def _is_forward(self) -> Self:
        if self.end < self.start:
            raise ValueError(f"end {day_or_time(self.end)} is before start {day_or_time(self.start)}")
        return self
