"""The journal of an operation: all requests, answers and outcomes, and the truth, written day by day."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import pyarrow as pa

PREDICTIONS, OUTCOMES, DAYS = "predictions", "outcomes", "days"


class Journal:
    """Writes the files `predictions.jsonl`, `outcomes.jsonl`, `days.jsonl` and one `truth-MONTH.parquet` per month."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder

    def note(self, kind: str, entries: Iterable[Mapping[str, Any]]) -> None:
        """Write entries to the end of the file of their kind; they are on disk before the next day begins."""
        with (self._folder / f"{kind}.jsonl").open("a") as file:
            file.writelines(json.dumps(entry, default=str) + "\n" for entry in entries)

    def note_truth(self, month: int, truth: pa.Table) -> None:
        """Write the true hazards of a month, and who received the offer."""
        pq.write_table(truth, self._folder / f"truth-{month:03d}.parquet", compression="zstd")


def read_entries(folder: Path, kind: str) -> list[dict[str, Any]]:
    """Read the entries of one kind in the order of writing; an empty list if there is no file."""
    file = folder / f"{kind}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def read_truth(folder: Path) -> pa.Table:
    """Read the truth of all months."""
    return pq.read_table(sorted(folder.glob("truth-*.parquet")))
