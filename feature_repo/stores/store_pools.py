"""The connection pools of the Feast online store, opened at first use: one for threads, and one for each event loop."""

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

#: The database of the settings, and the process, since a pool does not survive a fork.
_PoolKey: TypeAlias = "tuple[str | None, Path, int]"


class StorePools:
    """Pools for threads and for event loops, to the database in the settings at the time of the call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocking: dict[_PoolKey, BlockingPool] = {}
        self._waiting: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[_PoolKey, Pool]] = (
            weakref.WeakKeyDictionary()
        )
        weakref.finalize(self, _close, self._blocking)

    def url(self) -> str:
        """Return the libpq URL of the pool for threads."""
        conninfo = self.blocking().conninfo
        return conninfo if isinstance(conninfo, str) else ""

    def blocking(self) -> BlockingPool:
        """Return the pool for threads; the first call starts the embedded database and migrates the schema."""
        settings = feast_settings()
        key = _pool_key(settings)
        pool = self._blocking.get(key)
        if pool is None:
            with self._lock:
                pool = self._blocking.get(key) or blocking_pool(ensure_database(settings))
                self._blocking[key] = pool
        return pool

    async def waiting(self) -> Pool:
        """Return the pool of the running event loop."""
        settings = feast_settings()
        pools = self._waiting.setdefault(asyncio.get_running_loop(), {})
        key = _pool_key(settings)
        if key not in pools:
            pool = connection_pool(await asyncio.to_thread(ensure_database, settings))
            await pools.setdefault(key, pool).open()
        return pools[key]

    async def close(self) -> None:
        """Close the pools for threads and those of the running event loop; the next call opens new ones."""
        for pool in self._waiting.pop(asyncio.get_running_loop(), {}).values():
            await pool.close()
        await asyncio.to_thread(_close, self._blocking)


def _pool_key(settings: Settings) -> _PoolKey:
    return settings.database_url, settings.state, os.getpid()


def _close(pools: dict[_PoolKey, BlockingPool]) -> None:
    while pools:
        (_, _, process), pool = pools.popitem()
        if process == os.getpid():
            pool.close()
