"""Work that many requests share: while one batch runs, the next one gathers.

A request alone waits for one run, and many at once share one; nobody waits for a timer or for a batch to be full.
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

#: Size of a batch: with more, what is gained by sharing is less than what its first caller waits.
_MOST = 1000
Item = TypeVar("Item")
Result = TypeVar("Result")


#: How many rows are worked on before others have their turn: about two milliseconds.
_ROWS_A_TURN = 100


async def in_turns(rows: Iterable[Item]) -> AsyncIterator[Item]:
    """Yield `rows`, and let the event loop do other work now and then: a long request must not hold up short ones."""
    for number, row in enumerate(rows, 1):
        yield row
        if number % _ROWS_A_TURN == 0:
            await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[Item, Result]):
    item: Item
    size: int
    result: asyncio.Future[Result]

    def settle(self, outcome: Result | Exception) -> None:
        if self.result.done():  # the request was given up
            return
        if isinstance(outcome, Exception):
            # One exception for each: a shared one would gather the traceback of every waiter.
            self.result.set_exception(copy.copy(outcome))
        else:
            self.result.set_result(outcome)


class Batcher(Generic[Item, Result]):
    """The batches of one event loop.

    `run` takes the items of a batch and returns for each of them its result, or the exception that it ends in. An exception
    that `run` raises ends all of them; a time-out of the database also those behind them, who have waited for it too. A
    batch has a size of at most `most`, or one item. Nobody works for an item whose caller has given up.
    """

    def __init__(
        self, run: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]], most: int = _MOST
    ) -> None:
        self._run = run
        self._most = most
        self._gathering: list[_Waiting[Item, Result]] = []
        self._runner: asyncio.Task[None] | None = None

    async def submit(self, item: Item, size: int = 1) -> Result:
        """Return the result of `run` for `item`, or raise what it ends in."""
        waiting: _Waiting[Item, Result] = _Waiting(item, size, asyncio.get_running_loop().create_future())
        self._gathering.append(waiting)
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
        wanted = [waiting for waiting in self._gathering if not waiting.result.done()]
        ends = accumulate(waiting.size for waiting in wanted)
        count = max(1, sum(1 for end in ends if end <= self._most))
        self._gathering = wanted[count:]
        return wanted[:count]

    async def _run_one(self, batch: Sequence[_Waiting[Item, Result]]) -> None:
        outcomes: Sequence[Result | Exception]
        try:
            outcomes = await self._run([waiting.item for waiting in batch])
        except DatabaseTimeoutError as error:
            batch, self._gathering = [*batch, *self._gathering], []
            outcomes = [error] * len(batch)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            outcomes = [error] * len(batch)
        for waiting, outcome in zip(batch, outcomes, strict=True):
            waiting.settle(outcome)
