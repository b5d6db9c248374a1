"""What the online store and the exposure log know about entities; requests that come at once share one read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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


@dataclass(frozen=True, slots=True)
class EntityFacts:
    """What is known about an entity.

    Attributes
    ----------
    reads : its online rows, by online table.
    exposed_arm : the arm that it met first, or None if it has met none.

    """

    reads: Mapping[str, ViewRead]
    exposed_arm: str | None


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about the entities of a request, in their order, as of an instant; `read_at` is when it was read."""

    as_of: datetime
    entities: Sequence[EntityFacts]
    read_at: datetime


@dataclass(frozen=True, slots=True)
class _Request:
    handle: OnlineHandle
    keys: Sequence[Key]
    as_of: datetime | None


class FactsReader:
    """The reads of one event loop. A request without an instant is answered as of its read."""

    def __init__(self, pool: Pool, clock: Callable[[], datetime]) -> None:
        self._pool = pool
        self._clock = clock
        self._batches: Batcher[_Request, Facts] = Batcher(self._read)

    async def read(self, handle: OnlineHandle, keys: Sequence[Key], as_of: datetime | None) -> Facts:
        """Read what is known about `keys`, with the rows that `handle` reads.

        Raises
        ------
        StaleStateError
            If an online table is gone.
        DatabaseError
            If the server does not answer.

        """
        return await self._batches.submit(_Request(handle, keys, as_of), len(keys))

    async def _read(self, batch: Sequence[_Request]) -> Sequence[Facts]:
        """Read for all requests with one statement, or one for each handle among them; an instant needs none of its own."""
        now = self._clock()
        asked: dict[OnlineHandle, list[Key]] = {}
        for request in batch:
            asked.setdefault(request.handle, []).extend(request.keys)
        async with lent(self._pool) as connection:
            rows = {handle: await _rows_by_key(connection, handle, keys) for handle, keys in asked.items()}
        return [_facts(request, rows[request.handle], now) for request in batch]


async def _rows_by_key(
    connection: psycopg.AsyncConnection, handle: OnlineHandle, keys: Sequence[Key]
) -> dict[Key, tuple[Any, ...]]:
    distinct = list(dict.fromkeys(keys))
    return dict(zip(distinct, await handle.fetch(connection, distinct), strict=True))


def _facts(request: _Request, rows: Mapping[Key, tuple[Any, ...]], now: datetime) -> Facts:
    as_of = request.as_of or now
    own = [rows[key] for key in request.keys]
    reads = request.handle.judge(own, as_of)
    return Facts(as_of, [EntityFacts(read, row[-1]) for read, row in zip(reads, own, strict=True)], now)


def exposed_arm(experiment: str) -> EntityLookup:
    """Return the look-up of the arm of `experiment` that an entity met first, for the handle of the releases."""
    return EntityLookup(("panthera", "exposure"), "arm", "entity", (("experiment", experiment),))
