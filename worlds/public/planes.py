"""Flights, their delays and their planes in three files: the delays have no time, which stands with the flight."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worlds.public.tables import r_table

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

_EVERY, _MONTHS = 4, 3


def flights(every: int = _EVERY, months: int = _MONTHS) -> pd.DataFrame:
    """Return the flights of one plane of `every`, with an id."""
    table = r_table("nycflights13", "flights")
    table = table[(table["month"] <= months) & table["tailnum"].notna()]
    numbers = table["tailnum"].astype("category").cat.codes
    table = table[numbers % every == 0].reset_index(drop=True)
    table.insert(0, "id", table.index.map("{:06d}".format))
    return table


def write(folder: Path) -> None:
    """Write `flights.csv`, `delays.tsv.gz` and `planes.csv`, from the R package nycflights13."""
    table = flights()
    day = table["day"].map("{:02d}/".format) + table["month"].map("{:02d}/".format) + table["year"].astype(str)
    clock = table["sched_dep_time"].map("{:04d}".format)
    table["Scheduled"] = day + " " + clock.str[:2] + "." + clock.str[2:]
    known = {"id": "Flight ID", "carrier": "Carrier", "tailnum": "Tail No.", "origin": "From", "dest": "To"}
    table.rename(columns=known)[[*known.values(), "Scheduled", "distance"]].to_csv(folder / "flights.csv", index=False)
    delays = table[["id", "dep_delay"]].rename(columns={"id": "flight", "dep_delay": "minutes late"})
    delays.sort_values("minutes late").to_csv(folder / "delays.tsv.gz", sep="\t", index=False, na_rep="cancelled")
    r_table("nycflights13", "planes").to_csv(folder / "planes.csv", index=False, na_rep="NA")
