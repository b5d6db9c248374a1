"""Write predictions into the log as the service does."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Mapping

    import psycopg

NOON = datetime(1998, 4, 1, 12, tzinfo=UTC)


def log_prediction(
    connection: psycopg.Connection,
    number: int,
    features: Mapping[str, Any],
    *,
    score: float = 0.5,
    release_id: str = "r1",
    as_of: datetime = NOON,
    event_times: Mapping[str, str | None] | None = None,
    entity: str | None = None,
    statuses: Mapping[str, str] | None = None,
) -> UUID:
    prediction_id = UUID(int=number)
    connection.execute(
        "INSERT INTO panthera.prediction (prediction_id, entity, as_of, release_id, experiment, arm, score, decision, "
        "features, event_times, statuses) VALUES (%s, %s, %s, %s, 'trial', 'champion', %s, 'act', %s, %s, %s)",
        [
            prediction_id,
            entity or str(number),
            as_of,
            release_id,
            score,
            json.dumps(features),
            json.dumps(event_times or {}),
            json.dumps(statuses or dict.fromkeys(event_times or {}, "FRESH")),
        ],
    )
    return prediction_id
