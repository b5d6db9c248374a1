"""Move old days of the prediction log from PostgreSQL to Parquet files, and read a prediction back from them.

A row is in PostgreSQL or in one listed file at any time: the file is on disk before the transaction commits that lists it and
deletes its rows. A run that is killed leaves at most a file that is not listed, which the next run replaces.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
from psycopg import IsolationLevel, sql
from psycopg.rows import class_row, dict_row

from core.errors import DatabaseError, StaleStateError
from core.experiment.covariate import first_score
from core.files import whole_file
from core.postgres.advisory_locks import Lock, hold_while_connected
from core.postgres.database import connect
from monitoring.logged_predictions import LoggedPrediction

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date, datetime, timedelta
    from pathlib import Path

    import psycopg

_FORMAT_VERSION = 1
_ROWS_PER_GROUP = 20_000
_INSTANT = pa.timestamp("us", "UTC")
_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("prediction_id", "entity", "release_id", "experiment", "arm", "decision")),
        *((name, pa.string()) for name in ("features", "event_times", "statuses")),
        *((name, _INSTANT) for name in ("as_of", "logged_at")),
        ("score", pa.float64()),
        ("phase_id", pa.int32()),
        ("replay", pa.bool_()),
    ]
)

#: Rows of a model that nothing needs any more: not an open label window, not a replay that may still be exposed, not the
#: vector that exposed a unit of the present experiment, and not its score before (see `core.experiment.covariate`).
_REMOVABLE = sql.SQL("""
FROM panthera.prediction AS logged
WHERE logged.release_id IN (SELECT release_id FROM panthera.release WHERE model = {model})
    AND logged.logged_at < {before}
    AND coalesce(logged.as_of + {window}::interval <= {now}, true)
    AND NOT (logged.experiment = {experiment} AND logged.replay)
    AND NOT EXISTS (
        SELECT FROM panthera.exposure AS unit
        WHERE unit.experiment = {experiment} AND unit.entity = logged.entity AND (
            unit.prediction_id = logged.prediction_id
            OR (logged.as_of <= unit.exposed_at AND logged.as_of > {first_score})
        )
    )
