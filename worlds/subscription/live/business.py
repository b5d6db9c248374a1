"""The simulated business month by month, and the records that are known by an instant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.errors import PantheraError
from worlds.subscription.generate import write_part
from worlds.subscription.life import Life
from worlds.subscription.months import LEAD_IN_MONTHS, month_grid
from worlds.subscription.tables import HAZARD_SCHEMA, TABLES

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime
    from pathlib import Path

    from worlds.subscription.settings import SubscriptionSettings

#: The true hazards of a month, and who received the offer.
TRUTH_SCHEMA = HAZARD_SCHEMA.append(pa.field("offered", pa.bool_()))


class Business:
    """All customers of a world, from the lead-in on; it holds back records until they become known."""

    def __init__(self, settings: SubscriptionSettings) -> None:
        self._lives = [Life(settings, chunk) for chunk in range(settings.chunks)]
        self._pending: dict[str, list[pa.Table]] = {table: [] for table in TABLES}
        self._pending["customers"] = [life.customers() for life in self._lives]

    def simulate_until(self, month: int) -> None:
        """Simulate the months before `month`, without offers."""
        for _ in range(-LEAD_IN_MONTHS, month):
            self.advance(())

    def advance(self, offered: Collection[int]) -> pa.Table:
        """Simulate the next month with offers to the customers in `offered`; return its truth."""
        chosen = np.fromiter(offered, np.int64, len(offered))
        truths = [TRUTH_SCHEMA.empty_table()]
        for life in self._lives:
            flags = np.isin(life.people.customer_id, chosen)
            month = life.advance(flags)
            for table, rows in month.tables.items():
                self._pending[table].append(rows)
            received = flags[np.searchsorted(life.people.customer_id, month.hazard["customer_id"].to_numpy())]
            truths.append(month.hazard.append_column("offered", pa.array(received)))
        return pa.concat_tables(truths)

    def known_before(self, instant: datetime) -> dict[str, pa.Table]:
        """Return the records that became known before `instant` and were not returned yet, by table and `created_time`."""
        known = {}
        for table, pending in self._pending.items():
            rows = pa.concat_tables([TABLES[table].schema.empty_table(), *pending])
            early = pc.less(rows["created_time"], pa.scalar(instant, rows.schema.field("created_time").type))
            self._pending[table] = [rows.filter(pc.invert(early))]
            known[table] = rows.filter(early).sort_by("created_time")
        return known


def month_of(settings: SubscriptionSettings, instant: datetime) -> int:
    """Return the number of the month that begins at `instant`.

    Raises
    ------
    PantheraError
        If none does: offers and cancellations are decided per calendar month.

    """
    grid = month_grid(settings.start_date, settings.months)
    for month in range(grid.months):
        if grid.month(month).begins == np.datetime64(instant.replace(tzinfo=None), "us"):
            return month
    raise PantheraError(
        f"{instant:%Y-%m-%d %H:%M} is not the first instant of one of the world's months, {settings.start_date} and the "
        f"{settings.months - 1} after it; operation starts with a month"
    )


def deliver(known: Mapping[str, pa.Table], folder: Path, instant: datetime) -> int:
    """Write records that are known before `instant` to new source files in `folder`; return their number."""
    for table, rows in known.items():
        if len(rows):
            (folder / table).mkdir(parents=True, exist_ok=True)
            write_part(rows, folder / table / f"known-{instant:%Y%m%d}.parquet")
    return sum(map(len, known.values()))
