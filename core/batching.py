"""Request batching: while one batch runs, the next one fills.

A single request waits for one run; concurrent requests share a run. No request waits for a timer or for a full batch.
"""

from __future__ import annotations

import asyncio
import copy
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Generic, TypeVar

from core.errors import DatabaseTimeoutError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

#: Largest batch: beyond this, the latency of the first request grows by more than the cost per request falls.
_MAX_BATCH_SIZE = 1000
Item = TypeVar("Item")
Result = TypeVar("Result")


#: Rows processed between two yields to the event loop: about two milliseconds of work.
_ROWS_PER_TURN = 100


async def in_turns(rows: Iterable[Item]) -> AsyncIterator[Item]:
    """Yield `rows`, and return control to the event loop every 100 rows, so that a long request does not block short ones."""
    for count, row in enumerate(rows, 1):
        yield row
        if count % _ROWS_PER_TURN == 0:
            await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[Item, Result]):
    item: Item
    size: int
    result: asyncio.Future[Result]

    def settle(self, outcome: Result | Exception) -> None:
        if self.result.done():  # the caller was cancelled
            return
        if isinstance(outcome, Exception):
            # One copy for each caller: a shared exception would collect the tracebacks of all of them.
            self.result.set_exception(copy.copy(outcome))
        else:
            self.result.set_result(outcome)


class Batcher(Generic[Item, Result]):
    """The batches of one event loop.

    `run` takes the items of a batch and returns a result or an exception for each item. An exception that `run` raises fails
    the whole batch. A `DatabaseTimeoutError` also fails the queued items, since they have waited for the database too. The
    sizes in a batch sum to at most `max_size`; a larger item gets a batch of its own. Items whose caller was cancelled are
    dropped.
    """

    def __init__(
        self, run: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]], max_size: int = _MAX_BATCH_SIZE
    ) -> None:
        self._run = run
        self._max_size = max_size
        self._queue: list[_Waiting[Item, Result]] = []
        self._runner: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """The number of items that wait for the next batch."""
        return len(self._queue)

    async def submit(self, item: Item, size: int = 1) -> Result:
        """Return the result of `run` for `item`, or raise its exception."""
        waiting: _Waiting[Item, Result] = _Waiting(item, size, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run_all())
        return await waiting.result

    async def _run_all(self) -> None:
        while batch := self._next_batch():
            try:
                await self._run_one(batch)
            except BaseException:
                for waiting in batch:
                    waiting.result.cancel()
                raise

    def _next_batch(self) -> list[_Waiting[Item, Result]]:
        open_items = [waiting for waiting in self._queue if not waiting.result.done()]
        totals = accumulate(waiting.size for waiting in open_items)
        count = max(1, sum(1 for total in totals if total <= self._max_size))
        self._queue = open_items[count:]
        return open_items[:count]

    async def _run_one(self, batch: Sequence[_Waiting[Item, Result]]) -> None:
        outcomes: Sequence[Result | Exception]
        try:
            outcomes = await self._run([waiting.item for waiting in batch])
        except DatabaseTimeoutError as error:
            batch, self._queue = [*batch, *self._queue], []
            outcomes = [error] * len(batch)
        except Exception as error:  # noqa: BLE001 - every waiting caller must get it
            outcomes = [error] * len(batch)
        for waiting, outcome in zip(batch, outcomes, strict=True):
            waiting.settle(outcome)
