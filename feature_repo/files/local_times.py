"""Local times to instants, by the tz database: each has one instant, or a reason why it has none.

A zone is said by an offset, by UTC, or by a name with a region such as Europe/Berlin. Abbreviations such as EST or IST stand
for several zones, so they say none. Where clocks are put back a local time exists twice, where they are put forward not at all
(PEP 495 tells the two by the offsets before and after the change).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
import pyarrow as pa

from feature_repo.join.time_line import microseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import duckdb
    import numpy.typing as npt

    Integers = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]
    #: Which of two instants a local time means that exists twice; none with `reject`.
    Ambiguous = Literal["reject", "earlier", "later"]

UNKNOWN_ZONE = (
    "names a time zone by an abbreviation or an unknown word; write an offset, UTC or a name like Europe/Berlin"
)
EXISTS_TWICE = (
    "a local time that exists twice, since clocks were put back; its column's key `ambiguous` says which is meant"
)
EXISTS_NEVER = "a local time that does not exist, since clocks were put forward"

_UTC = re.compile(r"z|utc?|gmt", re.IGNORECASE)
_OFFSET = re.compile(r"([+-])(0\d|1[0-5])(?::?([0-5]\d)(?::?([0-5]\d))?)?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND, _DAY = timedelta(microseconds=1), 86_400_000_000
#: How far the instant of a local time lies from the same time of UTC at most, and how long a change of the clocks is felt.
_REACH = timedelta(hours=26)
_NONE = np.iinfo(np.int64).min
#: What DuckDB holds from here on is beyond the years of Python.
_YEARS = (np.datetime64("0001-01-03", "us").astype(np.int64), np.datetime64("9999-12-29", "us").astype(np.int64))


def zone_of(said: str) -> timedelta | ZoneInfo | None:
    """Return the offset or the zone that the text `said` names; None if it names none."""
    if _UTC.fullmatch(said):
        return timedelta()
    if found := _OFFSET.fullmatch(said):
        hours, minutes, seconds = (int(part or 0) for part in found.groups()[1:])
        offset = timedelta(hours=hours, minutes=minutes, seconds=seconds)
        return -offset if found[1] == "-" else offset
    return ZoneInfo(said) if "/" in said and said in _regions() else None


@lru_cache(maxsize=1)
def _regions() -> set[str]:
    return available_timezones()


def place(local: Integers, zone: timedelta | ZoneInfo, ambiguous: Ambiguous) -> Integers:
    """Return the instants of local times, all in microseconds; `_NONE` where there is none, or two and no rule."""
    if isinstance(zone, timedelta):
        return local - zone // _MICROSECOND
    placed, near_change = _by_days(local, zone)
    for index in np.flatnonzero(near_change):
        earlier, later = _offsets(int(local[index]), zone)
        if earlier < later or (earlier > later and ambiguous == "reject"):
            placed[index] = _NONE
        else:
            placed[index] = local[index] - (later if ambiguous == "later" else earlier)
    return placed


def first_instants(days: Integers, zone: timedelta | ZoneInfo) -> Integers:
    """Return the first instants of the local days that begin at `days`; `_NONE` of a day that the zone left out.

    A day whose first hour does not exist begins when the clocks have been put forward.
    """
    if isinstance(zone, timedelta):
        return days - zone // _MICROSECOND
    placed, near_change = _by_days(days, zone)
    for index in np.flatnonzero(near_change):
        placed[index] = days[index] - _offsets(int(days[index]), zone)[0]
        if (_EPOCH + int(placed[index]) * _MICROSECOND).astimezone(zone).date() != _naive(int(days[index])).date():
            placed[index] = _NONE
    return placed


def reason_of(local: int, zone: timedelta | ZoneInfo) -> str | None:
    """Return why `place` finds no instant for a local time; None if it is for another reason."""
    if isinstance(zone, timedelta):
        return None
    earlier, later = _offsets(local, zone)
    return EXISTS_TWICE if earlier > later else EXISTS_NEVER if earlier < later else None


def _by_days(local: Integers, zone: ZoneInfo) -> tuple[Integers, Flags]:
    """Place local times by the offset of their day; the flags tell where the offset changes around it, so this may be wrong."""
    days, places = np.unique(local // _DAY, return_inverse=True)
    offsets, changes = np.empty(len(days), np.int64), np.empty(len(days), np.bool_)
    for number, day in enumerate(days.tolist()):
        before, after = _offset_at(day * _DAY, zone, -_REACH), _offset_at((day + 1) * _DAY, zone, _REACH)
        offsets[number], changes[number] = before, before != after
    return local - offsets[places], changes[places]


def _offset_at(time: int, zone: ZoneInfo, moved: timedelta) -> int:
    offset = (_EPOCH + time * _MICROSECOND + moved).astimezone(zone).utcoffset() or timedelta()
    return offset // _MICROSECOND


def _offsets(local: int, zone: ZoneInfo) -> tuple[int, int]:
    """Return the offset before and the offset after a change of the clocks; they are equal where there is none."""
    naive = _naive(local)
    found = (naive.replace(tzinfo=zone, fold=fold).utcoffset() or timedelta() for fold in (0, 1))
    before, after = (offset // _MICROSECOND for offset in found)
    return before, after


def _naive(local: int) -> datetime:
    return (_EPOCH + local * _MICROSECOND).replace(tzinfo=None)


def add_functions(connection: duckdb.DuckDBPyConnection) -> None:
    """Add to a connection the functions that the SQL of `feature_repo.sources.times` calls; times are TIMESTAMP, in UTC.

    place_local(local, zone, ambiguous), first_of_day(day, zone) and why_not_placed(local, zone) take the zone as a text.
    """
    from duckdb.func import SPECIAL, PythonUDFType

    add = partial(connection.create_function, type=PythonUDFType.ARROW, null_handling=SPECIAL)
    add("place_local", _place_local, ["timestamp", "varchar", "varchar"], "timestamp")
    add("first_of_day", _first_of_day, ["timestamp", "varchar"], "timestamp")
    add("why_not_placed", _why_not_placed, ["timestamp", "varchar"], "varchar")


def _place_local(local: pa.ChunkedArray, zone: pa.ChunkedArray, ambiguous: pa.ChunkedArray) -> pa.Array:
    rule: Ambiguous = ambiguous[0].as_py() if len(ambiguous) else "reject"
    return _placed_by_zone(local, zone, lambda times, found: place(times, found, rule))


def _first_of_day(days: pa.ChunkedArray, zone: pa.ChunkedArray) -> pa.Array:
    return _placed_by_zone(days, zone, first_instants)


def _placed_by_zone(
    local: pa.ChunkedArray, zone: pa.ChunkedArray, work: Callable[[Integers, timedelta | ZoneInfo], Integers]
) -> pa.Array:
    times = microseconds(local, "local")
    placed = np.full(len(times), _NONE)
    for found, chosen in _by_zone(times, zone):
        if found is not None:
            placed[chosen] = work(times[chosen], found)
    return pa.array(placed, mask=placed == _NONE).cast(pa.timestamp("us"))


def _why_not_placed(local: pa.ChunkedArray, zone: pa.ChunkedArray) -> pa.Array:
    times = microseconds(local, "local")
    reasons: list[str | None] = [None] * len(times)
    for found, chosen in _by_zone(times, zone):
        for index in np.flatnonzero(chosen):
            reasons[index] = UNKNOWN_ZONE if found is None else reason_of(int(times[index]), found)
    return pa.array(reasons, pa.string())


def _by_zone(times: Integers, zone: pa.ChunkedArray) -> Iterator[tuple[timedelta | ZoneInfo | None, Flags]]:
    """Yield each zone that is said, None if it is unknown, and of which times; beyond Python's years no zone is known."""
    in_years = (times >= _YEARS[0]) & (times < _YEARS[1])
    encoded = zone.combine_chunks().dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    for code, said in enumerate(encoded.dictionary.to_pylist()):
        found = zone_of(said)
        yield found, (in_years if isinstance(found, ZoneInfo) else times != _NONE) & (codes == code)
