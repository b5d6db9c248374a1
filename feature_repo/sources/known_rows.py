"""All known rows of a source: those of the stage `ingest`, and those that catch-ups added.

The stage `validate` and a catch-up compute the accepted rows from the same known rows, so both have the same result. A file
beside the accepted rows names the extract and the number of deliveries that they were computed from.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from core.errors import StaleStateError
from core.files import require, write_whole
from feature_repo.files.datasets import mark_file, raw_file, raw_rows, write_table
from feature_repo.files.duck import files_literal, identifier, open_duckdb
from feature_repo.sources.changes import Comparison, entries, removals
from feature_repo.sources.ledger import KNOWN_FROM, Delivery, digest, origins, write_entries

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import duckdb

    from core.plan.ingest import QualityRules, Source
    from feature_repo.sources.ledger import Ledger

_MADE_OF = "made-of.json"
#: Every row of the ledger has been chosen by its time already.
_ANY_TIME = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class MadeOf:
    """The origin of a table of accepted rows: the sha256 of an extract, and the number of deliveries of the ledger."""

    extract: str
    deliveries: int


def read_made_of(accepted: Path) -> MadeOf | None:
    """Read the origin of the accepted rows in the folder `accepted`; None if none is recorded."""
    try:
        content = json.loads((accepted / _MADE_OF).read_text())
        return MadeOf(content["extract"], content["deliveries"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_made_of(accepted: Path, made_of: MadeOf) -> None:
    """Write the origin of the accepted rows in the folder `accepted`."""
    write_whole(accepted / _MADE_OF, json.dumps({"format_version": 1, **vars(made_of)}) + "\n")


def refuse_other_key(name: str, ledger: Ledger, raw: Path, mark: str | None = None) -> None:
    """Raise StaleStateError if pseudonyms were made with different keys: one person would have two pseudonyms.

    Parameters
    ----------
    raw : file of the extract.
    mark : the `key_mark` of the present key; None if the caller does not have the key.

    """
    file = mark_file(raw.parent, name)
    marks = {ledger.key_mark, file.read_text() if file.exists() else None, mark} - {None, ""}
    if len(marks) > 1:
        raise StaleStateError(
            f"ingest.{name}: the pseudonyms that were taken in were made with another key than the present ones; bring the "
            f"key back (PANTHERA_PII_KEY, or pii.key in the state folder), or delete {ledger.folder} and run "
            "`dvc repro --force ingest`, which reads the source anew"
        )


def with_extract(
    ledger: Ledger, name: str, source: Source, key: str, rules: QualityRules, raw: Path, file: Path
) -> Ledger:
    """Return the ledger with the extract in the file `raw`, unless it has it already; write the new entries to `file`.

    The entries add new rows, replace corrected rows, and remove rows of earlier extracts that this extract lacks. Rows from a
    catch-up are never removed.
    """
    extract = digest(require(raw, "ingest"))
    if ledger.holds(extract):
        return ledger
    refuse_other_key(name, ledger, raw)
    until = max(filter(None, (source.observed_until, ledger.as_of)))
    comparison = Comparison(source.ingested(), key, rules, until, seen_until=until)
    columns = origins(source)
    with open_duckdb(spill=file.parent) as connection:
        known, present = ledger.open(connection, source), raw_rows(connection, raw)
        _require_columns(connection, name, present, raw, columns)
        comparison.find(connection, known, present)
        query = entries(None, present, known, ledger.last_row, list(columns))
        written = write_entries(connection, f"(FROM ({query})) UNION ALL BY NAME (FROM ({removals(known)}))", file)
        return ledger.with_delivery(Delivery(written, extract, columns, last_row(connection, ledger, written)))


def _require_columns(
    connection: duckdb.DuckDBPyConnection, name: str, present: str, raw: Path, columns: Iterable[str]
) -> None:
    found = {row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {present}").fetchall()}
    missing = sorted(set(columns) - found)
    if missing:
        raise StaleStateError(
            f"ingest.{name}: {raw} lacks the column {missing[0]!r}, which the plan declares; run `dvc repro`"
        )


def last_row(connection: duckdb.DuckDBPyConnection, ledger: Ledger, file: Path | None) -> int:
    """Return the largest row number of `ledger` with the entries in `file`."""
    if file is None:
        return ledger.last_row
    found = connection.execute(f"SELECT max(source_row) FROM read_parquet({files_literal(file)})").fetchone()
    return int(found[0]) if found and found[0] else ledger.last_row


def write_known_rows(ledger: Ledger, name: str, source: Source, folder: Path) -> tuple[Source, Path]:
    """Write all known rows to the file of the source `name` in `folder`, as the stage `ingest` writes them.

    Returns
    -------
    The source to validate the rows with, by which no row is left out or rejected for its time; and the file.

    """
    raw = raw_file(folder, name)
    with open_duckdb(spill=folder) as connection:
        known = ledger.open(connection, source)
        columns = ", ".join(map(identifier, origins(source)))
        write_table(connection, f"SELECT source_row, {KNOWN_FROM}, {columns} FROM {known} ORDER BY source_row", raw)
    return source.model_copy(update={"observed_until": _ANY_TIME, "later_rows": "reject"}), raw
