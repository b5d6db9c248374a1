"""What the online store and the exposure log know about entities; requests that come at once share one read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from core.batching import Batcher
from core.connection_pool import lent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    import psycopg

    from core.connection_pool import Pool
    from core.contracts import Key, ViewRead
    from feature_repo.online_handle import OnlineHandle

_EXPOSED = "SELECT entity, arm FROM panthera.exposure WHERE experiment = %s AND entity = ANY(%b::text[])"


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
    """What is known about the entities of a request, in their order, as of an instant."""

    as_of: datetime
    entities: Sequence[EntityFacts]


class _Alike(NamedTuple):
    """What requests must have in common to share a statement."""

    handle: OnlineHandle
    as_of: datetime


@dataclass(frozen=True, slots=True)
class _Request:
    handle: OnlineHandle
    keys: Sequence[Key]
    as_of: datetime | None

    def alike(self, now: datetime) -> _Alike:
        return _Alike(self.handle, self.as_of or now)


class FactsReader:
    """The reads of one event loop, for one experiment. A request without an instant is answered as of its read."""

    def __init__(self, pool: Pool, experiment: str, clock: Callable[[], datetime]) -> None:
        self._pool = pool
        self._experiment = experiment
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
        return await self._batches.submit(_Request(handle, keys, as_of))

    async def _read(self, batch: Sequence[_Request]) -> Sequence[Facts]:
        """Read for all requests with one statement, or one for each handle and instant among them."""
        now = self._clock()
        asked: dict[_Alike, list[Key]] = {}
        for request in batch:
            asked.setdefault(request.alike(now), []).extend(request.keys)
        async with lent(self._pool) as connection:
            arms = await self._exposed_arms(connection, batch)
            reads = {alike: await _read_online(connection, alike, keys) for alike, keys in asked.items()}
        return [_facts(request, request.alike(now), reads[request.alike(now)], arms) for request in batch]

    async def _exposed_arms(self, connection: psycopg.AsyncConnection, batch: Sequence[_Request]) -> dict[str, str]:
        entities = list({str(key) for request in batch for key in request.keys})
        exposed = await connection.execute(_EXPOSED, [self._experiment, entities], prepare=True)
        return dict(await exposed.fetchall())


async def _read_online(
    connection: psycopg.AsyncConnection, alike: _Alike, keys: Sequence[Key]
) -> dict[Key, Mapping[str, ViewRead]]:
    distinct = list(dict.fromkeys(keys))
    return dict(zip(distinct, await alike.handle.read(connection, distinct, alike.as_of), strict=True))


def _facts(
    request: _Request, alike: _Alike, reads: Mapping[Key, Mapping[str, ViewRead]], arms: Mapping[str, str]
) -> Facts:
    return Facts(alike.as_of, [EntityFacts(reads[key], arms.get(str(key))) for key in request.keys])
