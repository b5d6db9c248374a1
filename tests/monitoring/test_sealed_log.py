"""Days of the prediction log that move to files: what moves, what stays, and that no row is lost or doubled."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
import pyarrow.parquet as pq
import pytest
from psycopg.types.json import Jsonb

from core.errors import StaleStateError
from monitoring.logged_predictions import fetch_one
from monitoring.sealed_log import SealTerms, find_sealed, list_sealed, seal_log, sealed_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAY = timedelta(days=1)
NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
TERMS = SealTerms("churn", "second", datetime(2026, 6, 1, tzinfo=UTC), NOW, 20 * DAY)
MAY_1, MAY_2 = datetime(2026, 5, 1, 9, tzinfo=UTC), datetime(2026, 5, 2, 9, tzinfo=UTC)


def _id(number: int) -> UUID:
    return UUID(int=number)


@pytest.fixture
def log(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True, options="-c timezone=UTC") as connection:
        for release, model in (("r1", "churn"), ("theirs", "returns")):
            connection.execute(
                "INSERT INTO panthera.release (release_id, format_version, model, candidate, bundle_digest, feature_service, "
                "data_revision, code_revision, registry_version, metrics) "
                "VALUES (%s, 1, %s, 'c', 'd', 'all', 'd', 'c', '1', %s)",
                [release, model, Jsonb({})],
            )
        yield connection


def _predict(
    log: psycopg.Connection[Any],
    number: int,
    logged_at: datetime,
    *,
    release: str = "r1",
    experiment: str = "first",
    as_of: datetime | None = None,
    replay: bool = False,
) -> None:
    log.execute(
        "INSERT INTO panthera.prediction (prediction_id, entity, as_of, release_id, experiment, arm, score, decision, "
        "features, event_times, statuses, logged_at, replay) "
        "VALUES (%s, %s, %s, %s, %s, 'champion', 0.25, 'call', %s, %s, %s, %s, %s)",
        [
            _id(number), str(number), as_of or logged_at, release, experiment, Jsonb({"v__x": number}),
            Jsonb({"v": "2026-04-30T00:00:00+00:00"}), Jsonb({"v": "FRESH"}), logged_at, replay,
        ],
    )  # fmt: skip


def _expose(log: psycopg.Connection[Any], number: int, exposing: int, experiment: str, at: datetime) -> None:
    log.execute(
        "INSERT INTO panthera.exposure (experiment, entity, arm, bucket, release_id, prediction_id, exposed_at) "
        "VALUES (%s, %s, 'champion', 0, 'r1', %s, %s)",
        [experiment, str(number), _id(exposing), at],
    )


def _left(log: psycopg.Connection[Any]) -> list[int]:
    return [row[0].int for row in log.execute("SELECT prediction_id FROM panthera.prediction ORDER BY 1")]


def _sealed_ids(folder: Path) -> list[int]:
    return sorted(UUID(text).int for file in folder.glob("*.parquet")
                  for text in pq.read_table(file)["prediction_id"].to_pylist())  # fmt: skip


def test_old_days_move_to_a_file_each_and_stay_readable(
    log: psycopg.Connection[Any], database_url: str, tmp_path: Path
) -> None:
    for number, at in ((1, MAY_1), (2, MAY_1), (3, MAY_2), (4, NOW - DAY)):
        _predict(log, number, at)
    folder = sealed_folder(tmp_path, "churn")
    before = fetch_one(log, _id(2))
    first, second = seal_log(database_url, folder, TERMS, "ann")
    assert [(str(each.day), each.rows, each.actor) for each in (first, second)] == [
        ("2026-05-01", 2, "ann"),
        ("2026-05-02", 1, "ann"),
    ]
    assert (_left(log), _sealed_ids(folder)) == ([4], [1, 2, 3])
    assert find_sealed(log, tmp_path, _id(2)) == before
    assert find_sealed(log, tmp_path, _id(4)) is None
    assert seal_log(database_url, folder, TERMS, "ann") == []


def test_what_is_still_needed_stays(log: psycopg.Connection[Any], database_url: str, tmp_path: Path) -> None:
    _predict(log, 1, MAY_1, release="theirs")  # of another model
    _predict(log, 2, MAY_1, as_of=NOW - 19 * DAY)  # its label window is open
    _predict(log, 3, MAY_1, experiment="second", replay=True)  # may still be exposed
    _predict(log, 4, MAY_1, experiment="second")  # exposed its unit
    _expose(log, 4, 4, "second", MAY_1)
    _predict(log, 5, MAY_1)  # the score before the exposure, which is the unit's covariate
    _expose(log, 5, 50, "second", MAY_2)
    _predict(log, 6, MAY_1 - 60 * DAY)
    _predict(log, 7, MAY_1, experiment="first", replay=True)  # of an experiment that is over
    _expose(log, 8, 8, "first", MAY_1)
    _predict(log, 8, MAY_1)
    _predict(log, 9, MAY_2, experiment="second")  # not the first of its unit
    _expose(log, 9, 90, "second", MAY_1)
    seal_log(database_url, sealed_folder(tmp_path, "churn"), TERMS, "ann")
    assert _left(log) == [1, 2, 3, 4, 5]
    assert _sealed_ids(sealed_folder(tmp_path, "churn")) == [6, 7, 8, 9]


def test_what_became_free_later_goes_to_another_file_of_its_day(
    log: psycopg.Connection[Any], database_url: str, tmp_path: Path
) -> None:
    _predict(log, 1, MAY_1)
    _predict(log, 2, MAY_1, experiment="second", replay=True)
    folder = sealed_folder(tmp_path, "churn")
    seal_log(database_url, folder, TERMS, "ann")
    seal_log(database_url, folder, replace(TERMS, experiment="third"), "ann")
    assert [each.file for each in list_sealed(log, "churn")] == ["2026-05-01-1.parquet", "2026-05-01-2.parquet"]
    assert (_left(log), _sealed_ids(folder)) == ([], [1, 2])


def test_a_run_that_ends_before_its_commit_loses_and_doubles_nothing(
    log: psycopg.Connection[Any], database_url: str, tmp_path: Path
) -> None:
    for number in (1, 2):
        _predict(log, number, MAY_1)
    log.execute(
        "CREATE FUNCTION panthera.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'killed'; END $$; "
        "CREATE TRIGGER refuse BEFORE DELETE ON panthera.prediction EXECUTE FUNCTION panthera.refuse()"
    )
    folder = sealed_folder(tmp_path, "churn")
    with pytest.raises(Exception, match="killed"):
        seal_log(database_url, folder, TERMS, "ann")
    assert (_left(log), list_sealed(log, "churn"), find_sealed(log, tmp_path, _id(1))) == ([1, 2], [], None)
    log.execute("DROP TRIGGER refuse ON panthera.prediction")
    _predict(log, 3, MAY_1)
    (sealed,) = seal_log(database_url, folder, TERMS, "ann")
    assert (sealed.rows, _left(log), _sealed_ids(folder)) == (3, [], [1, 2, 3])


def test_a_file_that_is_missing_or_was_changed_is_named(
    log: psycopg.Connection[Any], database_url: str, tmp_path: Path
) -> None:
    _predict(log, 1, MAY_1)
    folder = sealed_folder(tmp_path, "churn")
    (sealed,) = seal_log(database_url, folder, TERMS, "ann")
    path = folder / sealed.file
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(StaleStateError, match=r"2026-05-01-1\.parquet.* has changed"):
        find_sealed(log, tmp_path, _id(1))
    path.unlink()
    with pytest.raises(StaleStateError, match="is missing; restore it from a backup"):
        find_sealed(log, tmp_path, _id(1))
