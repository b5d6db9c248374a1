"""Fetch logged predictions; samples are deterministic, since they are chosen by a hash of the prediction's id."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from psycopg import sql
from psycopg.rows import class_row

from core.contracts import Freshness
from monitoring.served_counts import served_by

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    import psycopg

    from core.contracts import Link

_COLUMNS = sql.SQL(
    "SELECT prediction_id, entity, as_of, logged_at, score, features, event_times, statuses "
    "FROM panthera.prediction AS logged WHERE {served}"
)
#: The first 32 bits of the MD5 of the id; MD5 is the same in every version of PostgreSQL.
_HASH = sql.SQL("('x' || left(md5(logged.prediction_id::text), 8))::bit(32)::bigint")
_HASHES = 2**32


@dataclass(frozen=True)
class LoggedPrediction:
    """A row of the prediction log.

    Attributes
    ----------
    features : by `view__feature`, as JSON values.
    event_times : by view, the event time of the row that was read, as ISO 8601; None without a row.
    statuses : by view, FRESH, STALE, MISSING or GIVEN.

    """

    prediction_id: UUID
    entity: str
    as_of: datetime
    logged_at: datetime
    score: float
    features: Mapping[str, Any]
    event_times: Mapping[str, str | None]
    statuses: Mapping[str, str]

    def event_time(self, view: str) -> datetime | None:
        """Return the event time of the row of `view` that was read; None without a row."""
        text = self.event_times.get(view)
        return None if text is None else datetime.fromisoformat(text)

    def is_stale(self, view: str) -> bool:
        """Return whether the row of `view` was older than its ttl."""
        return self.statuses.get(view) == Freshness.STALE

    def is_given(self, view: str) -> bool:
        """Whether the features of `view` came with the request."""
        return self.statuses.get(view) == Freshness.GIVEN

    def linked_to(self, link: Link) -> Any:
        """Return the key in a link feature; None if the link was not fresh."""
        return self.features.get(link.column) if self.statuses.get(link.view) == Freshness.FRESH else None


def fetch_releases(connection: psycopg.Connection, start: datetime | None, end: datetime | None) -> list[str]:
    """Fetch the ids of the releases with predictions in start < as_of <= end, in order."""
    query = sql.SQL("SELECT DISTINCT release_id FROM panthera.prediction AS logged WHERE {} ORDER BY 1").format(
        served_by(None, start, end)
    )
    return [row[0] for row in connection.execute(query)]


def fetch_one(connection: psycopg.Connection, prediction_id: UUID | None) -> tuple[str, LoggedPrediction] | None:
    """Fetch one prediction and its release id, without an id the latest prediction; None if there is none."""
    condition = sql.SQL("logged.prediction_id = {}").format(prediction_id) if prediction_id else sql.SQL("true")
    latest = sql.SQL("{} ORDER BY logged_at DESC, prediction_id LIMIT 1")
    rows = _fetch(connection, latest.format(_COLUMNS.format(served=condition)))
    if not rows:
        return None
    release_query = "SELECT release_id FROM panthera.prediction WHERE prediction_id = %s"
    ((release_id,),) = connection.execute(release_query, [rows[0].prediction_id])
    return release_id, rows[0]


def fetch_share(
    connection: psycopg.Connection, release_id: str, share: float, start: datetime | None, end: datetime | None
) -> list[LoggedPrediction]:
    """Fetch a sample of a release's predictions: those whose hash is in the lowest `share` of all hashes."""
    query = sql.SQL("{} AND {} < {} ORDER BY prediction_id").format(
        _COLUMNS.format(served=served_by(release_id, start, end)), _HASH, int(share * _HASHES)
    )
    return _fetch(connection, query)


def fetch_at_most(
    connection: psycopg.Connection, release_id: str, rows: int, start: datetime | None, end: datetime | None
) -> list[LoggedPrediction]:
    """Fetch a sample of at most `rows` predictions of a release: those with the lowest hashes."""
    query = sql.SQL("{} ORDER BY {}, prediction_id LIMIT {}").format(
        _COLUMNS.format(served=served_by(release_id, start, end)), _HASH, rows
    )
    return _fetch(connection, query)


def _fetch(connection: psycopg.Connection, query: sql.Composed) -> list[LoggedPrediction]:
    with connection.cursor(row_factory=class_row(LoggedPrediction)) as cursor:
        return cursor.execute(query).fetchall()
