"""How much is logged, found out in the same short time however much it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

if TYPE_CHECKING:
    import psycopg

#: Up to this many rows are counted; more are estimated.
MOST_COUNTED = 10_000
_TABLES = {"predictions": "prediction", "exposures": "exposure", "outcomes": "outcome"}


@dataclass(frozen=True)
class LogCount:
    """Rows of a table, and whether that is PostgreSQL's estimate, as the planner has it, instead of a count."""

    rows: int
    is_estimate: bool


async def count_log(connection: psycopg.AsyncConnection) -> dict[str, LogCount]:
    """Count predictions, exposures and outcomes; of more than `MOST_COUNTED`, estimate how many there are."""
    return {name: await _count(connection, table) for name, table in _TABLES.items()}


async def _count(connection: psycopg.AsyncConnection, table: str) -> LogCount:
    rows = sql.SQL("SELECT FROM {}").format(sql.Identifier("panthera", table))
    counted = sql.SQL("SELECT count(*) FROM ({} LIMIT {}) AS found").format(rows, MOST_COUNTED + 1)
    (found,) = await (await connection.execute(counted)).fetchone() or (0,)
    if found <= MOST_COUNTED:
        return LogCount(found, is_estimate=False)
    ((plan,),) = await (await connection.execute(sql.SQL("EXPLAIN (FORMAT JSON) {}").format(rows))).fetchall()
    return LogCount(max(found, plan[0]["Plan"]["Plan Rows"]), is_estimate=True)
