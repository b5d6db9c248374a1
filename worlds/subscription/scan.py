"""The command: `python -m worlds.subscription.scan DIR`, whether a project keeps any customer's name, address or number.

Every file below the project's folder is looked into, also inside parquet, zip and gzip, and every table of its database.
The sources themselves, `world/` in the project's folder, are left out: they are where the identifiers come from.
"""

from __future__ import annotations

import argparse
import gzip
import io
import os
import re
import sys
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from psycopg import sql

from core.errors import PantheraError
from core.postgres.database import connect

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SOURCES = "world"
#: What a value of each identifying column of the table `customers` looks like; looked ahead for, since two may overlap.
SHAPES = {
    "name": re.compile(rb"(?<![A-Za-z])(?=([A-Z][a-z]+ [A-Z][a-z]+)(?![a-z]))"),
    "email": re.compile(rb"(?<![a-z])(?=([a-z]+\.[a-z]+\.\d+@mail\.example))"),
    "phone": re.compile(rb"(?=(\+999 \d{9}))"),
}
_PARQUET, _ZIP, _GZIP = b"PAR1", b"PK\x03\x04", b"\x1f\x8b"


@dataclass(frozen=True)
class Leak:
    """An identifier where none may be: in which file or table, and of which kind; itself it is not repeated."""

    place: str
    kind: str
    times: int


class Scanner:
    """Knows the identifiers of a world's customers, and recognises them in bytes."""

    def __init__(self, customers: Path) -> None:
        table = pq.read_table(sorted(customers.glob("*.parquet")), columns=list(SHAPES))
        self._known = {
            kind: {value.encode() for value in table[kind].to_pylist() if value is not None} for kind in SHAPES
        }
        for kind, values in self._known.items():
            if any(SHAPES[kind].findall(value)[:1] != [value] for value in values):
                raise PantheraError(f"{customers}: a {kind} has another shape than the scan looks for; correct SHAPES")

    def look(self, place: str, content: bytes) -> Iterator[Leak]:
        """Yield what stands in `content`, also where it is packed."""
        for part in _unpacked(content):
            for kind, shape in SHAPES.items():
                times = sum(found in self._known[kind] for found in shape.findall(part))
                if times:
                    yield Leak(place, kind, times)


def _unpacked(content: bytes) -> Iterator[bytes]:
    """Yield `content`, and what is inside if it is a parquet, zip or gzip file, to any depth."""
    yield content
    inside: Iterable[bytes] = ()
    if content.startswith(_PARQUET):
        inside = _texts(pq.read_table(io.BytesIO(content)))
    elif content.startswith(_ZIP):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            inside = [archive.read(name) for name in archive.namelist()]
    elif content.startswith(_GZIP):
        try:
            inside = [gzip.decompress(content)]
        except (OSError, EOFError, zlib.error):  # only begins like one
            inside = ()
    for part in inside:
        yield from _unpacked(part)


def _texts(table: pa.Table) -> Iterator[bytes]:
    for column in table.columns:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            yield "\n".join(value for value in column.to_pylist() if value is not None).encode()


def scan_files(scanner: Scanner, project: Path) -> Iterator[Leak]:
    """Look into every file below `project` but the sources; links lead to code and are not followed."""
    for folder, folders, files in os.walk(project):
        folders[:] = [name for name in folders if Path(folder) != project or name != SOURCES]
        for file in (Path(folder) / name for name in files):
            if file.is_file() and not file.is_symlink():
                yield from scanner.look(str(file.relative_to(project)), file.read_bytes())


def scan_tables(scanner: Scanner, url: str) -> Iterator[Leak]:
    """Look into every table of the database at `url`."""
    with connect(url) as connection:
        tables = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        for schema, table in tables:
            name = sql.Identifier(schema, table)
            with connection.cursor().copy(sql.SQL("COPY {} TO STDOUT").format(name)) as rows:
                yield from scanner.look(f"table {schema}.{table}", b"".join(map(bytes, rows)))


def main(arguments: list[str] | None = None) -> int:
    """Scan; return 0, 3 if something was found, or 2 with one line on the standard error stream."""
    parser = argparse.ArgumentParser(prog="python -m worlds.subscription.scan", description=__doc__)
    parser.add_argument("project", type=Path, help="project folder in which a plan of this world was run")
    parsed = parser.parse_args(arguments)
    from core.postgres.database import ensure_database
    from core.settings import read_settings

    try:
        scanner = Scanner(parsed.project / SOURCES / "customers")
        url = ensure_database(read_settings({**os.environ, "PANTHERA_STATE": str(parsed.project / ".panthera")}))
        leaks = [*scan_files(scanner, parsed.project), *scan_tables(scanner, url)]
    except PantheraError as refusal:
        print(f"error: {refusal}", file=sys.stderr)
        return 2
    for leak in leaks:
        print(f"{leak.place}: {leak.times} times a {leak.kind}")
    print(f"{len(leaks)} places hold a direct identifier")
    return 3 if leaks else 0


if __name__ == "__main__":
    sys.exit(main())
