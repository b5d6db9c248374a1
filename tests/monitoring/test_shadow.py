"""The shadow scorer: each logged prediction is scored once, whatever happens to the process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np

from core.errors import BundleError
from core.postgres.database import connect
from models.scoring.model_file import LightGbmTrees
from monitoring.shadow import ShadowScorer, ShadowTerms, summarize
from tests.monitoring.log_rows import log_prediction
from tests.serving.conftest import contract_over

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

    from core.contracts import Contract, Value

TERMS = ShadowTerms("model", "r2", datetime(1998, 1, 1, tzinfo=UTC))
_CONTRACT = contract_over([("v_1", "x", "int64")])


@dataclass(frozen=True)
class _Doubled:
    """Scores twice the value; refuses 13, fails on 7, and takes `seconds` for each vector."""

    seconds: float = 0.0

    @property
    def contract(self) -> Contract:
        return _CONTRACT

    def fault(self, vector: Sequence[Value]) -> str | None:
        return "unlucky" if vector[0] == 13 else None

    def score_conforming(self, vectors: Sequence[Sequence[Value]]) -> list[float]:
        time.sleep(self.seconds * len(vectors))
        if 7 in {vector[0] for vector in vectors}:
            raise BundleError("cannot")
        return [2.0 * float(vector[0]) for vector in vectors]  # type: ignore[arg-type]


def _log(connection: psycopg.Connection, *numbers: int) -> None:
    for number in numbers:
        log_prediction(connection, number, {"v__x": number}, score=float(number))
    connection.commit()


def _scores(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    rows = connection.execute("SELECT prediction_id, score FROM panthera.shadow_score ORDER BY 1").fetchall()
    return [(prediction_id.int, score) for prediction_id, score in rows]


def test_predictions_are_scored_once_and_what_cannot_be_scored_says_why(connection: psycopg.Connection) -> None:
    _log(connection, 1, 2, 7, 13)
    log_prediction(connection, 20, {"v__other": 1})
    scorer = ShadowScorer(TERMS, _Doubled(), rows=3)
    assert (scorer.score_pass(connection), scorer.score_pass(connection)) == (5, 0)
    assert _scores(connection) == [(1, 2.0), (2, 4.0), (7, None), (13, None), (20, None)]
    faults = connection.execute("SELECT fault FROM panthera.shadow_score WHERE score IS NULL ORDER BY prediction_id")
    assert [row[0] for row in faults] == [
        "cannot",
        "unlucky",
        "the log has no v__x; give the release the role challenger",
    ]
    summary = summarize(connection, TERMS)
    assert (summary.predictions, summary.scored, summary.faults) == (5, 2, 3)
    assert (summary.served_mean, summary.shadow_mean, summary.difference_p95) == (1.5, 3.0, 1.95)
    assert summary.correlation is not None
    assert abs(summary.correlation - 1) < 1e-9


def test_predictions_of_another_model_or_before_the_window_are_left_alone(connection: psycopg.Connection) -> None:
    connection.execute(
        "INSERT INTO panthera.release VALUES ('theirs', 1, 'other', 'kind', 'd', 'service', 'd', 'c', '1', '{}')"
    )
    log_prediction(connection, 1, {"v__x": 1}, release_id="theirs")
    log_prediction(connection, 2, {"v__x": 2})
    connection.execute("UPDATE panthera.prediction SET logged_at = '1997-01-01' WHERE entity = '2'")
    assert ShadowScorer(TERMS, _Doubled()).score_pass(connection) == 0


def _score_slowly(url: str) -> None:
    scorer = ShadowScorer(TERMS, _Doubled(seconds=0.02), rows=10)
    while True:
        with connect(url) as connection:
            scorer.score_pass(connection)


def test_a_kill_in_the_middle_loses_and_doubles_nothing(connection: psycopg.Connection, database_url: str) -> None:
    connection.commit()
    numbers = list(range(100, 160))
    _log(connection, *numbers)
    for _ in range(2):
        before = len(_scores(connection))
        connection.rollback()
        scorer = multiprocessing.get_context("fork").Process(target=_score_slowly, args=(database_url,))
        scorer.start()
        deadline = time.monotonic() + 30
        while len(_scores(connection)) == before and time.monotonic() < deadline:
            connection.rollback()
            time.sleep(0.01)
        time.sleep(0.05)  # into the next batch
        assert scorer.pid
        os.kill(scorer.pid, signal.SIGKILL)
        scorer.join()
        connection.rollback()
        assert before < len(_scores(connection)) < len(numbers)
    connection.rollback()
    ShadowScorer(TERMS, _Doubled()).score_pass(connection)
    assert _scores(connection) == [(number, 2.0 * number) for number in numbers]


def _impatient() -> ShadowScorer:
    return ShadowScorer(TERMS, _Doubled(), rows=2, listed_after=timedelta(0))


def test_a_row_that_is_committed_after_later_ones_is_scored(connection: psycopg.Connection, database_url: str) -> None:
    scorer = _impatient()
    with connect(database_url) as slow:
        slow.execute("SELECT now()")  # the time of all rows of the transaction, which are written later
        for number in (10, 11, 12):
            _log(connection, number)
            scorer.score_pass(connection)
        log_prediction(slow, 5, {"v__x": 5})
        _log(connection, 14)
        assert [scorer.score_pass(connection) for _ in range(3)] == [1, 0, 0]
        slow.commit()
        assert scorer.score_pass(connection) == 1
    assert _scores(connection) == [(number, 2.0 * number) for number in (5, 10, 11, 12, 14)]


def test_what_was_scored_is_not_read_again(connection: psycopg.Connection) -> None:
    scorer = _impatient()
    _log(connection, 1, 2, 3)
    assert [scorer.score_pass(connection) for _ in range(3)] == [3, 0, 0]
    connection.execute("DELETE FROM panthera.shadow_score WHERE prediction_id = %s", [UUID(int=1)])
    _log(connection, 4)
    assert scorer.score_pass(connection) == 1
    assert [number for number, _ in _scores(connection)] == [2, 3, 4]


def _fitted_trees() -> LightGbmTrees:
    import lightgbm

    values = np.arange(400.0)[:, None]
    data = lightgbm.Dataset(values, np.sin(values[:, 0]))
    fitted = lightgbm.train({"min_data_in_leaf": 5, "num_threads": 1, "verbose": -1}, data, 20)
    return LightGbmTrees(fitted.model_to_string().encode())


@dataclass(frozen=True)
class _Trees(_Doubled):
    """Trees over the value."""

    model: LightGbmTrees = field(default_factory=_fitted_trees)

    def score_conforming(self, vectors: Sequence[Sequence[Value]]) -> list[float]:
        scores: list[float] = self.model.outputs(np.asarray(vectors, dtype=np.float64))[:, 0].tolist()
        return scores


def test_a_batch_has_the_scores_of_its_vectors_alone_to_the_bit(connection: psycopg.Connection) -> None:
    trees = _Trees()
    _log(connection, *range(20, 60))
    ShadowScorer(TERMS, trees, rows=17).score_pass(connection)
    assert _scores(connection) == [(number, trees.score_conforming([[number]])[0]) for number in range(20, 60)]
    assert len({score for _, score in _scores(connection)}) > 5
