"""Admission of predictions: what cannot be answered within its deadline is refused at once, before it costs any work."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

from serving.wire.refusals import TooMany

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Entities of a request that may take a second beyond the deadline.
_ENTITIES_PER_SECOND = 1_000
#: Entities in flight in one worker, in requests of any size; a single larger request is admitted all the same.
_MOST_ENTITIES = 4_000
#: With fewer requests in flight, a late one is slow by itself and not by a queue.
_FEWEST_QUEUED = 32
#: Share of its deadline after which the oldest request in flight shows that the queue is too long.
_LATE = 0.5


def seconds_to_answer(deadline: float, entities: int) -> float:
    """Return the time limit of a prediction: the deadline, and a second for each thousand entities."""
    return deadline + entities / _ENTITIES_PER_SECOND


class Admission:
    """The predictions in flight in one event loop.

    The number of entities in flight is limited, and so is the time that a request waits in the queue: new ones are refused
    while the oldest has used half of its deadline.
    """

    def __init__(self, most_entities: int = _MOST_ENTITIES) -> None:
        self._most = most_entities
        self._entities = 0
        #: The instants at which the requests in flight are late, in the order of their arrival.
        self._late_at: dict[object, float] = {}

    @contextmanager
    def admitted(self, entities: int, seconds: float) -> Iterator[None]:
        """Count a request with a time limit of `seconds` as in flight for the length of the block.

        Raises
        ------
        TooMany
            If it is refused.

        """
        now = asyncio.get_running_loop().time()
        self._refuse_full(entities)
        self._refuse_late(now)
        token = object()
        self._entities += entities
        self._late_at[token] = now + _LATE * seconds
        try:
            yield
        finally:
            self._entities -= entities
            del self._late_at[token]

    def refuse_if_busy(self) -> None:
        """Refuse work that can wait while predictions in flight are at half of a limit.

        Raises
        ------
        TooMany
            If it is refused.

        """
        if 2 * self._entities > self._most or 2 * len(self._late_at) > _FEWEST_QUEUED:
            raise TooMany(
                "the service is busy with predictions, so it explains none; send it again later, or without explain"
            )

    def _refuse_full(self, entities: int) -> None:
        if self._entities and self._entities + entities > self._most:
            raise TooMany(
                f"the service works on {self._entities} entities, and on at most {self._most} at a time; send it again later"
            )

    def _refuse_late(self, now: float) -> None:
        if len(self._late_at) >= _FEWEST_QUEUED and next(iter(self._late_at.values())) < now:
            raise TooMany(
                f"{len(self._late_at)} requests are ahead, and the oldest has waited for half of its time; send it again later"
            )
