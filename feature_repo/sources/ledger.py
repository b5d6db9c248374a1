"""The ledger of a growing source: every ingested row, once, and which row replaced it.

Each source has a folder. Its `ledger.json` lists the deliveries, and each delivery has a parquet file of entries. An entry adds
a row under a new number, replaces or removes an earlier row, or does both. A delivery counts once `ledger.json` names it, so a
killed process leaves all of a delivery or nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from core.errors import StaleStateError
from core.files import write_whole
from feature_repo.files.datasets import write_table
from feature_repo.files.duck import files_literal, identifier

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import duckdb

    from core.plan.ingest import Source

_FILE = "ledger.json"
_FOLDER_FILE = "format.json"
_FORMAT = 1
#: Columns of the entries beside those of the source; a blank keeps them apart from every name that a plan can have.
REPLACES, POSITION, KNOWN_FROM, EXTRACT = (
    '"row replaced"',
    '"position in source"',
    '"known from"',
    '"of an extract"',
)


@dataclass(frozen=True)
class Delivery:
    """The rows that one extract or one catch-up added.

    Attributes
    ----------
    file : the file of entries; None if there are no entries.
    extract : sha256 of the extract of the stage `ingest`; None for a catch-up.
    columns : the name in the source of each column, by its name in the file.
    last_row : the largest row number so far.
    excused : faulty rows and duplicates that were compared with the limit of rejected rows when they arrived.

    """

    file: Path | None
    extract: str | None
    columns: Mapping[str, str]
    last_row: int
    excused: int = 0

    def to_dict(self) -> dict[str, object]:
        """Return the delivery as JSON types."""
        return {**vars(self), "file": self.file.name if self.file else None, "columns": dict(self.columns)}


@dataclass(frozen=True)
class Ledger:
    """All deliveries of a source.

    Attributes
    ----------
    as_of : instant of the latest catch-up, up to which everything that the source knew is in the ledger; None before the first.
    key_mark : identifies the key of the pseudonyms; None without pseudonyms.

    """

    folder: Path
    deliveries: tuple[Delivery, ...] = field(default=())
    as_of: datetime | None = None
    key_mark: str | None = None

    @property
    def last_row(self) -> int:
        """The largest row number; 0 without rows."""
        return self.deliveries[-1].last_row if self.deliveries else 0

    @property
    def excused(self) -> int:
        """The number of faulty rows that were compared with the limit of rejected rows when a catch-up added them."""
        return sum(delivery.excused for delivery in self.deliveries)

    def holds(self, extract: str) -> bool:
        """Return whether the extract with this sha256 is a delivery."""
        return any(delivery.extract == extract for delivery in self.deliveries)

    def new_file(self) -> Path:
        """Return the path for the entries of the next delivery."""
        return self.folder / f"{len(self.deliveries) + 1:06d}.parquet"

    def with_delivery(self, delivery: Delivery) -> Ledger:
        """Return the ledger with one more delivery; nothing is written."""
        return replace(self, deliveries=(*self.deliveries, delivery))

    def open(self, connection: duckdb.DuckDBPyConnection, source: Source) -> str:
        """Create a view of the rows that no other row replaced; return its name.

        It has the columns that the plan declares (null where a delivery lacks them), `source_row` (the row's number), POSITION,
        KNOWN_FROM, and EXTRACT (whether the row comes from an extract).
        """
        parts = [
            self._part(files, dict(columns), extract=extract, source=source)
            for (columns, extract), files in self._files().items()
        ]
        if not parts:
            nothing = ", ".join(f"NULL::VARCHAR AS {identifier(name)}" for name in origins(source))
            parts = [f"SELECT 0 AS source_row, {_OWN_NULLS}, false AS {EXTRACT}, {nothing} WHERE false"]
        connection.execute(f"CREATE OR REPLACE TEMP VIEW ledger_entries AS {' UNION ALL BY NAME '.join(parts)}")
        replaced = f"(SELECT {REPLACES} AS source_row FROM ledger_entries WHERE {REPLACES} IS NOT NULL)"
        connection.execute(
            f"""CREATE OR REPLACE TEMP VIEW ledger_rows AS SELECT * EXCLUDE ({REPLACES}) FROM ledger_entries
                ANTI JOIN {replaced} AS replaced USING (source_row) WHERE source_row IS NOT NULL"""
        )
        return "ledger_rows"

    def _files(self) -> dict[tuple[tuple[tuple[str, str], ...], bool], list[Path]]:
        """Return the files of entries by their columns and by whether they come from an extract."""
        files: dict[tuple[tuple[tuple[str, str], ...], bool], list[Path]] = {}
        for delivery in self.deliveries:
            if delivery.file:
                key = (tuple(delivery.columns.items()), delivery.extract is not None)
                files.setdefault(key, []).append(delivery.file)
        return files

    @staticmethod
    def _part(files: list[Path], columns: Mapping[str, str], *, extract: bool, source: Source) -> str:
        names = {origin: identifier(name) for name, origin in columns.items()}
        chosen = [f"{names.get(origin, 'NULL')} AS {identifier(name)}" for name, origin in origins(source).items()]
        return (
            f"SELECT source_row, {REPLACES}, {POSITION}, {KNOWN_FROM}, {str(extract).lower()} AS {EXTRACT}, "
            f"{', '.join(chosen)} FROM read_parquet([{', '.join(map(files_literal, files))}], union_by_name = true)"
        )


_OWN_NULLS = f"NULL::BIGINT AS {REPLACES}, NULL::BIGINT AS {POSITION}, NULL::TIMESTAMPTZ AS {KNOWN_FROM}"


def origins(source: Source) -> dict[str, str]:
    """Return the name in the source of each ingested column, by its name in the plan."""
    return {name: column.rename_from or name for name, column in source.ingested().columns.items()}


def read_ledger(folder: Path) -> Ledger:
    """Read the ledger in `folder`; without a file, return a ledger without deliveries.

    Raises
    ------
    StaleStateError
        If it cannot be read, or a file that it names is missing.

    """
    path = folder / _FILE
    try:
        content = json.loads(path.read_text())
        if content["format_version"] != _FORMAT:
            raise StaleStateError(f"{path}: found format {content['format_version']}, expected {_FORMAT}")
        ledger = _ledger(folder, content)
    except FileNotFoundError:
        return Ledger(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StaleStateError(f"{path} cannot be read ({error!r}); {_remedy(folder)}") from None
    for delivery in ledger.deliveries:
        if delivery.file and not delivery.file.exists():
            raise StaleStateError(f"{delivery.file} is gone, which {path} names; {_remedy(folder)}")
    return ledger


def _ledger(folder: Path, content: Mapping[str, Any]) -> Ledger:
    deliveries = (
        Delivery(**{**each, "file": folder / each["file"]}) if each["file"] else Delivery(**each)
        for each in content["deliveries"]
    )
    as_of = datetime.fromisoformat(content["as_of"]) if content["as_of"] else None
    return Ledger(folder, tuple(deliveries), as_of, content["key_mark"])


def _remedy(folder: Path) -> str:
    return (
        f"bring it back from a copy, or delete {folder} and run `dvc repro --force ingest`, which reads the source anew"
    )


def write_ledger(ledger: Ledger) -> None:
    """Write `ledger.json`; the files of its deliveries must exist."""
    content = {
        "format_version": _FORMAT,
        "as_of": ledger.as_of.isoformat() if ledger.as_of else None,
        "key_mark": ledger.key_mark,
        "deliveries": [delivery.to_dict() for delivery in ledger.deliveries],
    }
    write_whole(ledger.folder / _FILE, json.dumps(content, indent=1) + "\n")


def write_entries(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> Path | None:
    """Write the entries that `query` selects; return the file, or None if there are none."""
    if write_table(connection, query, path):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        return path
    path.unlink(missing_ok=True)
    return None


def digest(file: Path) -> str:
    """Return the sha256 of a file."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@contextmanager
def changing_ledger(folder: Path) -> Iterator[None]:
    """Hold the lock on `folder`, on its parent and on the tables made from it, for the length of the block.

    Another process waits. The kernel releases the lock when this process ends. The folder is created with a file in it, since
    DVC warns about an empty folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / _FOLDER_FILE).exists():
            write_whole(folder / _FOLDER_FILE, json.dumps({"format_version": _FORMAT}) + "\n")
        yield
