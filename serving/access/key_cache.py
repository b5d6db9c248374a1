"""The API keys in the memory of a worker, so that the check of a request needs no database."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from psycopg.rows import class_row

from core.access.api_key import ApiKey
from core.access.key_table import ALL_KEYS, VERSION
from core.errors import PantheraError
from core.postgres.pool import lent
from serving.wire.refusals import NotAvailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from core.postgres.pool import Pool

_LOGGER = logging.getLogger(__name__)
#: A new or revoked key is effective within this time and that of two reads, of which one may have failed.
_SECONDS_BETWEEN_READS = 1.0
#: Each waits for a connection as long as the pool says, half a second.
_FIRST_TRIES = 6


class KeyCache:
    """The keys as the last read found them; a failed read leaves them as they are, so that no outage opens the service."""

    def __init__(self) -> None:
        self._keys: Mapping[str, ApiKey] | None = None
        self._version: object = None
        self._enforced = False
        self._failed = False

    @property
    def enforced(self) -> bool:
        """Whether a key was ever seen in the database.

        Raises
        ------
        NotAvailable
            If the keys were never read, so that this is not known.

        """
        if self._keys is None:
            raise NotAvailable(
                "the API keys were never read, since the database cannot be reached or read; the service's log says why"
            )
        return self._enforced

    def find(self, key_id: str) -> ApiKey | None:
        """Return the key with this id, if there is one."""
        return (self._keys or {}).get(key_id)

    async def read_first(self, pool: Pool) -> None:
        """Read the keys for the first time: again for a while, since a new pool on a busy machine takes longer to connect."""
        for _ in range(_FIRST_TRIES):
            await self.refresh(pool)
            if self._keys is not None:
                break

    async def refresh(self, pool: Pool) -> None:
        """Read the keys if they changed; if that fails, log the first failure of a row of failures."""
        try:
            await self._read(pool)
        except Exception as error:
            if not self._failed:
                _LOGGER.warning("the API keys cannot be read: %s", error, exc_info=not isinstance(error, PantheraError))
            self._failed = True
        else:
            self._failed = False

    async def _read(self, pool: Pool) -> None:
        async with lent(pool) as connection, connection.cursor(row_factory=class_row(ApiKey)) as cursor:
            # Before the keys, so that a change between the two statements is read again.
            version = await (await connection.execute(VERSION)).fetchone()
            if version != self._version:
                keys = await (await cursor.execute(ALL_KEYS)).fetchall()
                # A database that loses its keys, or is replaced by an empty one, does not open a running service.
                self._enforced = self._enforced or bool(keys)
                self._keys, self._version = {key.key_id: key for key in keys}, version

    async def follow(self, pool: Callable[[], Pool | None]) -> None:
        """Read the keys every second, once there is a pool."""
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_READS)
            if found := pool():
                await self.refresh(found)
