"""Fresh rows from a stream, straight into an online table: each event once, and never back in time."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from psycopg import AsyncRawCursor

from core.errors import RequestError
from core.postgres.advisory_locks import ON_NAME, Lock, lock_parameters
from core.postgres.pool import lent
from feature_repo.online.tables import upserts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.contracts import Key, Value
    from core.postgres.pool import Pool
    from feature_repo.online.tables import OnlineTable

_REMEMBER = """
INSERT INTO panthera.pushed_row (online_table, event_id, digest, entity, event_timestamp)
SELECT %s, * FROM unnest(%s::text[], %s::bytea[], %s::text[], %s::timestamptz[]) ON CONFLICT DO NOTHING RETURNING event_id
"""

_DIFFERING = """
SELECT DISTINCT event_id FROM unnest(%s::text[], %s::bytea[]) AS sent (event_id, digest)
JOIN panthera.pushed_row AS stored USING (event_id)
WHERE stored.online_table = %s AND stored.digest <> sent.digest ORDER BY event_id
"""


@dataclass(frozen=True)
class PushedRow:
    """One row of a view, as an event made it.

    Attributes
    ----------
    event_id : the sender's name for the event; the same id always stands for the same row.
    event_time : with a zone.
    values : of all features, in the order of the table.

    """

    event_id: str
    key: Key
    event_time: datetime
    values: tuple[Value, ...]

    @property
    def digest(self) -> bytes:
        """What two rows with the same content have in common."""
        content = [self.key, self.event_time.timestamp(), *self.values]
        return hashlib.sha256(json.dumps(content, default=datetime.isoformat).encode()).digest()


@dataclass(frozen=True)
class PushReceipt:
    """How many rows were taken in, and how many had been before."""

    stored: int
    duplicates: int


class PushConflictError(RequestError):
    """An event id stands for another row already."""

    def __init__(self, event_ids: Sequence[str]) -> None:
        shown = ", ".join(map(repr, event_ids[:5]))
        super().__init__(
            f"{len(event_ids)} event ids stand for another row already, among them {shown}; nothing was stored"
        )
        self.event_ids = list(event_ids)


async def push(pool: Pool, tables: Sequence[OnlineTable], rows: Sequence[PushedRow], now: datetime) -> PushReceipt:
    """Bring `rows` into `tables`, created `now`; those that were pushed before are counted, not written again.

    A row older than the one that its entity has is taken in and changes nothing.

    Parameters
    ----------
    tables : of one definition, so alike but for their names; what was pushed is remembered under the first.

    Raises
    ------
    PushConflictError
        If an id stands for another row, stored or in `rows`; then none is stored.
    StaleStateError
        If the table is not there.
    DatabaseError
        If the server does not answer.

    """
    # In one order everywhere, so that two requests never wait for each other in a circle.
    ordered = sorted(rows, key=lambda row: row.event_id)
    ids, digests = [row.event_id for row in ordered], [row.digest for row in ordered]
    async with lent(pool) as connection, connection.transaction():
        happened = [str(row.key) for row in ordered], [row.event_time for row in ordered]
        remembered = await connection.execute(_REMEMBER, [tables[0].name, ids, digests, *happened])
        fresh = {event_id for (event_id,) in await remembered.fetchall()}
        differing = await connection.execute(_DIFFERING, [ids, digests, tables[0].name])
        if conflicts := [event_id for (event_id,) in await differing.fetchall()]:
            raise PushConflictError(conflicts)
        for each in sorted(tables, key=lambda each: each.name):
            await connection.execute(ON_NAME, lock_parameters(Lock.ONLINE_TABLE, each.name))
        written = {
            row.event_id: (row.key, row.event_time, now, *row.values) for row in ordered if row.event_id in fresh
        }
        for each in tables:
            for statement, parameters in upserts(each, list(written.values())):
                await AsyncRawCursor(connection).execute(statement, parameters)
    return PushReceipt(len(fresh), len(rows) - len(fresh))