""")
_DAYS = sql.SQL("SELECT DISTINCT (logged.logged_at AT TIME ZONE 'UTC')::date AS day {removable} ORDER BY day")
_OF_DAY = sql.SQL("{removable} AND (logged.logged_at AT TIME ZONE 'UTC')::date = {day}")
_COLUMNS = sql.SQL(
    "SELECT prediction_id::text, entity, release_id, experiment, arm, decision, features::text, event_times::text, "
    "statuses::text, as_of, logged_at, score, phase_id, replay {rows} ORDER BY prediction_id"
)
_LISTED = "SELECT day, file, rows, digest, actor, sealed_at FROM panthera.sealed_log WHERE model = %s ORDER BY seal_id"


@dataclass(frozen=True)
class SealTerms:
    """What may be sealed.

    Attributes
    ----------
    before : rows that were logged before it, which is the begin of a day.
    window : length of the label window; None if outcomes count whenever they are observed.
    experiment : name of the present experiment, whose rows are kept as far as it needs them.

    """

    model: str
    experiment: str
    before: datetime
    now: datetime
    window: timedelta | None


@dataclass(frozen=True)
class SealedDay:
    """A listed file: predictions of one day (UTC)."""

    day: date
    file: str
    rows: int
    digest: str
    actor: str
    sealed_at: datetime


def seal_log(url: str, folder: Path, terms: SealTerms, actor: str) -> list[SealedDay]:
    """Move the rows that `terms` allow to files in `folder`, a day at a time; return the new files.

    A second run at the same time waits for the first one.

    Raises
    ------
    DatabaseError
        If the server cannot be reached.

    """
    with connect(url) as guard:
        hold_while_connected(guard, Lock.SEALING)
        days = [row[0] for row in guard.execute(_DAYS.format(removable=_removable(terms)))]
        return [_seal_day(url, folder, terms, day, actor) for day in days]


def _removable(terms: SealTerms) -> sql.Composed:
    return _REMOVABLE.format(
        model=terms.model,
        before=terms.before,
        window=terms.window,
        now=terms.now,
        experiment=terms.experiment,
        first_score=first_score(terms.experiment),
    )


def _seal_day(url: str, folder: Path, terms: SealTerms, day: date, actor: str) -> SealedDay:
    rows = _OF_DAY.format(removable=_removable(terms), day=day)
    with connect(url) as connection:
        connection.rollback()
        connection.isolation_level = IsolationLevel.REPEATABLE_READ  # the rows written are the rows deleted
        sealed = list_sealed(connection, terms.model)
        file = f"{day}-{1 + sum(each.day == day for each in sealed)}.parquet"
        written = _write(connection, rows, folder / file)
        digest = hashlib.sha256((folder / file).read_bytes()).hexdigest()
        connection.execute(
            "INSERT INTO panthera.sealed_log (format_version, model, day, file, rows, digest, actor) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s)",
            [_FORMAT_VERSION, terms.model, day, file, written, digest, actor],
        )
        deleted = connection.execute(sql.SQL("DELETE {}").format(rows)).rowcount
        if deleted != written:
            raise DatabaseError(f"{deleted} rows of {day} were deleted, but {written} written; nothing was changed")
        return list_sealed(connection, terms.model)[-1]


def _write(connection: psycopg.Connection, rows: sql.Composed, path: Path) -> int:
    """Write rows to a Parquet file, ordered by prediction id so that a reader skips most row groups; return their number."""
    written = 0
    with whole_file(path) as file, pq.ParquetWriter(file, _SCHEMA, compression="zstd") as writer:
        for batch in _batches(connection, _COLUMNS.format(rows=rows)):
            writer.write_table(pa.Table.from_pylist(batch, _SCHEMA))
            written += len(batch)
    return written


def _batches(connection: psycopg.Connection, query: sql.Composed) -> Iterator[list[dict[str, Any]]]:
    with connection.cursor("sealing", row_factory=dict_row) as cursor:
        cursor.execute(query)
        while batch := cursor.fetchmany(_ROWS_PER_GROUP):
            yield batch


def list_sealed(connection: psycopg.Connection, model: str) -> list[SealedDay]:
    """Fetch the listed files of a model, in the order in which they were sealed."""
    with connection.cursor(row_factory=class_row(SealedDay)) as cursor:
        return cursor.execute(_LISTED, [model]).fetchall()


def sealed_folder(state: Path, model: str) -> Path:
    """Return the folder of a model's sealed log in the state folder."""
    return state / "log" / model


def find_sealed(
    connection: psycopg.Connection, state: Path, prediction_id: UUID
) -> tuple[str, LoggedPrediction] | None:
    """Read one prediction and its release id from the listed files of all models; None if none has it.

    Raises
    ------
    StaleStateError
        If a listed file is missing, or is not the one that was sealed.

    """
    models = [row[0] for row in connection.execute("SELECT DISTINCT model FROM panthera.sealed_log ORDER BY 1")]
    for model in models:
        for sealed in reversed(list_sealed(connection, model)):
            content = _checked(sealed_folder(state, model), sealed)
            rows = pq.read_table(content, filters=[("prediction_id", "=", str(prediction_id))]).to_pylist()
            if rows:
                return rows[0]["release_id"], _logged(rows[0])
    return None


def _checked(folder: Path, sealed: SealedDay) -> pa.BufferReader:
    """Return the content of a file, whose digest is checked before anything parses it."""
    path = folder / sealed.file
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        content = b""
    if hashlib.sha256(content).hexdigest() != sealed.digest:
        state = "has changed" if content else "is missing"
        raise StaleStateError(f"{path}, which holds the sealed log of {sealed.day}, {state}; restore it from a backup")
    return pa.BufferReader(content)


def _logged(row: dict[str, Any]) -> LoggedPrediction:
    texts = {name: json.loads(row[name]) for name in ("features", "event_times", "statuses")}
    plain = {name: row[name] for name in ("entity", "as_of", "logged_at", "score")}
    return LoggedPrediction(prediction_id=UUID(row["prediction_id"]), **plain, **texts)
