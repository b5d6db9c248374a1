"""The shadow scorer: another release scores the logged vectors of predictions, in a process of its own.

It reads the log and writes scores, so it cannot slow or fail an answer. The key of a score is the release and the prediction:
a run that is killed anywhere is continued by the next one, and two runs at once double nothing.

A pass reads the log once in the order of `logged_at`, from the instant before which every prediction is scored. A row becomes
visible after its `logged_at`, when its transaction commits. That instant therefore moves up to an earlier mark only when
every transaction that was open at the mark has ended, and a pass has read the log after that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol, TypeAlias
from uuid import UUID

from psycopg.rows import class_row

from core.errors import BundleError
from monitoring.logged_predictions import LoggedPrediction
from monitoring.parity import logged_vector

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import psycopg

    from core.contracts import Contract, Value

_FIRST_ID = UUID(int=0)
#: A transaction has its start time a moment before it is listed as open.
_LISTED_AFTER = timedelta(seconds=10)

#: The oldest predictions without a score from a place on; predictions of all releases of the model count.
_UNSCORED = """
SELECT prediction_id, entity, as_of, logged_at, logged.score, features, event_times, statuses
FROM panthera.prediction AS logged
WHERE (logged.logged_at, logged.prediction_id) >= (%(instant)s, %(prediction)s)
    AND logged.release_id IN (SELECT release_id FROM panthera.release WHERE model = %(model)s)
    AND NOT EXISTS (
        SELECT FROM panthera.shadow_score AS shadow
        WHERE shadow.release_id = %(release)s AND shadow.prediction_id = logged.prediction_id
    )
ORDER BY logged.logged_at, logged.prediction_id LIMIT %(rows)s
"""
#: Each open transaction holds a lock on its own number, which every user may see.
_MARK = """
SELECT clock_timestamp() - %s AS instant, coalesce(array_agg(DISTINCT virtualtransaction), '{}') AS open_transactions
FROM pg_locks LEFT JOIN pg_stat_activity USING (pid)
WHERE pid IS DISTINCT FROM pg_backend_pid() AND coalesce(datname, current_database()) = current_database()
"""
_WRITE = """
INSERT INTO panthera.shadow_score (release_id, prediction_id, score, fault)
SELECT %s, * FROM unnest(%s::uuid[], %s::float8[], %s::text[])
ON CONFLICT (release_id, prediction_id) DO NOTHING
"""
_SUMMARY = """
SELECT count(*) AS predictions, count(shadow.score) AS scored, count(shadow.fault) AS faults,
    avg(logged.score) FILTER (WHERE shadow.score IS NOT NULL) AS served_mean, avg(shadow.score) AS shadow_mean,
    corr(logged.score, shadow.score) AS correlation,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY abs(logged.score - shadow.score)) AS difference_p95
FROM panthera.prediction AS logged LEFT JOIN panthera.shadow_score AS shadow
    ON shadow.prediction_id = logged.prediction_id AND shadow.release_id = %(release)s
WHERE logged.logged_at >= %(since)s
    AND logged.release_id IN (SELECT release_id FROM panthera.release WHERE model = %(model)s)
