"""The pools of the service: answers, intake and administration each have connections and limits of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.experiment.prediction_log import PredictionLog
from core.postgres.pool import Pool, PoolLimits, connection_pool
from serving.features import FactsReader

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

#: How long a statement about one entity may take, and how many more entities a second allows. An honest request must not fail
#: on a machine whose processors are busy: there, a thousand entities were seen to take half a second.
_SECONDS = 1.0
_ENTITIES_A_SECOND = 1_000
#: How long an answer waits for a connection: those of a server that is gone are closed at once, and nobody waits for longer.
_SECONDS_TO_BORROW = 0.4
#: What is not an answer may work longer, but hears within this time that the database is not there.
_SECONDS_TO_FIND_OUT = 1.0
_INTAKE = PoolLimits(connections=4, wait=1.0, ping=_SECONDS_TO_FIND_OUT, lock=0.3, statement=3.5, whole=4.0)
_ADMINISTRATION = PoolLimits(connections=2, wait=0.35, ping=_SECONDS_TO_FIND_OUT, lock=0.3, statement=3.5, whole=4.0)


@dataclass(frozen=True)
class Connections:
    """The database, and how requests read and write it.

    Attributes
    ----------
    answers : predictions and the readiness check, which has to see what they see.
    intake : outcomes, pushed rows, and features that are looked at.
    administration : status and cohorts.

    """

    url: str
    answers: Pool
    intake: Pool
    administration: Pool
    facts: FactsReader
    log: PredictionLog

    async def close(self) -> None:
        """Close all pools."""
        for pool in (self.answers, self.intake, self.administration):
            await pool.close()


async def open_connections(url: str, most_entities: int, clock: Callable[[], datetime]) -> Connections:
    """Open the pools; a request asks about at most `most_entities`."""
    seconds = _SECONDS + most_entities / _ENTITIES_A_SECOND
    limits = PoolLimits(connections=4, wait=_SECONDS_TO_BORROW, lock=seconds, statement=seconds, whole=seconds + 0.05)
    answers, intake, administration = (connection_pool(url, limit) for limit in (limits, _INTAKE, _ADMINISTRATION))
    for pool in (answers, intake, administration):
        await pool.open()
    return Connections(url, answers, intake, administration, FactsReader(answers, clock), PredictionLog(answers))
