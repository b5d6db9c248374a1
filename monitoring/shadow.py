"""The shadow scorer: another release scores the logged vectors of predictions, in a process of its own.

It reads the log and writes scores, so it cannot slow or fail an answer. The key of a score is the release and the prediction:
a run that is killed anywhere is continued by the next one, and two runs at once double nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from psycopg.rows import class_row

from core.errors import BundleError
from monitoring.logged_predictions import LoggedPrediction
from monitoring.parity import logged_vector

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    import psycopg

    from core.contracts import Contract, Value

#: The oldest predictions without a score; predictions of all releases of the model count.
_UNSCORED = """
SELECT prediction_id, entity, as_of, logged_at, logged.score, features, event_times, statuses
FROM panthera.prediction AS logged
WHERE logged.logged_at >= %(since)s
    AND logged.release_id IN (SELECT release_id FROM panthera.release WHERE model = %(model)s)
    AND NOT EXISTS (
        SELECT FROM panthera.shadow_score AS shadow
        WHERE shadow.release_id = %(release)s AND shadow.prediction_id = logged.prediction_id
    )
ORDER BY logged.logged_at LIMIT %(rows)s
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

    def score(self, vectors: Sequence[Sequence[Value]]) -> list[float]:
        """Return the scores of vectors."""
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


def score_batch(connection: psycopg.Connection, terms: ShadowTerms, bundle: Scores, rows: int = 1_000) -> int:
    """Score the oldest unscored predictions and write the scores; return how many predictions there were, 0 at the end."""
    parameters = {"model": terms.model, "release": terms.release_id, "since": terms.since, "rows": rows}
    with connection.cursor(row_factory=class_row(LoggedPrediction)) as cursor:
        logged = cursor.execute(_UNSCORED, parameters).fetchall()
    if logged:
        results = [_scored(prediction, bundle) for prediction in logged]
        connection.execute(_WRITE, [terms.release_id, *(list(column) for column in zip(*results, strict=True))])
    return len(logged)


def _scored(logged: LoggedPrediction, bundle: Scores) -> tuple[UUID, float | None, str | None]:
    """Return the id of a prediction, with the score of its vector or why there is none."""
    absent = [feature.column for feature in bundle.contract.features if feature.column not in logged.features]
    if absent:
        return logged.prediction_id, None, f"the log has no {', '.join(absent)}; give the release the role challenger"
    vector = logged_vector(logged, bundle.contract.features)
    try:
        fault = bundle.fault(vector)
        return logged.prediction_id, None if fault else bundle.score([vector])[0], fault
    except BundleError as error:
        return logged.prediction_id, None, str(error)


def summarize(connection: psycopg.Connection, terms: ShadowTerms) -> ShadowSummary:
    """Fetch the summary of what was served and what the shadow says."""
    parameters = {"model": terms.model, "release": terms.release_id, "since": terms.since}
    with connection.cursor(row_factory=class_row(ShadowSummary)) as cursor:
        (summary,) = cursor.execute(_SUMMARY, parameters).fetchall()
    return summary
