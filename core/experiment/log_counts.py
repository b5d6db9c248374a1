"""Row counts of the log in bounded time: exact for small tables, estimated for large ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

if TYPE_CHECKING:
    import psycopg

#: Tables with up to this many rows are counted; larger ones are estimated.
MOST_COUNTED = 10_000
_TABLES = {"predictions": "prediction", "exposures": "exposure", "outcomes": "outcome"}


@dataclass(frozen=True)
class LogCount:
    """The number of rows of a table, and whether it is the estimate of PostgreSQL's planner instead of a count."""

    rows: int
    is_estimate: bool


async def count_log(connection: psycopg.AsyncConnection) -> dict[str, LogCount]:
    """Fetch the numbers of predictions, exposures and outcomes; above `MOST_COUNTED` rows they are estimates."""
    return {name: await _count(connection, table) for name, table in _TABLES.items()}


async def _count(connection: psycopg.AsyncConnection, table: str) -> LogCount:
    rows = sql.SQL("SELECT FROM {}").format(sql.Identifier("panthera", table))
    counted = sql.SQL("SELECT count(*) FROM ({} LIMIT {}) AS found").format(rows, MOST_COUNTED + 1)
    (count,) = await (await connection.execute(counted)).fetchone() or (0,)
    if count <= MOST_COUNTED:
        return LogCount(count, is_estimate=False)
    ((plan,),) = await (await connection.execute(sql.SQL("EXPLAIN (FORMAT JSON) {}").format(rows))).fetchall()
    return LogCount(max(count, plan[0]["Plan"]["Plan Rows"]), is_estimate=True)
