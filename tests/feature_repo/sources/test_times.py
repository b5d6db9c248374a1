"""Every way to write a time gives its instant, or no instant and the reason; never another instant."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.plan.ingest import TimeColumn
from feature_repo.files.duck import open_duckdb
from feature_repo.files.local_times import EXISTS_NEVER, EXISTS_TWICE, UNKNOWN_ZONE
from feature_repo.sources.times import SourceTime, instant_value

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

TEN = datetime(2024, 1, 15, 10, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
#: With clocks that move at midnight (Havana, Beirut), by half an hour (Lord Howe), or that once left a day out (Apia).
ZONES = ["Europe/Berlin", "America/New_York", "America/Havana", "Asia/Beirut", "Australia/Lord_Howe", "Pacific/Apia",
         "Asia/Kolkata", "America/St_Johns", "Africa/Casablanca", "Antarctica/Troll"]  # fmt: skip


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with open_duckdb(threads=1) as opened:
        yield opened


def read(
    connection: duckdb.DuckDBPyConnection, values: pa.Array, dtype: str = "timestamp", **time: Any
) -> list[tuple[datetime | None, str | None]]:
    """Read values of a column: the instant of each, and the reason of those that have none."""
    connection.register("given", pa.table({"time": values}))
    found = str(connection.execute("DESCRIBE FROM given").fetchall()[0][1])
    column = SourceTime(TimeColumn.model_validate({"column": "time", **time}), '"time"', found, dtype)
    rows = f'(SELECT "time", {column.instant} AS instant FROM given)'
    return connection.execute(
        f"SELECT instant, CASE WHEN instant IS NULL THEN {column.reason} END FROM {rows}"
    ).fetchall()


def read_text(connection: duckdb.DuckDBPyConnection, text: str, **time: Any) -> datetime | str | None:
    ((instant, reason),) = read(connection, pa.array([text]), **time)
    return instant or reason


@pytest.mark.parametrize(
    "text",
    ["2024-01-15 10:00:00Z", "2024-01-15T10:00:00z", "2024-01-15t10:00Z", "2024-01-15 10:00:00 UTC", "2024-01-15 10:00 GMT",
     "2024-01-15 10:00:00 utc", "2024-01-15 11:00:00+01", "2024-01-15 11:00:00 +0100", "2024-01-15T11:00:00.000+01:00 ",
     "2024-01-15 05:00:00-05", "2024-01-15 05:30:00 -04:30", "2024-01-15 10:53:28+00:53:28", "2024/1/15 11:00 Europe/Berlin",
     " 2024-01-15  05:00:00 America/New_York", "2024-01-15 10:00:00 Etc/UTC", "2024-01-14T24:00:00 -10:00"],
)  # fmt: skip
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Kolkata"])
def test_a_text_that_says_its_zone_is_in_that_one(
    connection: duckdb.DuckDBPyConnection, text: str, zone: str | None
) -> None:
    assert read_text(connection, text, zone=zone) == TEN


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2024-01-15 10:00:00 EST", UNKNOWN_ZONE),
        ("2024-01-15 10:00:00 IST", UNKNOWN_ZONE),
        ("2024-01-15 10:00:00 Europe/Atlantis", UNKNOWN_ZONE),
        ("2024-01-15 10:00:00 PM", UNKNOWN_ZONE),
        ("2024-01-15 10:00:00+99:99", UNKNOWN_ZONE),
        ("2024-01-15 10:00:00 UTC+2", UNKNOWN_ZONE),
        ("2024-01-15 10:00:00+01:00[Europe/Berlin]", UNKNOWN_ZONE),
        ("2024-01-15 10:00:00+00 BC", UNKNOWN_ZONE),
        ("2024-01-15 10", UNKNOWN_ZONE),
        ("2024-01-15 10:00:60Z", "no time that can be placed"),
        ("2024-02-30", "no time that can be placed"),
        ("24-01-15 10:00:00Z", "no time that can be placed"),
        ("1700000000", "no time that can be placed"),
        ("infinity", "no time that can be placed"),
        ("-infinity", "no time that can be placed"),
        ("epoch", "no time that can be placed"),
        ("0001-01-01", "outside the years 1700 to 2199"),
        ("9999-12-31T23:59:59-05:00", "outside the years 1700 to 2199"),
    ],
)
def test_a_text_that_says_no_instant_is_refused(connection: duckdb.DuckDBPyConnection, text: str, reason: str) -> None:
    assert str(read_text(connection, text, zone="UTC")).startswith(reason)


def test_a_time_that_says_no_zone_needs_a_stated_one(connection: duckdb.DuckDBPyConnection) -> None:
    assert "a time zone is missing" in str(read_text(connection, "2024-01-15 10:00:00"))
    assert read_text(connection, "2024-01-15 10:00:00.1234569", zone="UTC") == TEN + 123_456 * MICROSECOND


@pytest.mark.parametrize("dtype", ["date", "timestamp"])
def test_a_date_is_of_the_stated_zone(connection: duckdb.DuckDBPyConnection, dtype: str) -> None:
    dates = (pa.array(["2024-01-15"]), pa.array([date(2024, 1, 15)]))
    for values in dates:
        assert read(connection, values, dtype) == [(datetime(2024, 1, 15, tzinfo=UTC), None)]
        assert read(connection, values, dtype, zone="America/New_York") == [
            (datetime(2024, 1, 15, 5, tzinfo=UTC), None)
        ]
        ((end, _),) = read(connection, values, dtype, zone="America/New_York", at="end_of_day")
        assert end == datetime(2024, 1, 16, 5, tzinfo=UTC) - MICROSECOND


def test_the_date_of_an_instant_is_that_of_the_stated_zone(connection: duckdb.DuckDBPyConnection) -> None:
    evening = datetime(2024, 1, 16, 2, tzinfo=UTC)  # the 15th in New York
    for values in (pa.array([evening]), pa.array(["2024-01-16T02:00:00Z"]), pa.array(["2024-01-15 21:00:00 -0500"])):
        assert read(connection, values, "date", zone="America/New_York") == [
            (datetime(2024, 1, 15, 5, tzinfo=UTC), None)
        ]


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("%d/%m/%Y %H:%M:%S%z", "15/01/2024 11:00:00+0100"),
        ("%d/%m/%Y %H:%M:%S%z", "15/01/2024 10:00:00Z"),
        ("%d/%m/%Y %H:%M:%S %z", "15/01/2024 05:00:00 -05"),
        ("%d/%m/%Y %z %H:%M", "15/01/2024 +01:00 11:00"),
        ("%d %b %Y %I:%M %p %Z", "15 Jan 2024 11:00 AM Europe/Berlin"),
        ("%d.%m.%Y %H:%M:%S%Z", "15.01.2024 10:00:00UTC"),
        ("%Y-%m-%dT%H:%M:%SZ", "2024-01-15T10:00:00Z"),
        ("%H:%M %d-%m-%Y", "15:30 15-01-2024"),
        ("%H:%M %m-%Y-%d", "15:30 01-2024-15"),
        ("%H:%M %m-%d-%y", "15:30 01-15-24"),
        ("%H:%M:%S.%n %d-%m-%Y", "15:30:00.000000999 15-01-2024"),
    ],
)
def test_a_format_is_used_whatever_it_ends_in(connection: duckdb.DuckDBPyConnection, form: str, text: str) -> None:
    assert read_text(connection, text, format=form, zone="Asia/Kolkata") == TEN


def test_an_abbreviation_in_a_format_is_refused(connection: duckdb.DuckDBPyConnection) -> None:
    assert read_text(connection, "15.01.2024 10:00 EST", format="%d.%m.%Y %H:%M %Z") == UNKNOWN_ZONE


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_a_timestamp_of_any_unit_and_zone_is_its_instant(connection: duckdb.DuckDBPyConnection, unit: str) -> None:
    for zone in ("UTC", "Europe/Berlin", "+05:30"):
        values = pa.array([TEN]).cast(pa.timestamp(unit, tz=zone))
        assert read(connection, values, zone="America/New_York") == [(TEN, None)]
    naive = pa.array([datetime(2024, 1, 15, 5)]).cast(pa.timestamp(unit))  # noqa: DTZ001
    assert read(connection, naive, zone="America/New_York") == [(TEN, None)]
    ((found, reason),) = read(connection, naive)
    assert found is None
    assert "a time zone is missing" in str(reason)


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_nanoseconds_are_cut_off_and_carry_into_no_other_day(
    connection: duckdb.DuckDBPyConnection, zone: str | None
) -> None:
    before = datetime(1970, 1, 1, tzinfo=UTC) - MICROSECOND
    stored = pa.array([-1], pa.int64()).cast(pa.timestamp("ns", tz=zone))
    assert read(connection, stored, zone="UTC") == [(before, None)]


@pytest.mark.parametrize("value", [1_700_000_000, 1.7e9, True])
def test_a_number_is_no_time(connection: duckdb.DuckDBPyConnection, value: float) -> None:
    ((found, reason),) = read(connection, pa.array([value]), zone="UTC")
    assert found is None
    assert "no time; a number since 1970 needs a format" in str(reason)


@pytest.mark.parametrize(
    ("value", "form", "instant"),
    [
        (1_705_312_800, "unix", TEN),
        ("1705312800", "unix", TEN),
        (1_705_312_800.25, "unix", TEN + timedelta(milliseconds=250)),
        ("1705312800.123456", "unix", TEN + timedelta(microseconds=123_456)),
        (1_705_312_800_001, "unix_ms", TEN + timedelta(milliseconds=1)),
        (1_705_312_800_000_001, "unix_us", TEN + MICROSECOND),
        (1_705_312_800_000_001_999, "unix_ns", TEN + MICROSECOND),
        (-1, "unix_ns", datetime(1970, 1, 1, tzinfo=UTC) - MICROSECOND),
    ],
)
def test_a_number_since_1970_is_its_instant_in_every_zone(
    connection: duckdb.DuckDBPyConnection, value: float | str, form: str, instant: datetime
) -> None:
    for zone in ({}, {"zone": "Asia/Tokyo"}):
        assert read(connection, pa.array([value]), format=form, **zone) == [(instant, None)]


def test_the_date_of_a_number_since_1970_is_that_of_the_stated_zone(connection: duckdb.DuckDBPyConnection) -> None:
    connection.register("given", pa.table({"time": [1_705_359_600]}))  # 23:00 in UTC
    time = TimeColumn.model_validate({"column": "time", "format": "unix", "zone": "Asia/Tokyo"})
    value = SourceTime(time, '"time"', "BIGINT", "date").value
    assert connection.execute(f"SELECT {value} FROM given").fetchall() == [(date(2024, 1, 16),)]


@pytest.mark.parametrize(
    ("value", "reason"),
    [("soon", "no time"), (True, "no time"), ("", "no time"), (math.nan, "no time"), (10**12, "outside the years")],
)
def test_what_is_no_number_since_1970_is_refused_with_the_reason(
    connection: duckdb.DuckDBPyConnection, value: Any, reason: str
) -> None:
    ((found, why),) = read(connection, pa.array([value]), format="unix")
    assert found is None
    assert reason in str(why)


def test_a_local_time_that_exists_twice_or_never_is_refused_or_by_the_stated_rule(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    twice, never = "2024-11-03 01:30:00", "2024-03-10 02:30:00"
    assert read_text(connection, twice, zone="America/New_York") == EXISTS_TWICE
    assert read_text(connection, f"{twice} America/New_York") == EXISTS_TWICE
    assert read_text(connection, twice, format="%Y-%m-%d %H:%M:%S", zone="America/New_York") == EXISTS_TWICE
    assert read_text(connection, f"{twice} -0500", zone="America/New_York") == datetime(2024, 11, 3, 6, 30, tzinfo=UTC)
    for rule, hour in {"earlier": 5, "later": 6}.items():
        found = read_text(connection, twice, zone="America/New_York", ambiguous=rule)
        assert found == datetime(2024, 11, 3, hour, 30, tzinfo=UTC)
        assert read_text(connection, never, zone="America/New_York", ambiguous=rule) == EXISTS_NEVER


@pytest.mark.parametrize(
    ("zone", "day", "first", "last"),
    [
        ("Asia/Beirut", "2024-03-31", "2024-03-30T22:00", "2024-03-31T21:00"),  # begins at 1:00
        ("America/Havana", "2024-11-03", "2024-11-03T04:00", "2024-11-04T05:00"),  # its first hour exists twice
        ("America/New_York", "2024-11-03", "2024-11-03T04:00", "2024-11-04T05:00"),
    ],
)
def test_a_day_begins_and_ends_with_its_first_and_last_instant(
    connection: duckdb.DuckDBPyConnection, zone: str, day: str, first: str, last: str
) -> None:
    bounds = [datetime.fromisoformat(f"{time}:00Z") for time in (first, last)]
    assert read_text(connection, day, dtype="date", zone=zone) == bounds[0]
    assert read_text(connection, day, dtype="date", zone=zone, at="end_of_day") == bounds[1] - MICROSECOND


def test_a_day_that_a_zone_left_out_is_none(connection: duckdb.DuckDBPyConnection) -> None:
    for at in ("start_of_day", "end_of_day"):
        assert read_text(connection, "2011-12-30", dtype="date", zone="Pacific/Apia", at=at) == EXISTS_NEVER


def possible(local: datetime, zone: str) -> list[datetime]:
    """Find by trial all instants, a quarter of an hour apart, that have this local time."""
    around = [local.replace(tzinfo=UTC) + timedelta(minutes=15 * step) for step in range(-104, 105)]
    return [instant for instant in around if instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == local]


QUARTERS = st.integers(0, 60 * 366 * 24 * 4).map(lambda step: datetime(1971, 1, 1) + timedelta(minutes=15 * step))  # noqa: DTZ001
CHANGES = [
    datetime.fromisoformat(text)
    for text in ("2024-03-10 02:30", "2024-11-03 01:30", "2024-03-31 00:30", "2024-04-07 01:45", "2024-10-06 02:15",
                 "2024-10-27 02:30", "2011-12-30 12:00")
]  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.lists(QUARTERS, max_size=40), st.sampled_from(ZONES), st.sampled_from(["reject", "earlier", "later"]))
def test_local_times_have_the_instants_that_trial_finds(times: list[datetime], zone: str, rule: str) -> None:
    times = [*times, *CHANGES]
    with open_duckdb(threads=1) as connection:
        found = read(connection, pa.array(times), zone=zone, ambiguous=rule)
    for local, (instant, reason) in zip(times, found, strict=True):
        right = possible(local, zone)
        if len(right) == 1 or (right and rule != "reject"):
            assert instant == right[-1 if rule == "later" else 0], (local, zone)
        else:
            assert (instant, reason) == (None, EXISTS_TWICE if right else EXISTS_NEVER), (local, zone)


@settings(max_examples=40, deadline=None)
@given(st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1)), st.sampled_from(ZONES))  # noqa: DTZ001
def test_every_instant_is_found_again_from_every_way_to_write_it(instant: datetime, zone: str) -> None:
    instant = instant.replace(tzinfo=UTC)
    local = instant.astimezone(ZoneInfo(zone))
    rule = "later" if local.fold else "earlier"
    written = [local.isoformat(), f"{local:%Y-%m-%d %H:%M:%S.%f} {zone}", f"{local:%Y-%m-%d %H:%M:%S.%f %z}"]
    with open_duckdb(threads=1) as connection:
        assert {found for found, _ in read(connection, pa.array(written), ambiguous=rule)} == {instant}
        assert read(connection, pa.array([local.replace(tzinfo=None)]), zone=zone, ambiguous=rule) == [(instant, None)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2024-01-15 10:00:00", TEN),
        ("2024-01-15 11:00:00 Europe/Berlin", TEN),
        ("9999-12-31", datetime(9999, 12, 31, tzinfo=UTC)),
        ("2024-01-15 10:00:00 EST", None),
        ("infinity", None),
        ("-infinity", None),
        ("294247-01-01", None),
    ],
)
def test_an_instant_among_the_values_is_placed_alike_and_of_utc_without_a_zone(
    connection: duckdb.DuckDBPyConnection, text: str, value: datetime | None
) -> None:
    connection.register("given", pa.table({"time": [text]}))
    found = instant_value("given.time", "VARCHAR")
    assert connection.execute(f"SELECT {found} FROM given").fetchall() == [(value,)]


def test_an_infinite_timestamp_is_no_value_and_no_time(connection: duckdb.DuckDBPyConnection) -> None:
    for infinite in ("'infinity'::TIMESTAMPTZ", "'-infinity'::TIMESTAMPTZ"):
        column = SourceTime(TimeColumn(column="time"), infinite, "TIMESTAMP WITH TIME ZONE", "timestamp")
        value = instant_value(infinite, "TIMESTAMP WITH TIME ZONE")
        assert connection.execute(f"SELECT {column.instant}, {column.value}, {value}").fetchall() == [
            (None, None, None)
        ]
