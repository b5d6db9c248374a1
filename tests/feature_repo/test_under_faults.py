"""Small versions of what `make soak-features` checks: kills, races, late and expired rows, other zones, wrong times."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.feature_store import soak, soak_catch_up, soak_served
from benchmarks.feature_store.held import NotHeld
from core.postgres.database import connect

if TYPE_CHECKING:
    from pathlib import Path


def test_after_kills_the_tables_are_those_of_a_clean_run(database_url: str, tmp_path: Path) -> None:
    told = soak.killed_materializations(database_url, tmp_path, times=1, customers=300)
    assert "no reader saw a mix" in told


def test_no_order_of_writes_or_runs_goes_back_in_time(database_url: str, tmp_path: Path) -> None:
    assert soak.random_orders(database_url, 300) == "300 random orders: the latest row stayed in each"
    soak.later_then_earlier(database_url, tmp_path, customers=30)


def test_every_late_row_is_there_after_the_next_run(database_url: str, tmp_path: Path) -> None:
    assert "in 8 increments" in soak.late_rows(database_url, tmp_path, runs=8, customers=60)


def test_no_time_moves_with_the_zone_of_a_process(database_url: str, tmp_path: Path) -> None:
    soak.other_zones(database_url, tmp_path, customers=30)


def test_applies_at_once_lose_nothing(database_url: str, tmp_path: Path) -> None:
    assert soak.parallel_applies(database_url, tmp_path, applies=2, customers=30).startswith("2 applies")


def test_every_row_is_taken_in_once_through_kills_corrections_and_runs_at_once(
    database_url: str, tmp_path: Path
) -> None:
    told = soak_catch_up.catch_up_steps(database_url, tmp_path / "worlds", steps=15)
    assert told.endswith("every row was ingested once, no row was lost")


def test_an_expired_value_is_told_and_treated_as_the_plan_says(database_url: str, tmp_path: Path) -> None:
    told = soak_served.expired_values(database_url, tmp_path / "served", requests=4)
    assert told.startswith("320 values judged under 4 policies")


def test_a_time_without_a_zone_or_of_the_future_is_refused(database_url: str, tmp_path: Path) -> None:
    assert soak_served.refused_times(database_url, tmp_path / "served", requests=3).endswith("none stored")


def test_a_check_that_does_not_hold_says_so(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forget_late_rows(url: str, *_: object) -> int:
        with connect(url) as connection:
            return connection.execute("DELETE FROM online.first__soak").rowcount

    monkeypatch.setattr(soak, "increment", forget_late_rows)
    with pytest.raises(NotHeld, match="after day 1 the table is not that of the rows known by then"):
        soak.late_rows(database_url, tmp_path, runs=2, customers=30)
