"""The instants of a period: counted from its start, so that no short month shifts those that follow."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.plan.times import Period
from feature_repo.files.duck import open_duckdb
from feature_repo.views.existence import instants


def listed(start: datetime, end: datetime, every: str) -> list[datetime]:
    with open_duckdb(threads=1) as connection:
        period = Period(start=start, end=end)
        return [as_of for (as_of,) in connection.execute(f"FROM {instants(period, every)} ORDER BY 1").fetchall()]


def later(start: datetime, months: int) -> datetime:
    """Move by whole months; the 31st is the last day of a shorter month."""
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    return start.replace(year=year, month=month + 1, day=min(start.day, monthrange(year, month + 1)[1]))


@pytest.mark.parametrize(
    ("start", "end", "every", "expected"),
    [
        ("2024-01-31", "2024-05-31", "1 month", ["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30", "2024-05-31"]),
        ("2023-11-30", "2024-05-30", "3 months", ["2023-11-30", "2024-02-29", "2024-05-30"]),
        ("2024-02-29", "2028-02-29", "1 year", ["2024-02-29", "2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29"]),
        ("2024-08-31", "2025-05-31", "1 quarter", ["2024-08-31", "2024-11-30", "2025-02-28", "2025-05-31"]),
        ("2024-01-01", "2024-01-20", "1 week", ["2024-01-01", "2024-01-08", "2024-01-15"]),
        ("2024-01-01", "2024-01-01", "1 month", ["2024-01-01"]),
    ],
)
def test_the_end_of_a_month_stays_the_end_of_a_month(start: str, end: str, every: str, expected: list[str]) -> None:
    bounds = [datetime.fromisoformat(day).replace(tzinfo=UTC) for day in (start, end)]
    assert [f"{as_of:%Y-%m-%d}" for as_of in listed(bounds[0], bounds[1], every)] == expected


@settings(max_examples=30, deadline=None)
@given(
    st.datetimes(datetime(1970, 1, 1), datetime(2050, 1, 1)),  # noqa: DTZ001
    st.integers(1, 15),
    st.integers(1, 6),
)
def test_every_instant_is_counted_from_the_start(start: datetime, months: int, steps: int) -> None:
    start = start.replace(tzinfo=UTC)
    expected = [later(start, months * step) for step in range(steps + 1)]
    end = later(start, months * steps)
    assert listed(start, end, f"{months} months") == expected
    assert listed(start, end - timedelta(microseconds=1), f"{months} months") == expected[:-1]
