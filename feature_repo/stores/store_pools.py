"""The connections of a Feast online store: opened when they are first needed, one pool for each way of waiting."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from typing import TYPE_CHECKING, TypeAlias

from core.postgres.database import ensure_database
from core.postgres.pool import BlockingPool, Pool, blocking_pool, connection_pool
from feature_repo.stores.registry import feast_settings

if TYPE_CHECKING:
    from pathlib import Path

    from core.settings import Settings

#: A database as the settings name it, and the process: a pool does not survive a fork.
_Place: TypeAlias = "tuple[str | None, Path, int]"


class StorePools:
    """Pools for threads and for event loops, to the database that the settings name at the time of the call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocking: dict[_Place, BlockingPool] = {}
        self._waiting: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[_Place, Pool]] = (
            weakref.WeakKeyDictionary()
        )
        weakref.finalize(self, _close, self._blocking)

    def url(self) -> str:
        """Say which libpq URL the pool for threads connects to."""
        conninfo = self.blocking().conninfo
        return conninfo if isinstance(conninfo, str) else ""

    def blocking(self) -> BlockingPool:
        """Give the pool for threads; start the embedded database and bring the schema up to date if it is the first time."""
        settings = feast_settings()
        place = _place(settings)
        pool = self._blocking.get(place)
        if pool is None:
            with self._lock:
                pool = self._blocking.get(place) or blocking_pool(ensure_database(settings))
                self._blocking[place] = pool
        return pool

    async def waiting(self) -> Pool:
        """Give the pool of the running event loop."""
        settings = feast_settings()
        pools = self._waiting.setdefault(asyncio.get_running_loop(), {})
        place = _place(settings)
        if place not in pools:
            pool = connection_pool(await asyncio.to_thread(ensure_database, settings))
            await pools.setdefault(place, pool).open()
        return pools[place]

    async def close(self) -> None:
        """Close the pools for threads and those of the running event loop; the next call opens new ones."""
        for pool in self._waiting.pop(asyncio.get_running_loop(), {}).values():
            await pool.close()
        await asyncio.to_thread(_close, self._blocking)


def _place(settings: Settings) -> _Place:
    return settings.database_url, settings.state, os.getpid()


def _close(pools: dict[_Place, BlockingPool]) -> None:
    while pools:
        (_, _, process), pool = pools.popitem()
        if process == os.getpid():
            pool.close()
