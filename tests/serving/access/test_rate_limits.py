"""Rates: so many requests a second over all workers, and a second's worth of them at once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from core.access.api_key import ApiKey
from serving.access.rate_limits import RateLimits
from serving.wire.refusals import RateExceeded

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def limited(rate: float | None, key_id: str = "0123456789ab") -> ApiKey:
    return ApiKey(key_id, "live", None, b"", ("read",), rate, None, None, NOW, "ann", "", None, None, None)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of the monotonic clock, in a list of one."""
    seconds = [1000.0]
    monkeypatch.setattr("serving.access.rate_limits.monotonic", lambda: seconds[0])
    return seconds


def taken(limits: RateLimits, key: ApiKey, tries: int) -> int:
    """Count the requests of `tries` that the key may send now."""
    count = 0
    for _ in range(tries):
        try:
            limits.take(key)
        except RateExceeded:
            continue
        count += 1
    return count


@pytest.mark.parametrize("rate", [1.0, 3.0, 10.0, 1000.0])
def test_a_key_has_a_seconds_worth_at_once_and_then_its_rate(clock: list[float], rate: float) -> None:
    limits = RateLimits(None)
    assert taken(limits, limited(rate), 3000) == rate
    clock[0] += 1.0
    assert taken(limits, limited(rate), 3000) == rate
    clock[0] += 3600.0
    assert taken(limits, limited(rate), 3000) == rate


def test_a_rate_below_one_gives_a_request_every_few_seconds(clock: list[float]) -> None:
    limits = RateLimits(None)
    assert taken(limits, limited(0.25), 5) == 1
    with pytest.raises(RateExceeded, match="try again in 4 s") as refused:
        limits.take(limited(0.25))
    assert refused.value.headers == {"Retry-After": "4"}
    clock[0] += 3.9
    assert taken(limits, limited(0.25), 5) == 0
    clock[0] += 0.1
    assert taken(limits, limited(0.25), 5) == 1


def test_workers_share_the_rate_of_a_key_and_keys_do_not_share_theirs(clock: list[float], tmp_path: Path) -> None:
    assert clock
    first, second = RateLimits(tmp_path), RateLimits(tmp_path)
    assert taken(first, limited(10.0), 6) + taken(second, limited(10.0), 10) == 10
    assert taken(RateLimits(tmp_path), limited(10.0), 5) == 0
    assert taken(second, limited(10.0, "ba9876543210"), 20) == 10


def test_a_folder_that_is_gone_stops_no_request(clock: list[float], tmp_path: Path) -> None:
    assert clock
    assert taken(RateLimits(tmp_path / "gone"), limited(10.0), 20) == 10


def test_a_key_without_a_rate_is_not_limited() -> None:
    assert taken(RateLimits(None), limited(None), 10_000) == 10_000
