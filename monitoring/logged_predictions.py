"""Read logged predictions back: samples that are the same for the same log."""

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
#: The first 32 bits of a hash that is the same in every version of PostgreSQL.
_HASH = sql.SQL("('x' || left(md5(logged.prediction_id::text), 8))::bit(32)::bigint")
_HASHES = 2**32


@dataclass(frozen=True)
class LoggedPrediction:
    """A prediction as the log holds it.

    Attributes
    ----------
    features : by `view__feature`, as JSON has them.
    event_times : by view, the event time of the row that was read, as ISO 8601; None where there was no row.
    statuses : by view, FRESH, STALE or MISSING.

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
        """Give the event time of the row of `view` that was read, None if there was none."""
        text = self.event_times.get(view)
        return None if text is None else datetime.fromisoformat(text)

    def is_stale(self, view: str) -> bool:
        """Whether the row of `view` was older than its ttl."""
        return self.statuses.get(view) == Freshness.STALE

    def linked_to(self, link: Link) -> Any:
        """Give the key of the entity that a fresh link named; None if there was none."""
        return self.features.get(link.column) if self.statuses.get(link.view) == Freshness.FRESH else None


def fetch_releases(connection: psycopg.Connection, start: datetime | None, end: datetime | None) -> list[str]:
    """List the releases that answered with start < as_of <= end, in order of their ids."""
    query = sql.SQL("SELECT DISTINCT release_id FROM panthera.prediction AS logged WHERE {} ORDER BY 1").format(
        served_by(None, start, end)
    )
    return [row[0] for row in connection.execute(query)]


def fetch_one(connection: psycopg.Connection, prediction_id: UUID | None) -> tuple[str, LoggedPrediction] | None:
    """Read one prediction and the release that made it; without an id the last one that was logged."""
    chosen = sql.SQL("logged.prediction_id = {}").format(prediction_id) if prediction_id else sql.SQL("true")
    latest = sql.SQL("{} ORDER BY logged_at DESC, prediction_id LIMIT 1")
    found = _read(connection, latest.format(_COLUMNS.format(served=chosen)))
    if not found:
        return None
    of = "SELECT release_id FROM panthera.prediction WHERE prediction_id = %s"
    ((release_id,),) = connection.execute(of, [found[0].prediction_id])
    return release_id, found[0]


def fetch_share(
    connection: psycopg.Connection, release_id: str, share: float, start: datetime | None, end: datetime | None
) -> list[LoggedPrediction]:
    """Read the predictions of a release whose hash falls into the first `share` of all hashes."""
    query = sql.SQL("{} AND {} < {} ORDER BY prediction_id").format(
        _COLUMNS.format(served=served_by(release_id, start, end)), _HASH, int(share * _HASHES)
    )
    return _read(connection, query)


def fetch_at_most(
    connection: psycopg.Connection, release_id: str, rows: int, start: datetime | None, end: datetime | None
) -> list[LoggedPrediction]:
    """Read the `rows` predictions of a release with the smallest hashes."""
    query = sql.SQL("{} ORDER BY {}, prediction_id LIMIT {}").format(
        _COLUMNS.format(served=served_by(release_id, start, end)), _HASH, rows
    )
    return _read(connection, query)


def _read(connection: psycopg.Connection, query: sql.Composed) -> list[LoggedPrediction]:
    with connection.cursor(row_factory=class_row(LoggedPrediction)) as cursor:
        return cursor.execute(query).fetchall()
