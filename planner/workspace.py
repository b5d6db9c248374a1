"""The workspace of the planner: a DuckDB connection and a temporary folder, both removed at the end."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from feature_repo.files.duck import open_duckdb

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb


@dataclass(frozen=True)
class Workspace:
    """A DuckDB connection, and a folder for copies of compressed or rewritten files."""

    connection: duckdb.DuckDBPyConnection
    scratch: Path


@contextmanager
def open_workspace() -> Iterator[Workspace]:
    """Yield a workspace whose connection may spill to disk; remove it at the end of the block."""
    with TemporaryDirectory(prefix="panthera-") as folder:
        spill, scratch = Path(folder, "spill"), Path(folder, "scratch")
        for each in (spill, scratch):
            each.mkdir()
        with open_duckdb(spill) as connection:
            yield Workspace(connection, scratch)
