"""Count the logged values of a release in the bins of its reference distributions; what is counted once is kept by the hour.

Reading a vector costs PostgreSQL forty times as much as passing over its row. Therefore the counts of each hour are kept in
`panthera.served_count`, with the number and a fingerprint of the predictions that were counted. A later call compares both with
the log, and reads the vectors of those hours only whose predictions are not the ones that were counted.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
from psycopg import sql

from monitoring.changes.served_bins import SCORE, bins_of_row, counts_by_column, number_of_bins, vectors

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from core.reference import BinCounts, Reference

__all__ = ["SCORE", "fetch_served_counts", "served_by"]

_FORMAT_VERSION = 1
#: The end of the hour of a prediction; the end itself belongs to the hour, as the end of a window does.
_HOUR = sql.SQL("date_trunc('hour', logged.as_of - interval '1 microsecond') + interval '1 hour'")
_HOURS = sql.SQL("""
WITH served AS (
    SELECT {hour} AS hour, count(*) AS predictions, bit_xor(uuid_hash_extended(logged.prediction_id, 0)) AS fingerprint
    FROM panthera.prediction AS logged WHERE {served} GROUP BY 1
)
SELECT served.hour, served.predictions, served.fingerprint, kept.counts
FROM served LEFT JOIN panthera.served_count AS kept ON kept.release_id = {release_id} AND kept.bins = {bins}
    AND kept.hour = served.hour AND kept.format_version = {version}
    AND kept.predictions = served.predictions AND kept.fingerprint = served.fingerprint
ORDER BY served.hour
""")
_BINS = sql.SQL("""
SELECT counted.hour, counted.bin, count(*) FROM (
    SELECT {hour} AS hour, unnest({bins}) AS bin
    FROM panthera.prediction AS logged {vectors} WHERE {served} AND {hour} = ANY ({hours})
) AS counted GROUP BY 1, 2
""")
_KEEP = """
INSERT INTO panthera.served_count (release_id, bins, hour, format_version, predictions, fingerprint, counts)
VALUES (%s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (release_id, bins, hour) DO UPDATE SET format_version = excluded.format_version,
    predictions = excluded.predictions, fingerprint = excluded.fingerprint, counts = excluded.counts, counted_at = now()
"""


@dataclass(frozen=True)
class _Hour:
    """The predictions of an hour: their number, their fingerprint, and their counts by bin if these are kept."""

    end: datetime
    predictions: int
    fingerprint: int
    counts: Sequence[int] | None


def fetch_served_counts(
    connection: psycopg.Connection,
    release_id: str,
    reference: Reference,
    start: datetime | None,
    end: datetime | None,
) -> dict[str, BinCounts]:
    """Fetch the counts of a release's predictions with start < as_of <= end, by column and bin.

    In the logged vector, a JSON null or an absent key counts as missing, a value of another type than the column's as other.
    None leaves that side of the window open. New counts are kept; a user who may only read gets the same, and keeps none.
    """
    bins, served = _digest(reference), served_by(release_id, start, end)
    query = _HOURS.format(hour=_HOUR, served=served, release_id=release_id, bins=bins, version=_FORMAT_VERSION)
    hours = [_Hour(*row) for row in connection.execute(query)]
    uncounted = [hour for hour in hours if hour.counts is None]
    counted = _count(connection, reference, served, uncounted)
    # An hour to which a prediction was added between the two queries is counted again by the next call.
    whole = [hour for hour in uncounted if counted[hour.end].sum() == hour.predictions * len(reference.columns)]
    _keep(connection, release_id, bins, [(hour, counted[hour.end]) for hour in whole])
    kept = (np.asarray(hour.counts) for hour in hours if hour.counts is not None)
    total = sum((*kept, *counted.values()), np.zeros(number_of_bins(reference), np.int64))
    return counts_by_column(reference, total.tolist())


def served_by(release_id: str | None, start: datetime | None, end: datetime | None) -> sql.Composed:
    """Compose the SQL condition on `logged` for the predictions with start < as_of <= end of a release, or of all."""
    conditions: list[sql.Composable] = [sql.SQL("true")]
    if release_id is not None:
        conditions.append(sql.SQL("logged.release_id = {}").format(release_id))
    if start is not None:
        conditions.append(sql.SQL("logged.as_of > {}").format(start))
    if end is not None:
        conditions.append(sql.SQL("logged.as_of <= {}").format(end))
    return sql.SQL(" AND ").join(conditions)


def _digest(reference: Reference) -> str:
    """Return a digest of the bins, without the counts of the training rows."""
    bins = [(column.name, column.kind, column.edges, column.levels) for column in reference.columns]
    return hashlib.sha256(json.dumps(bins).encode()).hexdigest()[:32]


def _count(
    connection: psycopg.Connection, reference: Reference, served: sql.Composed, hours: Iterable[_Hour]
) -> dict[datetime, NDArray[np.int64]]:
    """Count the vectors of these hours by bin."""
    counts = {hour.end: np.zeros(number_of_bins(reference), np.int64) for hour in hours}
    if counts:
        query = _BINS.format(
            hour=_HOUR, bins=bins_of_row(reference), vectors=vectors(reference), served=served, hours=list(counts)
        )
        for hour, bin_index, rows in connection.execute(query):
            counts[hour][bin_index] = rows
    return counts


def _keep(
    connection: psycopg.Connection,
    release_id: str,
    bins: str,
    counted: Iterable[tuple[_Hour, NDArray[np.int64]]],
) -> None:
    """Write the counts of hours, if the user may."""
    rows: list[list[Any]] = [
        [release_id, bins, hour.end, _FORMAT_VERSION, hour.predictions, hour.fingerprint, counts.tolist()]
        for hour, counts in counted
    ]
    if not rows:
        return
    try:
        with connection.transaction(), connection.cursor() as cursor:
            cursor.executemany(_KEEP, rows)
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction):
        pass  # the counts are right all the same; the next call counts again
