"""Reads of online features and exposed arms of entities; concurrent requests share one read."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from core.batching import Batcher
from core.postgres.pool import lent
from feature_repo.online.query import EntityLookup

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    import psycopg

    from core.contracts import Key, Value, ViewRead
    from core.postgres.pool import Pool
    from feature_repo.online.handle import OnlineHandle

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class EntityFacts(NamedTuple):
    """The online rows and the exposed arm of one entity.

    Attributes
    ----------
    reads : its online rows, by online table, in the order of the handle's views.
    exposed_arm : the arm of its first exposure in the plan's experiment, or None without one; not read while experiments run.
    exposed_arms : the arm of its first exposure by experiment, the plan's too; read while experiments run.
    attributes : what the request says of the entity for the targets of experiments.

    """

    reads: Mapping[str, ViewRead]
    exposed_arm: str | None
    exposed_arms: Mapping[str, str]
    attributes: Mapping[str, Value] = _NOTHING

    def arm_in(self, experiment: str) -> str | None:
        """Return the arm of the first exposure in the plan's experiment of that name."""
        return self.exposed_arms.get(experiment, self.exposed_arm)


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
    return Facts(as_of, [_entity_facts(read, row[-1]) for read, row in zip(reads, requested, strict=True)], now)


def _entity_facts(reads: Mapping[str, ViewRead], exposed: str | Mapping[str, str] | None) -> EntityFacts:
    """Return the facts with the value of the lookup `exposed_arm`, or that of `exposed_arms`."""
    if exposed is None or isinstance(exposed, str):
        return EntityFacts(reads, exposed, _NOTHING)
    return EntityFacts(reads, None, exposed)


def exposed_arm(experiment: str, running: tuple[str, ...] = ()) -> EntityLookup:
    """Return the lookup of an entity's exposed arm in `experiment`, which the handle of the releases reads with its rows.

    With `running` experiments, it is the lookup of the arm in each experiment.
    """
    table = ("panthera", "exposure")
    if not running:
        return EntityLookup(table, "arm", "entity", (("experiment", experiment),))
    return EntityLookup(table, "arm", "entity", (), ("experiment", (experiment, *running)))
