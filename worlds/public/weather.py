"""Hourly measurements of three weather stations, with gaps, as a DuckDB file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb

from worlds.public.tables import r_table

if TYPE_CHECKING:
    from pathlib import Path

_MONTHS = (3, 4, 5)


def write(folder: Path) -> None:
    """Write `weather.duckdb`, of three months, from the R package nycflights13."""
    table = r_table("nycflights13", "weather")
    table = table[table["month"].isin(_MONTHS)].drop(columns=["year", "month", "day", "hour", "wind_gust"])
    table = table.rename(
        columns={"time_hour": "Time (UTC)", "temp": "Temp °F", "humid": "rel. humidity", "origin": "Station"}
    )
    file = folder / "weather.duckdb"
    file.unlink(missing_ok=True)
    with duckdb.connect(str(file)) as connection:
        connection.register("found", table)
        connection.execute("CREATE TABLE hours AS SELECT * FROM found")
