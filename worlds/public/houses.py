"""Prices of houses, as an agency keeps them: in a folder of packed files with dollars and thousands separators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worlds.public.tables import r_table

if TYPE_CHECKING:
    from pathlib import Path

_PARTS = 3


def write(folder: Path) -> None:
    """Write `listings/part-*.csv.gz`, from the R package modeldata."""
    table = r_table("modeldata", "Sacramento")
    table["price"] = table["price"].map("{:,}".format)
    table["sqft"] = table["sqft"].map("{:,}".format)
    table["zip"] = table["zip"].str.removeprefix("z")
    table = table.rename(columns={"price": "Price, $", "zip": "ZIP code", "sqft": "Living area"})
    table.index.name = "Listing"
    (folder / "listings").mkdir(exist_ok=True)
    for number in range(_PARTS):
        table.iloc[number::_PARTS].to_csv(folder / "listings" / f"part-{number}.csv.gz")
