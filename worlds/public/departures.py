"""Departures of planes in their local time, each an example as of itself, as parquet files in a folder by month."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from worlds.public.planes import flights

if TYPE_CHECKING:
    from pathlib import Path

_COLUMNS = {
    "id": "flight id",
    "tailnum": "aircraft",
    "carrier": "Carrier",
    "origin": "Origin",
    "dest": "Destination",
    "distance": "Distance (mi)",
    "arr_delay": "Arrival delay",
}


def write(folder: Path) -> None:
    """Write `departures/month=*.parquet`, from the R package nycflights13."""
    table = flights(every=6, months=4)
    clock = pd.to_timedelta(table["sched_dep_time"] // 100 * 60 + table["sched_dep_time"] % 100, unit="min")
    table["departs"] = (pd.to_datetime(table[["year", "month", "day"]]) + clock).dt.strftime("%Y-%m-%d %H:%M")
    table = table.drop_duplicates(["tailnum", "departs"])
    (folder / "departures").mkdir(exist_ok=True)
    for month, part in table.groupby("month"):
        chosen = part.rename(columns=_COLUMNS)[[*_COLUMNS.values(), "departs"]]
        chosen.to_parquet(folder / "departures" / f"month={month}.parquet", index=False)
