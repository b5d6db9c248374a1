"""Loans of a bank, good or bad, as a spreadsheet of a European office exports them: semicolons, decimal commas, `NA`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worlds.public.tables import r_table

if TYPE_CHECKING:
    from pathlib import Path


def write(folder: Path) -> None:
    """Write `Kredite 2019.csv`, from the R package modeldata."""
    table = r_table("modeldata", "credit_data")
    table.insert(0, "Nr.", [f"K-{number:05d}" for number in range(1, len(table) + 1)])
    table["Job"] = table["Job"].fillna("?")
    table = table.rename(columns={"Seniority": "Years, in job", "Income": "Income (k€)", "Time": "Time [months]"})
    table.to_csv(
        folder / "Kredite 2019.csv",
        sep=";",
        decimal=",",
        na_rep="NA",
        index=False,
        encoding="cp1252",
        lineterminator="\r\n",
    )
