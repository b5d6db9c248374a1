"""Computing jobs by how long they ran, in four classes of which one is rare, as JSON lines in one file for each weekday."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worlds.public.tables import r_table

if TYPE_CHECKING:
    from pathlib import Path

#: What the file calls the classes.
_CLASSES = {"VF": "very fast", "F": "fast", "M": "moderate", "L": "long"}


def write(folder: Path) -> None:
    """Write `jobs/*.jsonl`, from the R package modeldata."""
    table = r_table("modeldata", "hpc_data")
    table["class"] = table["class"].map(_CLASSES)
    table = table.rename(columns={"class": "run time", "input_fields": "input fields"})
    table.insert(0, "job#", range(1_000_000_000_001, 1_000_000_000_001 + len(table)))
    (folder / "jobs").mkdir(exist_ok=True)
    for day, part in table.groupby("day"):
        part.to_json(folder / "jobs" / f"{day}.jsonl", orient="records", lines=True)
