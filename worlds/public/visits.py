"""Years of people in a health insurance experiment and their visits to doctors, as a statistician's text file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from worlds.public.tables import statsmodels_file

if TYPE_CHECKING:
    from pathlib import Path

_COLUMNS = {
    "mdvis": "Visits",
    "coins": "Coinsurance %",
    "income": "income, $",
    "xage": "Age",
    "female": "Sex",
    "educdec": "education",
    "black": "black",
    "num": "family size",
    "disea": "chronic diseases",
    "physlm": "limited?",
    "ghindx": "health index",
    "mhi": "mental health",
    "year": "year",
    "site": "site",
    "child": "child",
}


def write(folder: Path, every: int = 3) -> None:
    """Write `rand hie.txt`, of one person of `every`, from statsmodels."""
    table = pd.read_csv(statsmodels_file("randhie/src/randhie.csv"), low_memory=False)
    table = table[table["zper"] % every == 0]
    people = table["zper"].astype(str).str.zfill(7)
    chosen = table[list(_COLUMNS)].rename(columns=_COLUMNS)
    chosen.insert(0, "Person", people)
    chosen.insert(0, "ID", people + "/" + table["year"].astype(str))
    chosen["Sex"] = chosen["Sex"].map({1: "F", 0: "M"})
    chosen["limited?"] = (chosen["limited?"] > 0).map({True: "Y", False: "N"})
    with (folder / "rand hie.txt").open("w", encoding="utf-16") as file:
        file.write("# RAND health insurance experiment\n")
        chosen.to_csv(file, sep="\t", index=False, na_rep=".")
