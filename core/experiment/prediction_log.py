"""The durable log of predictions, exposures and outcomes; rows are committed before the response is sent."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
import psycopg

from core.batching import Batcher, in_turns
from core.errors import ConflictError, DatabaseError
from core.postgres.pool import Pool, lent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from core.contracts import Freshness, Value


#: Version, variant and random bits of a UUID of version 7.
_VERSION, _VARIANT = 7 << 76, 0b10 << 62
_RANDOM = (1 << 80) - 1 & ~(0b1111 << 76) & ~(0b11 << 62)
_NANOSECONDS_PER_MILLISECOND = 1_000_000


def new_prediction_id() -> UUID:
    """Return a new id: 48 bits of milliseconds since 1970, and 74 random bits (RFC 9562, UUID version 7).

    Random ids would fall on random pages of the log's primary key. After each checkpoint the server writes every changed page
    as a whole to its write-ahead log, which is up to 60 times as much as the row.
    """
    milliseconds = time.time_ns() // _NANOSECONDS_PER_MILLISECOND
    return UUID(int=milliseconds << 80 | _VERSION | _VARIANT | int.from_bytes(os.urandom(10)) & _RANDOM)


class Prediction(msgspec.Struct, frozen=True):
    """One logged prediction: the score and decision, the release that computed them, and the feature vector.

    Attributes
    ----------
    features : the model's inputs by `view__feature`; None is missing.
    event_times, statuses : by view.
    phase_id : the phase of the experiment; None if it predates the recording of phases.
    replay : whether the request was as of a past instant, see `is_replay`.

    """

    prediction_id: UUID
    entity: str
    as_of: datetime
    release_id: str
    experiment: str
    arm: str
    score: float
    decision: str
    features: Mapping[str, Value]
    event_times: Mapping[str, datetime | None]
    statuses: Mapping[str, Freshness]
    phase_id: int | None = None
    replay: bool = False


#: Tolerated clock skew: a request as of at most this long ago counts as a request as of now.
REPLAYED_AFTER = timedelta(minutes=5)


def is_replay(as_of: datetime, now: datetime) -> bool:
    """Return whether a request made at `now` as of `as_of` replays the past; a replay does not expose the entity."""
    return as_of < now - REPLAYED_AFTER


class Exposure(msgspec.Struct, frozen=True):
    """The exposure of an entity to its arm; only the first one of an (experiment, entity) is kept.

    `exposed_at` is the time of the service's clock, not the request's `as_of`.
    """

    experiment: str
    entity: str
    arm: str
    bucket: int
    release_id: str
    prediction_id: UUID
    exposed_at: datetime
    phase_id: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """An observed outcome of an entity.

    Attributes
    ----------
    outcome_id : an id that the sender chooses.
    name : the name of a metric's outcome; empty for the label's outcome.

    """

    outcome_id: str
    entity: str
    observed_at: datetime
    value: float
    name: str = ""


@dataclass(frozen=True, slots=True)
class OutcomeReceipt:
    """The numbers of outcomes of a request that were new, and that were stored before with the same content."""

    stored: int
    duplicates: int


class OutcomeConflictError(ConflictError):
    """Outcome ids of a request already belong to different outcomes; nothing of the request was stored."""

    def __init__(self, outcome_ids: Sequence[str]) -> None:
        self.outcome_ids = tuple(outcome_ids)
        first = ", ".join(repr(outcome_id) for outcome_id in self.outcome_ids[:5])
        super().__init__(
            f"{len(self.outcome_ids)} outcome ids already belong to another entity, name, time or value: {first}"
            f"{', ...' if len(self.outcome_ids) > 5 else ''}; nothing of this request was stored; "  # noqa: PLR2004
            "send a correction under a new id",
            "outcome_ids",
            self.outcome_ids,
        )


_APPEND = """
WITH logged AS (
    INSERT INTO panthera.prediction (prediction_id, entity, as_of, release_id, experiment, arm, score, decision,
                                     features, event_times, statuses, phase_id, replay)
    SELECT id, entity, as_of, release_id, experiment, arm, score, decision,
           features::jsonb, event_times::jsonb, statuses::jsonb, phase_id, replay
    FROM unnest(%b::uuid[], %b::text[], %b::timestamptz[], %b::text[], %b::text[], %b::text[], %b::float8[],
                %b::text[], %b::text[], %b::text[], %b::text[], %b::int[], %b::boolean[])
         AS sent (id, entity, as_of, release_id, experiment, arm, score, decision, features, event_times, statuses,
                  phase_id, replay)
)
INSERT INTO panthera.exposure (experiment, entity, arm, bucket, release_id, prediction_id, exposed_at, phase_id)
SELECT * FROM unnest(%b::text[], %b::text[], %b::text[], %b::int[], %b::text[], %b::uuid[], %b::timestamptz[], %b::int[])
ON CONFLICT (experiment, entity) DO NOTHING
"""


#: Encodes finite numbers exactly as Python does, and others as null.
_ENCODE = msgspec.json.Encoder().encode


def _json(values: Mapping[str, Value]) -> str:
    """Return values as JSON: times as ISO 8601, NaN and infinity as null."""
    if datetime in map(type, values.values()):
        values = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}
    return _ENCODE(values).decode()


@lru_cache(maxsize=4096)
def _isoformat(instant: datetime) -> str:
    """Return an instant in UTC as ISO 8601. Cached: rows that were built together share their instant."""
    return instant.isoformat()


def _times_json(times: Mapping[str, datetime | None]) -> str:
    return _ENCODE({name: time and _isoformat(time) for name, time in times.items()}).decode()


async def _columns(predictions: Sequence[Prediction], exposures: Sequence[Exposure]) -> list[list[Any]]:
    """Return the rows as the column arrays that `_APPEND` takes."""
    texts = [
        (_json(row.features), _times_json(row.event_times), _ENCODE(row.statuses).decode())
        async for row in in_turns(predictions)
    ]
    # Every writer inserts in the same order, so that two writers cannot deadlock.
    exposures = sorted(exposures, key=lambda row: (row.experiment, row.entity))
    return [
        [row.prediction_id for row in predictions],
        [row.entity for row in predictions],
        [row.as_of for row in predictions],
        [row.release_id for row in predictions],
        [row.experiment for row in predictions],
        [row.arm for row in predictions],
        [row.score for row in predictions],
        [row.decision for row in predictions],
        *([row[index] for row in texts] for index in range(3)),
        [row.phase_id for row in predictions],
        [row.replay for row in predictions],
        [row.experiment for row in exposures],
        [row.entity for row in exposures],
        [row.arm for row in exposures],
        [row.bucket for row in exposures],
        [row.release_id for row in exposures],
        [row.prediction_id for row in exposures],
        [row.exposed_at for row in exposures],
        [row.phase_id for row in exposures],
    ]


@dataclass(frozen=True, slots=True)
class _Rows:
    """The log rows of one request."""

    predictions: Sequence[Prediction]
    exposures: Sequence[Exposure]


class PredictionLog:
    """The log writer of one event loop: requests that arrive during a commit share the next one."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._batches: Batcher[_Rows, None] = Batcher(self._write)

    @property
    def waiting(self) -> int:
        """The number of requests that wait for the next commit."""
        return self._batches.waiting

    async def append(self, predictions: Sequence[Prediction], exposures: Sequence[Exposure]) -> None:
        """Write these rows and return once they are committed.

        Raises
        ------
        DatabaseError
            If they are not committed, or if that is unknown because the connection broke.

        """
        await self._batches.submit(_Rows(predictions, exposures), len(predictions))

    async def check(self) -> None:
        """Check that rows could be committed now: write an empty batch, then allocate and release ten pages on the log's disk.

        Raises
        ------
        DatabaseError
            If the tables cannot be written, or the disk is full.

        """
        await self.append([], [])
        async with lent(self._pool) as connection:
            await connection.execute("SELECT panthera.check_disk()")

    async def _write(self, batch: Sequence[_Rows]) -> Sequence[Exception | None]:
        """Write `batch` in one commit; if its content is refused, write each request alone, so that one cannot fail another."""
        try:
            await self._insert(batch)
        except _ContentRefusedError as error:
            if len(batch) == 1:
                return [DatabaseError(f"the prediction could not be logged, so it is not returned: {error}")]
            return [outcome for rows in batch for outcome in await self._write([rows])]
        return [None] * len(batch)

    async def _insert(self, batch: Sequence[_Rows]) -> None:
        predictions = [row for rows in batch for row in rows.predictions]
        exposures = [row for rows in batch for row in rows.exposures]
        columns = await _columns(predictions, exposures)
        async with lent(self._pool) as connection:
            try:
                await connection.execute(_APPEND, columns, prepare=True)
            except (psycopg.DataError, psycopg.IntegrityError, UnicodeError) as error:
                raise _ContentRefusedError(str(error).strip().splitlines()[0]) from None


