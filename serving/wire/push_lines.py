"""Rows of a file, one JSON object a line, into an online table: what `POST /v1/features/push` does, without the service."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from core.postgres.pool import connection_pool
from feature_repo.online.push import PushReceipt, push
from serving.wire.decode import MOST_PUSHED, decode_pushed_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime

    from feature_repo.online.push import PushedRow
    from feature_repo.online.tables import OnlineTable


async def push_lines(
    url: str, tables: Sequence[OnlineTable], lines: Iterable[bytes], clock: Callable[[], datetime]
) -> PushReceipt:
    """Push every line to `tables`, see `push`, a thousand in one transaction; an empty one says nothing.

    What was pushed before a line that is refused stays; to send the whole file again is safe.

    Raises
    ------
    NotJson, Refusal, PushConflictError
        If a line is malformed, or its id stands for another row.
    StaleStateError, DatabaseError
        If the table is not there, or the server does not answer.

    """
    stored = duplicates = 0
    async with connection_pool(url) as pool:
        for rows in _batches(_rows(tables[0], lines, clock)):
            receipt = await push(pool, tables, rows, clock())
            stored, duplicates = stored + receipt.stored, duplicates + receipt.duplicates
    return PushReceipt(stored, duplicates)


def _rows(table: OnlineTable, lines: Iterable[bytes], clock: Callable[[], datetime]) -> Iterator[PushedRow]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield decode_pushed_line(line, table, f"line {number}", clock())


def _batches(rows: Iterator[PushedRow]) -> Iterator[list[PushedRow]]:
    while batch := list(islice(rows, MOST_PUSHED)):
        yield batch
