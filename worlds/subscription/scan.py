"""Search a project for customers' names, mail addresses and phone numbers: `python -m worlds.subscription.scan DIR`.

The scan covers every file in the project's folder, including the contents of Parquet, zip and gzip files, and every table of
its database. It skips the sources in the subfolder `world`, which contain the identifiers by design.
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
#: The pattern of each identifying column of the table `customers`; lookaheads, because two matches may overlap.
SHAPES = {
    "name": re.compile(rb"(?<![A-Za-z])(?=([A-Z][a-z]+ [A-Z][a-z]+)(?![a-z]))"),
    "email": re.compile(rb"(?<![a-z])(?=([a-z]+\.[a-z]+\.\d+@mail\.example))"),
    "phone": re.compile(rb"(?=(\+999 \d{9}))"),
}
_PARQUET, _ZIP, _GZIP = b"PAR1", b"PK\x03\x04", b"\x1f\x8b"


@dataclass(frozen=True)
class Leak:
    """Identifiers of one kind in a file or table that must not contain any; the identifiers are not repeated."""

    location: str
    kind: str
    times: int


class Scanner:
    """Finds the identifiers of a world's customers in bytes."""

    def __init__(self, customers: Path) -> None:
        table = pq.read_table(sorted(customers.glob("*.parquet")), columns=list(SHAPES))
        self._known = {
            kind: {value.encode() for value in table[kind].to_pylist() if value is not None} for kind in SHAPES
        }
        for kind, values in self._known.items():
            if any(SHAPES[kind].findall(value)[:1] != [value] for value in values):
                raise PantheraError(f"{customers}: a {kind} does not match the pattern of the scan; correct SHAPES")

    def scan(self, location: str, content: bytes) -> Iterator[Leak]:
        """Yield the leaks in `content`, including those in packed content."""
        for part in _unpacked(content):
            for kind, shape in SHAPES.items():
                times = sum(found in self._known[kind] for found in shape.findall(part))
                if times:
                    yield Leak(location, kind, times)


def _unpacked(content: bytes) -> Iterator[bytes]:
    """Yield `content`, and recursively the contents of a Parquet, zip or gzip file."""
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
        except (OSError, EOFError, zlib.error):  # not a gzip file in spite of its first bytes
            inside = ()
    for part in inside:
        yield from _unpacked(part)


def _texts(table: pa.Table) -> Iterator[bytes]:
    for column in table.columns:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            yield "\n".join(value for value in column.to_pylist() if value is not None).encode()


def scan_files(scanner: Scanner, project: Path) -> Iterator[Leak]:
    """Yield the leaks in all files of `project` except the sources; links point to code and are not followed."""
    for folder, folders, files in os.walk(project):
        folders[:] = [name for name in folders if Path(folder) != project or name != SOURCES]
        for file in (Path(folder) / name for name in files):
            if file.is_file() and not file.is_symlink():
                yield from scanner.scan(str(file.relative_to(project)), file.read_bytes())


def scan_tables(scanner: Scanner, url: str) -> Iterator[Leak]:
    """Yield the leaks in all tables of the database at `url`."""
    with connect(url) as connection:
        tables = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        for schema, table in tables:
            name = sql.Identifier(schema, table)
            with connection.cursor().copy(sql.SQL("COPY {} TO STDOUT").format(name)) as rows:
                yield from scanner.scan(f"table {schema}.{table}", b"".join(map(bytes, rows)))


def main(arguments: list[str] | None = None) -> int:
    """Scan a project; return 0, 3 if there are leaks, or 2 after one line of error message on standard error."""
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
        print(f"{leak.location}: {leak.times} times a {leak.kind}")
    print(f"{len(leaks)} files or tables contain a direct identifier")
    return 3 if leaks else 0


if __name__ == "__main__":
    sys.exit(main())
