"""Fetch the scores that two releases gave the same predictions, with the outcomes that are mature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from psycopg import sql

from core.experiment.label_window import first_outcome
from core.experiment.logged_numbers import logged_number
from core.experiment.owners import model_of_release

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import psycopg
    from numpy.typing import NDArray

    from monitoring.served_outcomes import OutcomeWindow

#: A release's score of a prediction is the served one, or that of its shadow.
_SCORE = sql.SQL("""
CASE WHEN {prediction}.release_id = {release} THEN {prediction}.score ELSE (
    SELECT shadow.score FROM panthera.shadow_score AS shadow
    WHERE shadow.release_id = {release} AND shadow.prediction_id = {prediction}.prediction_id
) END
""")
_FETCH = sql.SQL("""
WITH paired AS (
    SELECT logged.prediction_id, logged.entity, logged.as_of, logged.replay, logged.logged_at,
        {champion_score} AS champion, {shadow_score} AS shadow, {amounts} AS amounts
    FROM panthera.prediction AS logged
    WHERE logged.logged_at >= {since} AND logged.as_of <= {as_of} AND logged.release_id IN (
        SELECT release_id FROM panthera.release WHERE model = {model})
)
SELECT paired.entity, paired.champion, paired.shadow, paired.amounts, outcome.value
FROM paired
{first_outcome}
WHERE paired.champion IS NOT NULL AND paired.shadow IS NOT NULL
ORDER BY paired.entity COLLATE "C", paired.replay, paired.as_of, paired.logged_at, paired.prediction_id
""")


@dataclass(frozen=True)
class Pairs:
    """The predictions that both releases scored, those of an entity together; arrays are of shape (rows,).

    Attributes
    ----------
    first : whether the row is the first of its entity; a replay is one only if the entity has no other row.
    outcome : the first outcome in the label window; NaN if there is none, or the window is still open.
    amounts : numbers of the logged vector by column, as asked for; NaN where the log has none.

    """

    champion: NDArray[np.float64]
    shadow: NDArray[np.float64]
    first: NDArray[np.bool_]
    outcome: NDArray[np.float64]
    amounts: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class PairTerms:
    """Which predictions are compared: those of `model` that were logged at `since` or later, with as_of <= `as_of`."""

    model: str
    champion: str
    shadow: str
    since: datetime
    as_of: datetime


def release_score(prediction: str, release_id: str) -> sql.Composed:
    """Compose a release's score of the rows with the alias `prediction`; NULL if it neither answered nor scored them."""
    return _SCORE.format(prediction=sql.Identifier(prediction), release=release_id)


def fetch_pairs(
    connection: psycopg.Connection, terms: PairTerms, window: OutcomeWindow, amounts: Sequence[str] = ()
) -> Pairs:
    """Fetch the predictions with a score of both releases; `amounts` are columns (`view__feature`) of the logged vector."""
    label_window = map(sql.Literal, (window.lead, window.horizon, terms.as_of))
    query = _FETCH.format(
        champion_score=release_score("logged", terms.champion),
        shadow_score=release_score("logged", terms.shadow),
        amounts=sql.SQL("ARRAY[{}]::float8[]").format(
            sql.SQL(", ").join(logged_number("logged", name) for name in amounts)
        ),
        since=terms.since,
        as_of=terms.as_of,
        model=terms.model,
        first_outcome=first_outcome("paired", "as_of", model_of_release(sql.Literal(terms.shadow)), *label_window),
    )
    rows = connection.execute(query).fetchall()
    entities = [row[0] for row in rows]
    return Pairs(
        _numbers([row[1] for row in rows]),
        _numbers([row[2] for row in rows]),
        np.array([before != here for before, here in zip([None, *entities], entities, strict=False)], dtype=np.bool_),
        _numbers([row[4] for row in rows]),
        {name: _numbers([row[3][index] for row in rows]) for index, name in enumerate(amounts)},
    )


def _numbers(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
