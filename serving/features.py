"""Reads of online features and exposed arms of entities; concurrent requests share one read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from core.batching import Batcher
from core.postgres.pool import lent
from feature_repo.online.query import EntityLookup

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    import psycopg

    from core.contracts import Key, ViewRead
    from core.postgres.pool import Pool
    from feature_repo.online.handle import OnlineHandle


class EntityFacts(NamedTuple):
    """The online rows and the exposed arm of one entity.

    Attributes
    ----------
    reads : its online rows, by online table, in the order of the handle's views.
    exposed_arm : the arm of its first exposure, or None without one.

    """

    reads: Mapping[str, ViewRead]
    exposed_arm: str | None


class Facts(NamedTuple):
    """The facts about the entities of a request, in their order, as of `as_of`; `read_at` is the time of the read."""

    as_of: datetime
    entities: Sequence[EntityFacts]
    read_at: datetime


@dataclass(frozen=True, slots=True)
class _Request:
    handle: OnlineHandle
    keys: Sequence[Key]
    as_of: datetime | None


class FactsReader:
    """The batched reader of one event loop; a request without `as_of` is read as of the time of the read."""

    def __init__(self, pool: Pool, clock: Callable[[], datetime]) -> None:
        self._pool = pool
        self._clock = clock
        self._batches: Batcher[_Request, Facts] = Batcher(self._read)

    @property
    def waiting(self) -> int:
        """The number of requests that wait for the next read."""
        return self._batches.waiting

    async def read(self, handle: OnlineHandle, keys: Sequence[Key], as_of: datetime | None) -> Facts:
        """Fetch the facts about `keys`, with the online rows that `handle` reads.

        Raises
        ------
        StaleStateError
            If an online table does not exist.
        DatabaseError
            If the server does not answer.

        """
        return await self._batches.submit(_Request(handle, keys, as_of), len(keys))

    async def _read(self, batch: Sequence[_Request]) -> Sequence[Facts]:
        """Fetch the rows of all requests with one statement for each handle; `as_of` is applied to the rows afterwards."""
        now = self._clock()
        keys_by_handle: dict[OnlineHandle, list[Key]] = {}
        for request in batch:
            keys_by_handle.setdefault(request.handle, []).extend(request.keys)
        async with lent(self._pool) as connection:
            rows = {handle: await _rows_by_key(connection, handle, keys) for handle, keys in keys_by_handle.items()}
        return [_facts(request, rows[request.handle], now) for request in batch]


async def _rows_by_key(
    connection: psycopg.AsyncConnection, handle: OnlineHandle, keys: Sequence[Key]
) -> dict[Key, tuple[Any, ...]]:
    distinct = list(dict.fromkeys(keys))
    return dict(zip(distinct, await handle.fetch(connection, distinct), strict=True))


def _facts(request: _Request, rows: Mapping[Key, tuple[Any, ...]], now: datetime) -> Facts:
    as_of = request.as_of or now
    requested = [rows[key] for key in request.keys]
    reads = request.handle.judge(requested, as_of)
    return Facts(as_of, [EntityFacts(read, row[-1]) for read, row in zip(reads, requested, strict=True)], now)


def exposed_arm(experiment: str) -> EntityLookup:
    """Return the lookup of an entity's exposed arm in `experiment`, which the handle of the releases reads with its rows."""
    return EntityLookup(("panthera", "exposure"), "arm", "entity", (("experiment", experiment),))
