"""Convert local times to instants by the tz database: each has one instant, or a reason why it has none.

A zone is given as an offset, as UTC, or as a name with a region such as Europe/Berlin. Abbreviations such as EST or IST
belong to several zones and are refused. When clocks are put back a local time exists twice; when they are put forward some
local times do not exist. PEP 495 distinguishes the cases by the offsets before and after the change.
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
    #: The instant of a local time that exists twice; `reject` means none.
    Ambiguous = Literal["reject", "earlier", "later"]

UNKNOWN_ZONE = (
    "names a time zone by an abbreviation or an unknown word; write an offset, UTC or a name like Europe/Berlin"
)
EXISTS_TWICE = (
    "a local time that exists twice, since clocks were put back; choose one with the column's key `ambiguous`"
)
EXISTS_NEVER = "a local time that does not exist, since clocks were put forward"

_UTC = re.compile(r"z|utc?|gmt", re.IGNORECASE)
_OFFSET = re.compile(r"([+-])(0\d|1[0-5])(?::?([0-5]\d)(?::?([0-5]\d))?)?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND, _DAY = timedelta(microseconds=1), 86_400_000_000
#: The greatest distance of a local time from the same time in UTC, and of a time affected by a clock change from the change.
_REACH = timedelta(hours=26)
_NONE = np.iinfo(np.int64).min
#: The bounds, in microseconds, within which Python's datetime can represent DuckDB's timestamps in every zone.
_PYTHON_TIMES = (np.datetime64("0001-01-03", "us").astype(np.int64), np.datetime64("9999-12-29", "us").astype(np.int64))


def parse_zone(text: str) -> timedelta | ZoneInfo | None:
    """Return the offset or the zone in `text`; None if `text` is neither."""
    if _UTC.fullmatch(text):
        return timedelta()
    if found := _OFFSET.fullmatch(text):
        hours, minutes, seconds = (int(part or 0) for part in found.groups()[1:])
        offset = timedelta(hours=hours, minutes=minutes, seconds=seconds)
        return -offset if found[1] == "-" else offset
    return ZoneInfo(text) if "/" in text and text in _regions() else None


@lru_cache(maxsize=1)
def _regions() -> set[str]:
    return available_timezones()


def instants_of(local: Integers, zone: timedelta | ZoneInfo, ambiguous: Ambiguous) -> Integers:
    """Return the instants of local times, all in microseconds; `_NONE` where none exists, or two do and no rule chooses."""
    if isinstance(zone, timedelta):
        return local - zone // _MICROSECOND
    instants, near_change = _by_days(local, zone)
    for index in np.flatnonzero(near_change):
        earlier, later = _offsets(int(local[index]), zone)
        if earlier < later or (earlier > later and ambiguous == "reject"):
            instants[index] = _NONE
        else:
            instants[index] = local[index] - (later if ambiguous == "later" else earlier)
    return instants


def first_instants(days: Integers, zone: timedelta | ZoneInfo) -> Integers:
    """Return the first instants of local `days` (midnights, in microseconds); `_NONE` for a day that the zone skipped.

    A day whose first hour does not exist begins when the clocks have been put forward.
    """
    if isinstance(zone, timedelta):
        return days - zone // _MICROSECOND
    instants, near_change = _by_days(days, zone)
    for index in np.flatnonzero(near_change):
        instants[index] = days[index] - _offsets(int(days[index]), zone)[0]
        if (_EPOCH + int(instants[index]) * _MICROSECOND).astimezone(zone).date() != _naive(int(days[index])).date():
            instants[index] = _NONE
    return instants


def reason_of(local: int, zone: timedelta | ZoneInfo) -> str | None:
    """Return the clock change because of which a local time has no single instant; None if there is none."""
    if isinstance(zone, timedelta):
        return None
    earlier, later = _offsets(local, zone)
    return EXISTS_TWICE if earlier > later else EXISTS_NEVER if earlier < later else None


def _by_days(local: Integers, zone: ZoneInfo) -> tuple[Integers, Flags]:
    """Return instants by the offset of each local day, and flags where the offset changes around it, so they may be wrong."""
    days, day_index = np.unique(local // _DAY, return_inverse=True)
    offsets, changes = np.empty(len(days), np.int64), np.empty(len(days), np.bool_)
    for number, day in enumerate(days.tolist()):
        before, after = _offset_at(day * _DAY, zone, -_REACH), _offset_at((day + 1) * _DAY, zone, _REACH)
        offsets[number], changes[number] = before, before != after
    return local - offsets[day_index], changes[day_index]


def _offset_at(time: int, zone: ZoneInfo, moved: timedelta) -> int:
    offset = (_EPOCH + time * _MICROSECOND + moved).astimezone(zone).utcoffset() or timedelta()
    return offset // _MICROSECOND


def _offsets(local: int, zone: ZoneInfo) -> tuple[int, int]:
    """Return the offsets before and after a clock change at `local`; they are equal if there is none."""
    naive = _naive(local)
    offsets = (naive.replace(tzinfo=zone, fold=fold).utcoffset() or timedelta() for fold in (0, 1))
    before, after = (offset // _MICROSECOND for offset in offsets)
    return before, after


def _naive(local: int) -> datetime:
    return (_EPOCH + local * _MICROSECOND).replace(tzinfo=None)


def add_functions(connection: duckdb.DuckDBPyConnection) -> None:
    """Register the SQL functions of `feature_repo.sources.times` on a connection; instants are TIMESTAMP in UTC.

    They are place_local(local, zone, ambiguous), first_of_day(day, zone) and why_not_placed(local, zone). The zone is text.
    """
    from duckdb.func import SPECIAL, PythonUDFType

    add = partial(connection.create_function, type=PythonUDFType.ARROW, null_handling=SPECIAL)
    add("place_local", _place_local, ["timestamp", "varchar", "varchar"], "timestamp")
    add("first_of_day", _first_of_day, ["timestamp", "varchar"], "timestamp")
    add("why_not_placed", _why_not_placed, ["timestamp", "varchar"], "varchar")


def _place_local(local: pa.ChunkedArray, zone: pa.ChunkedArray, ambiguous: pa.ChunkedArray) -> pa.Array:
    rule: Ambiguous = ambiguous[0].as_py() if len(ambiguous) else "reject"
    return _convert_by_zone(local, zone, lambda times, parsed: instants_of(times, parsed, rule))


def _first_of_day(days: pa.ChunkedArray, zone: pa.ChunkedArray) -> pa.Array:
    return _convert_by_zone(days, zone, first_instants)


def _convert_by_zone(
    local: pa.ChunkedArray, zone: pa.ChunkedArray, convert: Callable[[Integers, timedelta | ZoneInfo], Integers]
) -> pa.Array:
    times = microseconds(local, "local")
    instants = np.full(len(times), _NONE)
    for parsed, chosen in _by_zone(times, zone):
        if parsed is not None:
            instants[chosen] = convert(times[chosen], parsed)
    return pa.array(instants, mask=instants == _NONE).cast(pa.timestamp("us"))


def _why_not_placed(local: pa.ChunkedArray, zone: pa.ChunkedArray) -> pa.Array:
    times = microseconds(local, "local")
    reasons: list[str | None] = [None] * len(times)
    for parsed, chosen in _by_zone(times, zone):
        for index in np.flatnonzero(chosen):
            reasons[index] = UNKNOWN_ZONE if parsed is None else reason_of(int(times[index]), parsed)
    return pa.array(reasons, pa.string())


def _by_zone(times: Integers, zone: pa.ChunkedArray) -> Iterator[tuple[timedelta | ZoneInfo | None, Flags]]:
    """Yield each zone, None if it is unknown, with a mask of its times; times beyond Python's years have no named zone."""
    in_range = (times >= _PYTHON_TIMES[0]) & (times < _PYTHON_TIMES[1])
    encoded = zone.combine_chunks().dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    for code, text in enumerate(encoded.dictionary.to_pylist()):
        parsed = parse_zone(text)
        yield parsed, (in_range if isinstance(parsed, ZoneInfo) else times != _NONE) & (codes == code)
