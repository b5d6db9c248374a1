"""The prediction log, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import math
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest

from core.batching import in_turns
from core.contracts import Freshness
from core.errors import DatabaseError
from core.experiment.prediction_log import (
    Exposure,
    Outcome,
    OutcomeConflictError,
    OutcomeReceipt,
    Prediction,
    PredictionLog,
    record_outcomes,
)
from core.postgres.pool import connection_pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from core.postgres.pool import Pool

_AS_OF = datetime(1998, 4, 1, tzinfo=UTC)


def _prediction(entity: str = "1", release_id: str = "r1", **changes: Any) -> Prediction:
    prediction = Prediction(
        prediction_id=uuid4(),
        entity=entity,
        as_of=_AS_OF,
        release_id=release_id,
        experiment="first",
        arm="champion",
        score=0.1 + 0.2,
        decision="call",
        features={"history__orders": 3},
        event_times={"history": _AS_OF - timedelta(days=1)},
        statuses={"history": Freshness.FRESH},
    )
    return msgspec.structs.replace(prediction, **changes)


def _exposure(prediction: Prediction, arm: str = "champion") -> Exposure:
    return Exposure("first", prediction.entity, arm, 17, prediction.release_id, prediction.prediction_id, _AS_OF)


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[Pool]:
    with psycopg.connect(url) as connection:
        connection.execute(
            """INSERT INTO panthera.release (release_id, format_version, model, candidate, bundle_digest,
                                             feature_service, data_revision, code_revision, registry_version, metrics)
               VALUES ('r1', 1, 'm', 'c', 'b', 's', 'd', 'c', '1', '{}') ON CONFLICT DO NOTHING"""
        )
    async with connection_pool(url) as pool:
        yield pool


def _stored(url: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, options="-c timezone=UTC") as connection:
        return connection.execute(statement.encode()).fetchall()


def test_everything_is_stored_when_append_returns(database_url: str) -> None:
    prediction = _prediction()

    async def write() -> None:
        async with _opened(database_url) as pool:
            await PredictionLog(pool).append([prediction], [_exposure(prediction)])
            assert _stored(database_url, "SELECT prediction_id, score, as_of FROM panthera.prediction") == [
                (prediction.prediction_id, 0.1 + 0.2, _AS_OF)
            ]

    asyncio.run(write())
    assert _stored(database_url, "SELECT features, event_times, statuses FROM panthera.prediction") == [
        ({"history__orders": 3}, {"history": "1998-03-31T00:00:00+00:00"}, {"history": "FRESH"})
    ]
    assert _stored(database_url, "SELECT entity, arm, bucket, exposed_at FROM panthera.exposure") == [
        ("1", "champion", 17, _AS_OF)
    ]


def test_many_appends_at_once_are_all_stored_and_share_commits(database_url: str) -> None:
    async def write() -> set[UUID]:
        async with _opened(database_url) as pool:
            log = PredictionLog(pool)
            predictions = [_prediction(str(entity)) for entity in range(500)]
            await asyncio.gather(*(log.append([row], [_exposure(row)]) for row in predictions))
            return {row.prediction_id for row in predictions}

    acknowledged = asyncio.run(write())
    assert {row[0] for row in _stored(database_url, "SELECT prediction_id FROM panthera.prediction")} == acknowledged
    assert _stored(database_url, "SELECT count(*) FROM panthera.exposure") == [(500,)]
    (transactions,) = _stored(database_url, "SELECT count(DISTINCT xmin::text) FROM panthera.prediction")
    assert transactions[0] < 50


def test_a_row_that_is_refused_fails_its_own_request_only(database_url: str) -> None:
    async def write() -> list[BaseException | None]:
        async with _opened(database_url) as pool:
            log = PredictionLog(pool)
            rows = [_prediction(str(entity), "unheard of" if entity == 3 else "r1") for entity in range(8)]
            return await asyncio.gather(*(log.append([row], []) for row in rows), return_exceptions=True)

    outcomes = asyncio.run(write())
    assert [at for at, outcome in enumerate(outcomes) if outcome is not None] == [3]
    assert isinstance(outcomes[3], DatabaseError)
    assert "foreign key" in str(outcomes[3])
    assert _stored(database_url, "SELECT count(*) FROM panthera.prediction") == [(7,)]


def test_a_lost_connection_fails_those_who_waited_and_nobody_after_them(database_url: str) -> None:
    async def write() -> list[BaseException | None]:
        async with _opened(database_url) as pool:
            log = PredictionLog(pool)
            with psycopg.connect(database_url) as blocker:
                blocker.execute("LOCK TABLE panthera.prediction")
                doomed = asyncio.gather(*(log.append([_prediction()], []) for _ in range(5)), return_exceptions=True)
                await _until_blocked(database_url)
                blocker.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE wait_event_type = 'Lock' AND datname = current_database()"
                )
                failures = await doomed
            await log.append([_prediction()], [])
            return failures

    failures = asyncio.run(write())
    assert [type(failure) for failure in failures] == [DatabaseError] * 5
    assert _stored(database_url, "SELECT count(*) FROM panthera.prediction") == [(1,)]


async def _until_blocked(url: str) -> None:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    while _stored(url, waiting) == [(0,)]:  # noqa: ASYNC110 - the event is another process's
        await asyncio.sleep(0.02)


def test_a_request_that_is_given_up_is_not_worked_for_and_does_not_stop_the_log(database_url: str) -> None:
    async def write() -> None:
        async with _opened(database_url) as pool:
            log = PredictionLog(pool)
            given_up = asyncio.create_task(log.append([_prediction()], []))
            await asyncio.sleep(0)
            given_up.cancel()
            await log.append([_prediction()], [])

    asyncio.run(write())
    assert _stored(database_url, "SELECT count(*) FROM panthera.prediction") == [(1,)]


def test_only_the_first_exposure_of_an_entity_is_kept(database_url: str) -> None:
    async def write() -> None:
        async with _opened(database_url) as pool:
            log = PredictionLog(pool)
            for arm in ("challenger", "champion"):
                prediction = _prediction()
                await log.append([prediction], [_exposure(prediction, arm), _exposure(prediction, arm)])

    asyncio.run(write())
    assert _stored(database_url, "SELECT arm FROM panthera.exposure") == [("challenger",)]


def test_a_number_that_is_none_is_logged_as_missing(database_url: str) -> None:
    features = {"v__nan": math.nan, "v__infinite": -math.inf, "v__time": _AS_OF, "v__text": 'a"b\\é', "v__none": None}

    async def write() -> None:
        async with _opened(database_url) as pool:
            await PredictionLog(pool).append([_prediction(features=features, event_times={"v": None})], [])

    asyncio.run(write())
    expected = {
        "v__nan": None,
        "v__infinite": None,
        "v__time": "1998-04-01T00:00:00+00:00",
        "v__text": 'a"b\\é',
        "v__none": None,
    }
    assert _stored(database_url, "SELECT features, event_times FROM panthera.prediction") == [(expected, {"v": None})]


def _outcome(outcome_id: str, value: float = 1.0) -> Outcome:
    return Outcome(outcome_id, "1", _AS_OF, value)


def _record(url: str, *requests: list[Outcome], model: str = "churn") -> list[OutcomeReceipt | OutcomeConflictError]:
    async def record() -> list[OutcomeReceipt | OutcomeConflictError]:
        receipts: list[OutcomeReceipt | OutcomeConflictError] = []
        async with connection_pool(url) as pool:
            for outcomes in requests:
                try:
                    receipts.append(await record_outcomes(pool, outcomes, model))
                except OutcomeConflictError as error:
                    receipts.append(error)
        return receipts

    return asyncio.run(record())


def test_an_outcome_sent_again_is_counted_and_not_stored_twice(database_url: str) -> None:
    sent = [_outcome("b"), _outcome("a")]
    assert _record(database_url, sent, [*sent, _outcome("c"), _outcome("c")]) == [
        OutcomeReceipt(stored=2, duplicates=0),
        OutcomeReceipt(stored=1, duplicates=3),
    ]
    assert _stored(database_url, "SELECT outcome_id FROM panthera.outcome ORDER BY 1") == [("a",), ("b",), ("c",)]


def test_outcomes_of_two_models_never_mix_and_those_without_a_model_are_of_both(database_url: str) -> None:
    assert _record(database_url, [_outcome("a", 1.0)], model="") == [OutcomeReceipt(stored=1, duplicates=0)]
    assert _record(database_url, [_outcome("a", 1.0), _outcome("b", 1.0)]) == [OutcomeReceipt(stored=1, duplicates=1)]
    (receipt,) = _record(database_url, [_outcome("b", 0.0)], model="returns")
    assert receipt == OutcomeReceipt(stored=1, duplicates=0)
    (conflict,) = _record(database_url, [_outcome("a", 0.0)], model="returns")
    assert isinstance(conflict, OutcomeConflictError)
    stored = _stored(database_url, "SELECT outcome_id, model, value FROM panthera.outcome ORDER BY 1, 2")
    assert stored == [("a", "", 1.0), ("b", "churn", 1.0), ("b", "returns", 0.0)]


@pytest.mark.parametrize(
    "other",
    [
        replace(_outcome("a"), value=0.0),
        replace(_outcome("a"), entity="2"),
        replace(_outcome("a"), observed_at=_AS_OF + timedelta(seconds=1)),
        replace(_outcome("a"), name="calls"),
    ],
)
def test_an_id_that_stands_for_another_outcome_refuses_the_whole_request(database_url: str, other: Outcome) -> None:
    _, conflict, within = _record(
        database_url, [_outcome("a")], [_outcome("new"), other], [_outcome("x", 1.0), _outcome("x", 0.0)]
    )
    assert isinstance(conflict, OutcomeConflictError)
    assert conflict.outcome_ids == ("a",)
    assert isinstance(within, OutcomeConflictError)
    assert within.outcome_ids == ("x",)
    assert _stored(database_url, "SELECT outcome_id, value FROM panthera.outcome") == [("a", 1.0)]


def test_many_rows_let_the_event_loop_do_other_work_in_between() -> None:
    async def run() -> tuple[list[int], int]:
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(others())
        rows = [row async for row in in_turns(range(1000))]
        task.cancel()
        return rows, turns

    rows, turns = asyncio.run(run())
    assert rows == list(range(1000))
    assert turns >= 9
