"""The subscription business in operation: trained by its plan, served day by day, and held against what is true of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from tests.fix_project import ROOT
from worlds.subscription.live.journal import DAYS, OUTCOMES, PREDICTIONS, read_entries, read_truth
from worlds.subscription.scan import SOURCES, Scanner, scan_files, scan_tables

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.long

PII_KEY = "a key that the tests alone know"
#: July, and the first of August, on which the shift of July shows.
DAYS_OPERATED = 32
HORIZON = timedelta(days=28)
#: As docs/worlds.md has it.
COMMAND = "python -m worlds.subscription.live --folder .panthera/live"


@dataclass(frozen=True)
class Operated:
    """A finished operation: its project folder, its journal, and how the command ended."""

    folder: Path
    done: subprocess.CompletedProcess[str]

    def entries(self, kind: str) -> list[dict[str, Any]]:
        return read_entries(self.folder / "live", kind)


@pytest.fixture(scope="module")
def operated(tmp_path_factory: pytest.TempPathFactory, module_database_url: str) -> Operated:
    """3,000 customers, of whom some 1,400 are there when operation begins."""
    folder = tmp_path_factory.mktemp("operation") / "project"
    _, *command = COMMAND.split()
    done = subprocess.run(
        [sys.executable, *command[:-1], str(folder), "--customers", "3000", "--days", str(DAYS_OPERATED)],
        cwd=ROOT,
        env={**os.environ, "PANTHERA_DATABASE_URL": module_database_url, "PANTHERA_PII_KEY": PII_KEY},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert (folder / "live" / "checks.json").exists(), done.stdout + done.stderr
    return Operated(folder, done)


def test_the_command_stands_in_the_guide() -> None:
    assert COMMAND in (ROOT / "docs/worlds.md").read_text().splitlines()


def test_what_the_platform_says_agrees_with_the_truth(operated: Operated) -> None:
    checks = json.loads((operated.folder / "live" / "checks.json").read_text())
    assert {check["what"].split(":")[0] for check in checks} == {
        "predictions",
        "outcomes",
        "parity",
        "cohorts",
        "drift",
    }
    assert [check for check in checks if not check["holds"]] == []
    assert operated.done.returncode == 0


def test_every_customer_is_asked_about_on_the_first_of_a_month_and_some_by_the_desk_in_between(
    operated: Operated,
) -> None:
    asked = operated.entries(PREDICTIONS)
    campaigns = [entry for entry in asked if entry["why"] == "campaign"]
    assert {entry["as_of"][:10] for entry in campaigns} == {"2024-07-01", "2024-08-01"}
    desk = {entry["as_of"][:10] for entry in asked if entry["why"] == "desk"}
    assert len(desk) > DAYS_OPERATED / 2
    assert {entry["customer"] for entry in asked if entry["why"] == "desk"} <= {
        entry["customer"] for entry in campaigns
    }


def test_who_is_decided_to_get_the_offer_gets_it(operated: Operated) -> None:
    decided = {
        (entry["customer"], entry["as_of"][:10])
        for entry in operated.entries(PREDICTIONS)
        if entry["why"] == "campaign" and entry["decision"] == "offer"
    }
    truth = read_truth(operated.folder / "live").to_pylist()
    at_risk = {(row["customer_id"], f"{row['month_start']:%Y-%m-%d}") for row in truth}
    offered = {(row["customer_id"], f"{row['month_start']:%Y-%m-%d}") for row in truth if row["offered"]}
    assert offered == decided & at_risk
    assert 0.02 < len(offered) / len(at_risk) < 0.6


def test_outcomes_are_told_when_their_window_closes_or_the_cancellation_is_known(operated: Operated) -> None:
    first: dict[int, datetime] = {}
    for entry in operated.entries(PREDICTIONS):
        first.setdefault(entry["customer"], datetime.fromisoformat(entry["as_of"]))
    for told in operated.entries(OUTCOMES):
        observed, sent = (datetime.fromisoformat(told[name]) for name in ("observed_at", "sent_on"))
        assert observed <= sent
        if told["value"] == 0:
            assert observed == first[told["customer"]] + HORIZON


def test_some_outcomes_are_told_twice_and_answered_as_known(operated: Operated) -> None:
    days = operated.entries(DAYS)
    assert 0 < sum(day["told_twice"] for day in days) == sum(day["duplicates"] for day in days)


def test_a_day_brings_what_became_known_on_the_day_before_late_records_among_it(operated: Operated) -> None:
    file = operated.folder / SOURCES / "usage_daily" / "known-20240715.parquet"
    day, end = timedelta(days=1), datetime(2024, 7, 15, tzinfo=UTC)
    rows = pq.read_table(file).to_pylist()
    assert {end - day <= row["created_time"] < end for row in rows} == {True}
    assert 0 < sum(row["event_time"] < end - day for row in rows) < len(rows) / 10


def test_nothing_is_told_before_the_window_of_the_first_campaign_closes_but_cancellations(operated: Operated) -> None:
    days = {entry["day"]: entry for entry in operated.entries(DAYS)}
    assert len(days) == DAYS_OPERATED
    stayed = [told["sent_on"][:10] for told in operated.entries(OUTCOMES) if told["value"] == 0]
    assert min(stayed) == "2024-07-29"
    assert days["2024-07-29"]["stored"] > 1000


def test_no_artifact_log_table_or_report_holds_a_direct_identifier(
    operated: Operated, module_database_url: str
) -> None:
    scanner = Scanner(operated.folder / SOURCES / "customers")
    assert list(scan_files(scanner, operated.folder)) == []
    assert list(scan_tables(scanner, module_database_url)) == []


def test_no_file_holds_the_key_of_the_pseudonyms(operated: Operated) -> None:
    files = [file for file in operated.folder.rglob("*") if file.is_file() and not file.is_symlink()]
    assert [file for file in files if PII_KEY.encode() in file.read_bytes()] == []
    assert PII_KEY not in operated.done.stdout + operated.done.stderr


def test_an_operation_never_begins_in_a_folder_that_is_in_use(operated: Operated) -> None:
    command = [sys.executable, "-m", "worlds.subscription.live", "--folder", str(operated.folder)]
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert "is not empty; expected a new or empty folder" in again.stderr


def test_more_days_than_the_world_has_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "worlds.subscription.live", "--folder", str(tmp_path / "new"), "--days", "200"]
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "days: found 200, expected 1 to 184" in refused.stderr
    assert not (tmp_path / "new").exists()
