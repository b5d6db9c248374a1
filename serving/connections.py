"""The connection pools of the service: answers, intake and administration each have their own connections and limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.experiment.prediction_log import PredictionLog
from core.postgres.pool import Pool, PoolLimits, connection_pool
from serving.admission import seconds_to_answer
from serving.features import FactsReader

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

#: Time limit of a prediction's statement with few entities, see `seconds_to_answer`. On a machine with busy processors, a
#: thousand entities have taken half a second.
_SECONDS = 0.45
#: Wait of a prediction for a connection; short, since the connections of a lost server are closed at once.
_SECONDS_TO_BORROW = 0.4
#: Requests other than predictions may take longer, but fail within this time if the database does not respond.
_SECONDS_TO_PING = 1.0
_INTAKE = PoolLimits(connections=4, wait=1.0, ping=_SECONDS_TO_PING, lock=0.3, statement=3.5, whole=4.0)
#: The keys have a connection of their own, so that no other work delays a revocation.
_KEYS = PoolLimits(connections=1, wait=0.5, lock=0.3, statement=1.0, whole=1.2)
_ADMINISTRATION = PoolLimits(connections=2, wait=0.35, ping=_SECONDS_TO_PING, lock=0.3, statement=3.5, whole=4.0)


@dataclass(frozen=True)
class Connections:
    """The pools and the batched readers and writers of the service.

    Attributes
    ----------
    answers : pool of predictions, and of the readiness check, which tests what predictions use.
    intake : pool of outcomes, pushed rows, and GET /v1/features.
    administration : pool of status and cohorts.
    keys : pool of the regular read of the API keys.

    """

    url: str
    answers: Pool
    intake: Pool
    administration: Pool
    keys: Pool
    facts: FactsReader
    log: PredictionLog

    @property
    def pools(self) -> dict[str, Pool]:
        """The pools by name."""
        return {name: getattr(self, name) for name in ("answers", "intake", "administration", "keys")}

    async def close(self) -> None:
        """Close all pools."""
        for pool in self.pools.values():
            await pool.close()


async def open_connections(url: str, most_entities: int, clock: Callable[[], datetime]) -> Connections:
    """Open the pools and return them; a request has at most `most_entities` entities."""
    seconds = seconds_to_answer(_SECONDS, most_entities)
    limits = PoolLimits(connections=4, wait=_SECONDS_TO_BORROW, lock=seconds, statement=seconds, whole=seconds + 0.05)
    pools = [connection_pool(url, limit) for limit in (limits, _INTAKE, _ADMINISTRATION, _KEYS)]
    for pool in pools:
        await pool.open()
    answers, intake, administration, keys = pools
    return Connections(url, answers, intake, administration, keys, FactsReader(answers, clock), PredictionLog(answers))
