"""Whether the accepted rows of an earlier run fit the plan as it is now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow.parquet as pq

if TYPE_CHECKING:
    from pathlib import Path

    from core.plan.plan import Plan


def has_accepted_rows(plan: Plan, accepted: Path) -> bool:
    """Return whether `accepted` has a table with the plan's columns for each of its sources."""
    return all(
        {*source.ingested().columns, plan.entities[source.entity].key} <= _columns(accepted / name)
        for name, source in plan.ingest.items()
    )


def _columns(table: Path) -> set[str]:
    """Return the columns of a folder of Parquet files; none if there is no file."""
    file = next(iter(sorted(table.glob("*.parquet"))), None)
    return set(pq.read_schema(file).names) if file else set()
