"""Fetch the predictions of a release with their outcomes, by cohort: the week or month of the prediction."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from psycopg import sql
from psycopg.rows import class_row

from core.experiment.label_window import first_outcome
from core.experiment.logged_numbers import logged_number
from core.experiment.owners import model_of_release
from monitoring.served_counts import served_by

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import psycopg
    from numpy.typing import NDArray

#: Length of a cohort: calendar weeks from Monday on, or calendar months, in UTC.
Period: TypeAlias = Literal["week", "month"]

_FETCH = sql.SQL("""
WITH counted AS (
    SELECT DISTINCT ON (cohort, logged.entity)
        date_trunc({period}, logged.as_of, 'UTC') AS cohort, logged.entity, logged.as_of, logged.score, logged.decision,
        logged.replay, {amounts} AS amounts
    FROM panthera.prediction AS logged
    WHERE {served}
    ORDER BY cohort, logged.entity, logged.replay, logged.as_of, logged.logged_at, logged.prediction_id
)
SELECT counted.*, outcome.value
FROM counted
{first_outcome}
ORDER BY counted.cohort, counted.entity COLLATE "C"
""")


@dataclass(frozen=True)
class OutcomeWindow:
    """The label window of a prediction: outcomes with as_of + lead < observed_at <= as_of + horizon.

    The horizon contains the lead and the label's delay. Without one, an outcome counts whenever it is observed.
    """

    horizon: timedelta | None
    lead: timedelta


@dataclass(frozen=True)
class _Row:
    cohort: datetime
    entity: str
    as_of: datetime
    score: float
    decision: str
    replay: bool
    amounts: list[float | None]
    value: float | None


@dataclass(frozen=True)
class ServedCohort:
    """The predictions of a cohort, one row per entity; arrays are of shape (rows,).

    Attributes
    ----------
    start, end : of the week or month; `end` is exclusive.
    mature : whether the label window of every prediction that the cohort can still get has closed; without a window,
        whether the period has ended.
    outcome : the first outcome inside the label window; NaN if none was reported, or the window is still open.
    independent : whether the label window of the row begins after that of the entity's last independent row has closed.
        Overlapping windows hold the same outcome; a test over several cohorts must count it once.
    replays : number of the rows that were requests as of a past instant.
    amounts : numbers of the logged vector by column, as asked for; NaN where the log has none.

    """

    start: datetime
    end: datetime
    mature: bool
    score: NDArray[np.float64]
    decision: tuple[str, ...]
    outcome: NDArray[np.float64]
    independent: NDArray[np.bool_]
    replays: int
    amounts: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


def fetch_served_outcomes(
    connection: psycopg.Connection,
    release_id: str,
    period: Period,
    window: OutcomeWindow,
    as_of: datetime,
    amounts: Sequence[str] = (),
) -> list[ServedCohort]:
    """Fetch the cohorts of a release's predictions up to `as_of`, the earliest first.

    `amounts` are columns (`view__feature`) of the logged vector.

    An entity counts once in a cohort: with its first prediction there that is no replay, or else with its first replay.
    """
    query = _FETCH.format(
        period=period,
        amounts=sql.SQL("ARRAY[{}]::float8[]").format(
            sql.SQL(", ").join(logged_number("logged", name) for name in amounts)
        ),
        served=served_by(release_id, None, as_of),
        first_outcome=first_outcome(
            "counted",
            "as_of",
            model_of_release(sql.Literal(release_id)),
            *map(sql.Literal, (window.lead, window.horizon, as_of)),
        ),
    )
    with connection.cursor(row_factory=class_row(_Row)) as cursor:
        rows = cursor.execute(query).fetchall()
    independent = _independent(rows, window.horizon)
    by_cohort: dict[datetime, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        by_cohort[row.cohort].append(index)
    return [
        _cohort([rows[index] for index in indices], independent[indices], amounts, period, window, as_of)
        for indices in by_cohort.values()
    ]


def _independent(rows: Sequence[_Row], horizon: timedelta | None) -> NDArray[np.bool_]:
    """Return which rows, cohort by cohort, have a label window without an earlier one of the same entity."""
    last: dict[str, datetime] = {}
    independent = np.zeros(len(rows), dtype=np.bool_)
    for index, row in enumerate(rows):
        before = last.get(row.entity)
        if before is None or (horizon is not None and row.as_of >= before + horizon):
            last[row.entity] = row.as_of
            independent[index] = True
    return independent


def _cohort(
    rows: Sequence[_Row],
    independent: NDArray[np.bool_],
    amounts: Sequence[str],
    period: Period,
    window: OutcomeWindow,
    as_of: datetime,
) -> ServedCohort:
    start = rows[0].cohort
    end = _end(start, period)
    return ServedCohort(
        start=start,
        end=end,
        mature=end + (window.horizon or timedelta()) <= as_of,
        score=np.array([row.score for row in rows]),
        decision=tuple(row.decision for row in rows),
        outcome=_numbers([row.value for row in rows]),
        independent=independent,
        replays=sum(row.replay for row in rows),
        amounts={name: _numbers([row.amounts[index] for row in rows]) for index, name in enumerate(amounts)},
    )


def _numbers(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values])


def _end(start: datetime, period: Period) -> datetime:
    if period == "week":
        return start + timedelta(days=7)
    return (start + timedelta(days=31)).replace(day=1)
