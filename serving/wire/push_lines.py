"""Push the rows of a JSON Lines file into online tables, as `POST /v1/features/push` does, without the service."""

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
    from feature_repo.online.table import OnlineTable


async def push_lines(
    url: str, tables: Sequence[OnlineTable], lines: Iterable[bytes], clock: Callable[[], datetime]
) -> PushReceipt:
    """Write every line to `tables` by `push`, a thousand rows in a transaction; empty lines are skipped.

    Rows before a refused line stay written; pushing the whole file again is safe.

    Raises
    ------
    NotJson, Refusal, PushConflictError
        If a line is malformed, or its id belongs to another row.
    StaleStateError, DatabaseError
        If the table does not exist, or the server does not answer.

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
