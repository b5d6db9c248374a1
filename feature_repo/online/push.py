"""Write rows from a stream to an online table: each event once, and never an older row over a newer one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from psycopg import AsyncRawCursor

from core.errors import ConflictError
from core.postgres.advisory_locks import ON_NAME, Lock, lock_parameters
from core.postgres.pool import lent
from feature_repo.online.tables import upserts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.contracts import Key, Value
    from core.postgres.pool import Pool
    from feature_repo.online.table import OnlineTable

_INSERT_IDS = """
INSERT INTO panthera.pushed_row (online_table, event_id, digest, entity, event_timestamp)
SELECT %s, * FROM unnest(%s::text[], %s::bytea[], %s::text[], %s::timestamptz[]) ON CONFLICT DO NOTHING RETURNING event_id
"""

_SELECT_CONFLICTS = """
SELECT DISTINCT event_id FROM unnest(%s::text[], %s::bytea[]) AS sent (event_id, digest)
JOIN panthera.pushed_row AS stored USING (event_id)
WHERE stored.online_table = %s AND stored.digest <> sent.digest ORDER BY event_id
"""


@dataclass(frozen=True)
class PushedRow:
    """One row of a view, sent as an event.

    Attributes
    ----------
    event_id : the sender's identifier of the event; one id belongs to one row.
    event_time : with a time zone.
    values : the values of all features, in the order of the table.

    """

    event_id: str
    key: Key
    event_time: datetime
    values: tuple[Value, ...]

    @property
    def digest(self) -> bytes:
        """The sha256 of the content: key, event time and values."""
        content = [self.key, self.event_time.timestamp(), *self.values]
        return hashlib.sha256(json.dumps(content, default=datetime.isoformat).encode()).digest()


@dataclass(frozen=True)
class PushReceipt:
    """The number of rows that were new, and of those that had been pushed before."""

    stored: int
    duplicates: int


class PushConflictError(ConflictError):
    """Raised when an event id already belongs to a row with other content."""

    def __init__(self, event_ids: Sequence[str]) -> None:
        shown = ", ".join(map(repr, event_ids[:5]))
        super().__init__(
            f"{len(event_ids)} event ids belong to rows with other content, among them {shown}; nothing was stored; "
            "send changed rows under new event ids",
            "event_ids",
            event_ids,
        )


async def push(pool: Pool, tables: Sequence[OnlineTable], rows: Sequence[PushedRow], now: datetime) -> PushReceipt:
    """Write `rows`, created `now`, to `tables`; rows that were pushed before are counted, not written again.

    A row that is older than the entity's present row counts as stored and changes nothing.

    Parameters
    ----------
    tables : tables of one definition, which differ in their names only. Event ids are recorded under the first.

    Raises
    ------
    PushConflictError
        If an id belongs to a row with other content, stored or in `rows`; then no row is stored.
    StaleStateError
        If the table does not exist.
    DatabaseError
        If the server does not answer.

    """
    # Every request locks rows in the order of their ids, which excludes deadlocks.
    ordered = sorted(rows, key=lambda row: row.event_id)
    ids, digests = [row.event_id for row in ordered], [row.digest for row in ordered]
    async with lent(pool) as connection, connection.transaction():
        keys, event_times = [str(row.key) for row in ordered], [row.event_time for row in ordered]
        inserted = await connection.execute(_INSERT_IDS, [tables[0].name, ids, digests, keys, event_times])
        new_ids = {event_id for (event_id,) in await inserted.fetchall()}
        differing = await connection.execute(_SELECT_CONFLICTS, [ids, digests, tables[0].name])
        if conflicts := [event_id for (event_id,) in await differing.fetchall()]:
            raise PushConflictError(conflicts)
        for table in sorted(tables, key=lambda table: table.name):
            await connection.execute(ON_NAME, lock_parameters(Lock.ONLINE_TABLE, table.name))
        new_rows = {
            row.event_id: (row.key, row.event_time, now, *row.values) for row in ordered if row.event_id in new_ids
        }
        for table in tables:
            for statement, parameters in upserts(table, list(new_rows.values())):
                await AsyncRawCursor(connection).execute(statement, parameters)
    return PushReceipt(len(new_ids), len(rows) - len(new_ids))
