"""Snapshots on disk come online: all that was knowable, nothing else, and late rows with the next increment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from core.postgres.database import connect
from feature_repo.files.datasets import bucket_file, snapshot_glob, write_table
from feature_repo.files.duck import open_duckdb
from feature_repo.materialize import increment, materialize
from feature_repo.online.history import runs
from feature_repo.online.tables import create, merge_values
from tests.feature_repo.online.online_rows import SPENDING, Row, arrow, at, row, stored

if TYPE_CHECKING:
    from pathlib import Path


def write_snapshots(features: Path, rows: list[Row]) -> None:
    with open_duckdb() as duckdb:
        duckdb.register("snapshots", arrow(rows))
        write_table(duckdb, "FROM snapshots", bucket_file(features, "spending", 0))


@pytest.fixture
def url(database_url: str) -> str:
    with connect(database_url) as connection:
        create(connection, SPENDING)
    return database_url


def online(url: str) -> list[tuple[object, ...]]:
    with connect(url) as connection:
        return stored(connection)


def test_what_was_not_knowable_stays_offline(url: str, tmp_path: Path) -> None:
    known = [row(1, 1), row(1, 2), row(2, 1, created=1), row(2, 1, 5.0, created=2)]
    later = [row(1, 3), row(2, 1, 6.0, created=3), row(3, 4)]
    write_snapshots(tmp_path, [*later, *known])
    assert materialize(url, {"spending": SPENDING}, tmp_path, at(2)) == {"spending": 2}
    assert online(url) == [known[1], known[3]]


def test_a_late_row_comes_with_the_next_increment(url: str, tmp_path: Path) -> None:
    first, late, fresh = row(1, 1), row(2, 2, created=9), row(1, 9)
    write_snapshots(tmp_path, [first])
    materialize(url, {"spending": SPENDING}, tmp_path, at(8))
    write_snapshots(tmp_path, [first, late, fresh])
    assert increment(url, "spending", SPENDING, snapshot_glob(tmp_path, "spending"), at(10)) == 2
    assert online(url) == [fresh, late]


def test_an_increment_looks_back_further_than_the_last_run(url: str, tmp_path: Path) -> None:
    write_snapshots(tmp_path, [row(1, 1)])
    materialize(url, {"spending": SPENDING}, tmp_path, at(8))
    # Its file came after the run, whatever its stamps say.
    stamped_early = row(2, 7.5)
    write_snapshots(tmp_path, [row(1, 1), stamped_early])
    assert increment(url, "spending", SPENDING, snapshot_glob(tmp_path, "spending"), at(9)) == 1
    assert online(url) == [row(1, 1), stamped_early]


def test_an_increment_of_an_earlier_instant_takes_nothing_back(url: str, tmp_path: Path) -> None:
    write_snapshots(tmp_path, [row(1, 1), row(1, 5), row(2, 2)])
    files = snapshot_glob(tmp_path, "spending")
    for as_of in (6, 3):
        increment(url, "spending", SPENDING, files, at(as_of))
    assert online(url) == [row(1, 5), row(2, 2)]
    with connect(url) as connection:
        assert [(run.kind, run.as_of, run.rows_written) for run in runs(connection, SPENDING.name, 9)] == [
            ("increment", at(3), 2),
            ("increment", at(6), 2),
        ]


def test_a_full_run_keeps_what_was_pushed_since_its_instant(url: str, tmp_path: Path) -> None:
    pushed = row(1, 7, 9.0)
    with connect(url) as connection:
        merge_values(connection, SPENDING, [pushed])
    write_snapshots(tmp_path, [row(1, 1), row(2, 1)])
    materialize(url, {"spending": SPENDING}, tmp_path, at(2))
    assert online(url) == [pushed, row(2, 1)]
