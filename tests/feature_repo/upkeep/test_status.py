"""What is told of the online tables: rows, age, expiry and runs; and where they are not what the snapshots say."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from core.postgres.database import connect
from feature_repo.files.datasets import bucket_file, snapshot_glob, write_table
from feature_repo.files.duck import open_duckdb
from feature_repo.materialize import materialize
from feature_repo.online.erasure import delete_entity
from feature_repo.online.history import record_run, register
from feature_repo.online.table import OnlineTable
from feature_repo.online.tables import create, merge, merge_values
from feature_repo.upkeep.causes import Cause
from feature_repo.upkeep.diff import FeaturesDiff, ViewDiff, diff_view
from feature_repo.upkeep.status import count_future_rows, read_features_status
from tests.feature_repo.online.online_rows import DAY, SPENDING, Row, arrow, at, row

if TYPE_CHECKING:
    from pathlib import Path

NAN = float("nan")
NOW = at(10)


@pytest.fixture
def url(database_url: str) -> str:
    with connect(database_url) as connection:
        create(connection, SPENDING)
    return database_url


def test_the_status_counts_rows_and_those_that_expired(url: str) -> None:
    absent = OnlineTable("absent__1", SPENDING.keys, SPENDING.features)
    with connect(url) as connection:
        register(connection, "shop", "spending", "spending__old")
        register(connection, "shop", "spending", SPENDING.name)
        merge(connection, SPENDING, arrow([row(1, 1), row(2, 6), row(3, 9), row(4, 5)]))
        record_run(connection, "spending", SPENDING, at(9), 4)
        found = read_features_status(connection, {"spending": (SPENDING, 5 * DAY), "absent": (absent, DAY)}, (), at(10))
    spending, nothing = found.views
    assert (spending.rows, spending.expired_share, spending.watermark) == (4, 0.25, at(9))
    assert (spending.oldest_event, spending.newest_event, spending.age_seconds) == (at(1), at(9), 86_400)
    assert [run.rows_written for run in spending.runs] == [4]
    assert (nothing.rows, nothing.watermark, nothing.runs) == (None, None, ())
    assert found.missing == ["absent"]
    assert found.retired == ("spending__old",)
    told = json.loads(json.dumps(found.to_dict()))
    assert told["views"][0]["watermark"] == at(9).isoformat()
    assert told["views"][1]["expired_share"] is None
    assert found.table().row_count == 2


def write_snapshots(features: Path, rows: list[Row]) -> str:
    with open_duckdb() as duckdb:
        duckdb.register("snapshots", arrow(rows))
        write_table(duckdb, "FROM snapshots", bucket_file(features, "spending", 0))
    return snapshot_glob(features, "spending")


def test_rows_that_are_as_their_snapshots_are_equal_whatever_they_hold(url: str, tmp_path: Path) -> None:
    rows = [
        row(1, 1, 0.1 + 0.2, 'a "quoted", \n text'),
        row(2, 1, NAN, ""),
        row(3, 1, None, None),
        row(4, 1, -0.0, "NULL"),
        row(5, 1, float("-inf"), "\\N"),
    ]
    files = write_snapshots(tmp_path, rows)
    materialize(url, {"spending": SPENDING}, tmp_path, at(2))
    assert diff_view(url, "spending", SPENDING, files, at(2), at(9), NOW) == ViewDiff("spending", at(2), 5, 5, {}, {})


def test_every_difference_has_its_cause(url: str, tmp_path: Path) -> None:
    write_snapshots(tmp_path, [row(customer, 1, 1.0, "a") for customer in range(1, 8)])
    materialize(url, {"spending": SPENDING}, tmp_path, at(2))
    later = [
        *(row(customer, 1, 1.0, "a") for customer in (1, 2, 3, 4, 5, 6)),
        row(2, 3, 2.0),  # ahead: of an event after the run
        row(3, 1.5, 2.0, created=3),  # late: of an event before the run, created after it
    ]
    with connect(url) as connection:
        merge_values(connection, SPENDING, [row(4, 4, 4.0), row(8, 4, 4.0)])  # pushed, 8 as a new entity
        delete_entity(connection, "customer", 5)  # lost
        connection.execute(f"UPDATE online.{SPENDING.name} SET spend = 9, plan = NULL WHERE customer = 6")
    files = write_snapshots(tmp_path, later)
    found = diff_view(url, "spending", SPENDING, files, at(2), at(9), NOW)
    assert (found.entities, found.equal, found.defects) == (8, 1, 2)
    assert found.causes == {
        Cause.AHEAD: 1,
        Cause.LATE: 1,
        Cause.PUSHED: 2,
        Cause.LOST: 1,
        Cause.VALUE: 1,
        Cause.ERASED: 1,  # 7 has no snapshot any more
    }
    assert found.features == {"spend": 1, "plan": 1}
    both = FeaturesDiff(at(9), (found, found))
    assert both.defects == 4
    assert json.loads(json.dumps(both.to_dict()))["views"][0]["causes"]["lost"] == 1
    assert both.table().row_count == 2


def test_nothing_but_what_was_knowable_is_compared(url: str, tmp_path: Path) -> None:
    files = write_snapshots(tmp_path, [row(1, 1), row(1, 3)])
    materialize(url, {"spending": SPENDING}, tmp_path, at(2))
    assert diff_view(url, "spending", SPENDING, files, at(2), at(2), NOW).causes == {}
    assert diff_view(url, "spending", SPENDING, files, at(2), at(3), NOW).causes == {Cause.AHEAD: 1}


def test_a_row_of_the_future_is_named_and_replaced_by_a_full_run(url: str, tmp_path: Path) -> None:
    files, far = write_snapshots(tmp_path, [row(1, 1, 1.0), row(2, 1, 2.0)]), at(1) + 40_000 * DAY
    with connect(url) as connection:  # as a run left it of before such rows were refused
        merge_values(connection, SPENDING, [(1, far, far, None, None)])
        record_run(connection, "spending", SPENDING, far, 1)
        before = read_features_status(connection, {"spending": (SPENDING, DAY)}, (), NOW)
        assert count_future_rows(connection, SPENDING.name, NOW) == 1
    assert (before.future, before.views[0].watermark) == ({"spending": 1}, None)
    assert "1 rows are from the future" in str(before.table().caption)
    found = diff_view(url, "spending", SPENDING, files, None, at(9), NOW)
    assert (found.causes, found.defects) == ({Cause.FUTURE: 1, Cause.AHEAD: 1}, 1)
    materialize(url, {"spending": SPENDING}, tmp_path, at(2))
    with connect(url) as connection:
        after = read_features_status(connection, {"spending": (SPENDING, DAY)}, (), NOW)
    assert (after.future, after.views[0].watermark) == ({}, at(2))
    assert diff_view(url, "spending", SPENDING, files, at(2), at(9), NOW).causes == {}