class _ContentRefusedError(Exception):
    """PostgreSQL refused the content of a row."""


_RECORD = """
INSERT INTO panthera.outcome (outcome_id, entity, observed_at, value, name, model)
SELECT sent.*, %b::text
FROM unnest(%b::text[], %b::text[], %b::timestamptz[], %b::float8[], %b::text[]) AS sent (outcome_id)
-- One from before outcomes had a model is of this one too.
WHERE NOT EXISTS (SELECT FROM panthera.outcome AS stored WHERE stored.outcome_id = sent.outcome_id AND stored.model = '')
ON CONFLICT (outcome_id, model) DO NOTHING
"""

_DIFFERING = """
SELECT DISTINCT outcome_id
FROM unnest(%b::text[], %b::text[], %b::timestamptz[], %b::float8[], %b::text[])
    AS sent (outcome_id, entity, observed_at, value, name)
JOIN panthera.outcome AS stored USING (outcome_id)
WHERE stored.model IN ('', %b::text) AND (stored.entity, stored.observed_at, stored.value, stored.name)
    IS DISTINCT FROM (sent.entity, sent.observed_at, sent.value, sent.name)
ORDER BY outcome_id
"""


async def record_outcomes(pool: Pool, outcomes: Sequence[Outcome], model: str) -> OutcomeReceipt:
    """Write the outcomes of `model` with new ids; outcomes stored before are counted as duplicates.

    Raises
    ------
    OutcomeConflictError
        If an id belongs to a different outcome, stored or in the same request; then no outcome is stored.
    DatabaseError
        If the server does not answer.

    """
    # Every request inserts in the same order, so that two requests cannot deadlock.
    rows = sorted(outcomes, key=lambda row: row.outcome_id)
    columns: list[list[Any]] = [
        [row.outcome_id for row in rows],
        [row.entity for row in rows],
        [row.observed_at for row in rows],
        [row.value for row in rows],
        [row.name for row in rows],
    ]
    async with lent(pool) as connection, connection.transaction():
        stored = (await connection.execute(_RECORD, [model, *columns])).rowcount
        differing = [row[0] for row in await (await connection.execute(_DIFFERING, [*columns, model])).fetchall()]
        if differing:
            raise OutcomeConflictError(differing)
    return OutcomeReceipt(stored, len(rows) - stored)
