"""An online table for the tests, and rows for it in Arrow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from feature_repo.online.table import OnlineTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

    from feature_repo.online.joint_tables import JointTable

DAY = timedelta(days=1)
START = datetime(2026, 1, 1, tzinfo=UTC)
UTC_MICROSECONDS = pa.timestamp("us", tz="UTC")
SPENDING = OnlineTable("spending__0123456789ab", (("customer", "int64"),), (("spend", "float64"), ("plan", "string")))

#: customer, event time, created time, spend, plan
Row = tuple[int, datetime, datetime, float | None, str | None]


def at(day: float) -> datetime:
    """Name the instant so many days after the start."""
    return START + day * DAY


def row(
    customer: int, event: float, spend: float | None = 0.0, plan: str | None = "", created: float | None = None
) -> Row:
    """Make a row of `SPENDING`; times in days after the start, the created time that of the event unless given."""
    return (customer, at(event), at(event if created is None else created), spend, plan)


def arrow(rows: Sequence[Row]) -> pa.Table:
    """Put rows of `SPENDING` into Arrow."""
    types = [pa.int64(), UTC_MICROSECONDS, UTC_MICROSECONDS, pa.float64(), pa.string()]
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(types)
    return pa.table(
        {name: pa.array(column, kind) for name, column, kind in zip(SPENDING.columns, columns, types, strict=True)}
    )


def stored(connection: psycopg.Connection, table: OnlineTable = SPENDING) -> list[tuple[Any, ...]]:
    """Read a whole online table, in the order of its keys."""
    return connection.execute(f"SELECT * FROM online.{table.name} ORDER BY 1").fetchall()


def joint_rows(connection: psycopg.Connection, joint: JointTable) -> list[tuple[Any, ...]]:
    """Read a whole joint table of tables like `SPENDING`: the key, and each member's event time, spend and plan."""
    columns = [
        f'"{position}.{name}"'
        for position, _ in enumerate(joint.members)
        for name in ("event_timestamp", *(feature for feature, _ in SPENDING.features))
    ]
    return connection.execute(f"SELECT customer, {', '.join(columns)} FROM online.{joint.name} ORDER BY 1").fetchall()