"""


class Scores(Protocol):
    """What scores: a loaded bundle."""

    @property
    def contract(self) -> Contract:
        """The ordered features and their dtypes."""
        ...

    def fault(self, vector: Sequence[Value]) -> str | None:
        """Return why a vector cannot be scored, or None."""
        ...

    def score_conforming(self, vectors: Sequence[Sequence[Value]]) -> list[float]:
        """Return the scores of vectors without a fault."""
        ...


@dataclass(frozen=True)
class ShadowTerms:
    """Which release scores the predictions of `model` that were logged at `since` or later."""

    model: str
    release_id: str
    since: datetime


@dataclass(frozen=True)
class ShadowSummary:
    """The predictions of the window, beside the scores of the shadow.

    Attributes
    ----------
    scored, faults : predictions that the shadow scored, and those that it could not score; the others wait.
    served_mean, shadow_mean, correlation : over the scored predictions; None if undefined.
    difference_p95 : 95th percentile of the absolute difference between the two scores.

    """

    predictions: int
    scored: int
    faults: int
    served_mean: float | None
    shadow_mean: float | None
    correlation: float | None
    difference_p95: float | None


@dataclass(frozen=True)
class _Mark:
    """An instant, and the transactions that were open then: later transactions have a later `logged_at`."""

    instant: datetime
    open_transactions: frozenset[str]


class ShadowScorer:
    """Scores the predictions of `terms` in passes over the log.

    Parameters
    ----------
    rows : number of predictions that are scored and committed together.
    listed_after : how long an open transaction may take to be listed.

    """

    def __init__(
        self, terms: ShadowTerms, bundle: Scores, rows: int = 1_000, listed_after: timedelta = _LISTED_AFTER
    ) -> None:
        self.terms = terms
        self._bundle = bundle
        self._rows = rows
        self._listed_after = listed_after
        self._scored_before = terms.since
        self._pending: _Mark | None = None

    def score_pass(self, connection: psycopg.Connection) -> int:
        """Write the scores of the predictions without one, a commit for each batch; return how many there were."""
        mark = self._mark(connection)
        place, total, read = (self._scored_before, _FIRST_ID), 0, self._rows
        while read == self._rows:
            logged = self._unscored(connection, place)
            if logged:
                _write(connection, self.terms.release_id, _results(logged, self._bundle))
                place = (logged[-1].logged_at, logged[-1].prediction_id)
            read = len(logged)
            total += read
        self._settle(mark)
        return total

    def _mark(self, connection: psycopg.Connection) -> _Mark:
        ((instant, transactions),) = connection.execute(_MARK, [self._listed_after]).fetchall()
        connection.commit()
        return _Mark(instant, frozenset(transactions))

    def _unscored(self, connection: psycopg.Connection, place: tuple[datetime, UUID]) -> list[LoggedPrediction]:
        parameters = {
            "model": self.terms.model,
            "release": self.terms.release_id,
            "instant": place[0],
            "prediction": place[1],
            "rows": self._rows,
        }
        with connection.cursor(row_factory=class_row(LoggedPrediction)) as cursor:
            logged = cursor.execute(_UNSCORED, parameters).fetchall()
        connection.commit()
        return logged

    def _settle(self, mark: _Mark) -> None:
        """Move up to the pending mark if all of its transactions had ended when the pass began at `mark`."""
        pending = self._pending
        still_open = pending.open_transactions & mark.open_transactions if pending else None
        if pending and still_open:
            self._pending = replace(pending, open_transactions=still_open)
            return
        if pending:
            self._scored_before = max(self.terms.since, pending.instant)
        self._pending = mark


#: A score, or why there is none.
_Result: TypeAlias = "float | str"


def _write(connection: psycopg.Connection, release_id: str, results: Sequence[tuple[UUID, _Result]]) -> None:
    ids = [prediction_id for prediction_id, _ in results]
    scores = [None if isinstance(result, str) else result for _, result in results]
    faults = [result if isinstance(result, str) else None for _, result in results]
    connection.execute(_WRITE, [release_id, ids, scores, faults])
    connection.commit()


def _results(logged: Sequence[LoggedPrediction], bundle: Scores) -> list[tuple[UUID, _Result]]:
    """Return the ids of predictions, each with the score of its vector or why there is none."""
    faults = {each.prediction_id: _absent(each, bundle.contract) for each in logged}
    vectors = {
        each.prediction_id: logged_vector(each, bundle.contract.features)
        for each in logged
        if faults[each.prediction_id] is None
    }
    for prediction_id, vector in vectors.items():
        faults[prediction_id] = bundle.fault(vector)
    conforming = {key: vector for key, vector in vectors.items() if faults[key] is None}
    scores = dict(zip(conforming, _scores(list(conforming.values()), bundle), strict=True))
    return [(each.prediction_id, faults[each.prediction_id] or scores[each.prediction_id]) for each in logged]


def _absent(logged: LoggedPrediction, contract: Contract) -> str | None:
    absent = [feature.column for feature in contract.features if feature.column not in logged.features]
    return f"the log has no {', '.join(absent)}; give the release the role challenger" if absent else None


def _scores(vectors: Sequence[Sequence[Value]], bundle: Scores) -> Sequence[_Result]:
    """Return the scores of a batch; if the model refuses it, of each vector alone, so that one cannot fail another."""
    try:
        return bundle.score_conforming(vectors)
    except BundleError as error:
        if len(vectors) == 1:
            return [str(error)]
        return [result for vector in vectors for result in _scores([vector], bundle)]


def summarize(connection: psycopg.Connection, terms: ShadowTerms) -> ShadowSummary:
    """Fetch the summary of what was served and what the shadow says."""
    parameters = {"model": terms.model, "release": terms.release_id, "since": terms.since}
    with connection.cursor(row_factory=class_row(ShadowSummary)) as cursor:
        (summary,) = cursor.execute(_SUMMARY, parameters).fetchall()
    return summary
