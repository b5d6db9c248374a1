"""A source of three columns, as a stranger's file may hold it, and what becomes of its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from core.plan.ingest import QualityRules, Source
from feature_repo.files.datasets import raw_file
from feature_repo.ingest import ingest
from feature_repo.validate import Validated, validate

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS: dict[str, Any] = {
    "id": {"dtype": "string"},
    "seen": {"dtype": "date"},
    "amount": {"dtype": "float64"},
}


def stranger(reader: dict[str, Any], **columns: dict[str, Any]) -> Source:
    """Compose the source of `reader`; `columns` change or add to the usual three."""
    return Source.model_validate(
        {
            "reader": reader,
            "entity": "thing",
            "event_time": {"column": "seen"},
            "observed_until": "2025-01-01",
            "columns": {**COLUMNS, **columns},
        }
    )


def csv_of(folder: Path, content: bytes | str, name: str = "table.csv", **reader: Any) -> dict[str, Any]:
    """Write a file; return the reader of it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return {"kind": "csv", "path": str(folder / name), **reader}


def raw_rows(source: Source, folder: Path) -> list[tuple[Any, ...]]:
    """Ingest a source; return its rows."""
    ingest("things", source, folder / "raw", folder / "downloads")
    table = pq.read_table(raw_file(folder / "raw", "things"))
    return [tuple(row.values()) for row in table.to_pylist()]


def judged(source: Source, folder: Path, **rules: Any) -> Validated:
    """Validate the ingested rows of a source, with all of them allowed to be at fault."""
    stated = QualityRules.model_validate({"max_rejected": 1.0, **rules})
    raw = raw_file(folder / "raw", "things")
    return validate(source, "id", stated, raw, folder / "accepted", folder / "rejected.parquet")


def accepted_rows(source: Source, folder: Path) -> list[dict[str, Any]]:
    """Validate an ingested source; return its accepted rows, in the order of the keys."""
    judged(source, folder)
    rows = [row for file in (folder / "accepted").glob("*.parquet") for row in pq.read_table(file).to_pylist()]
    return sorted(rows, key=lambda row: str(row["id"]))


def accepted_values(source: Source, folder: Path, column: str) -> list[Any]:
    """Ingest and validate a source; return what a column holds, in the order of the keys."""
    raw_rows(source, folder)
    return [row[column] for row in accepted_rows(source, folder)]


def reasons(folder: Path) -> list[list[str]]:
    """Return the reasons of the rejected rows."""
    return list(pq.read_table(folder / "rejected.parquet")["reasons"].to_pylist())
