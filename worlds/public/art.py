"""Works of a museum, with their titles and materials in words, as a database file that the museum publishes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from worlds.public.tables import r_table

if TYPE_CHECKING:
    from pathlib import Path


def write(folder: Path) -> None:
    """Write `tate.sqlite`, from the R package modeldata."""
    table = r_table("modeldata", "tate_text")
    table["id"] = table["id"].map("T{:06d}".format)
    file = folder / "tate.sqlite"
    file.unlink(missing_ok=True)
    with closing(sqlite3.connect(file)) as connection:
        table.rename(columns={"id": "Accession No", "year": "Year"}).to_sql("works", connection, index=False)
