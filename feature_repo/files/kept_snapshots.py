"""The snapshots that were online: those of each catch-up, and what stood online before the first.

The stage `build_features` computes its snapshots anew from the rows that are known now. What was served cannot be computed
again once rows were corrected, so it is kept, in a folder for each version of a view. The newest snapshots of an instant
also lie among those of the stage, where the offline side looks for them.
"""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

from core.files import unfinished
from feature_repo.files.datasets import write_table
from feature_repo.files.duck import files_literal, open_duckdb

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    import duckdb
    import pyarrow as pa

_AS_OF = re.compile(r"as-of-(?P<stamp>\w+)-(?P<version>\d+)\.parquet")


def stamp(instant: datetime) -> str:
    """Return an instant as a part of a file's name."""
    return f"{instant:%Y%m%dT%H%M%S%f}"


def keep(kept: Path, features: Path, rows: pa.Table, as_of: datetime) -> None:
    """Write the snapshots `rows` as of an instant to both folders; a version that differs leaves earlier ones in `kept`."""
    versions = [version for version in _versions(kept) if version[0] == stamp(as_of)]
    with open_duckdb() as connection:
        connection.register("snapshots", rows)
        if not versions or _differ(connection, versions[-1][2], len(rows)):
            number = versions[-1][1] + 1 if versions else 1
            write_beside(connection, kept / f"as-of-{stamp(as_of)}-{number}.parquet", "FROM snapshots")
        write_beside(connection, features / f"as-of-{stamp(as_of)}.parquet", "FROM snapshots")


def is_kept(kept: Path, as_of: datetime) -> bool:
    """Return whether the snapshots that were brought online as of an instant are kept."""
    return _online_file(kept, as_of).exists() or any(of == stamp(as_of) for of, _, _ in _versions(kept))


def keep_online(kept: Path, rows: pa.RecordBatchReader, as_of: datetime) -> None:
    """Write the snapshots `rows` that were brought online as of an instant."""
    with open_duckdb() as connection:
        connection.register("snapshots", rows)
        write_beside(connection, _online_file(kept, as_of), "FROM snapshots")


def _online_file(kept: Path, as_of: datetime) -> Path:
    return kept / f"online-{stamp(as_of)}.parquet"


def write_beside(connection: duckdb.DuckDBPyConnection, file: Path, query: str) -> None:
    """Write the rows of `query`, if there are any, to `file`, whole or not at all."""
    partial = unfinished(file)
    if write_table(connection, query, partial):
        partial.replace(file)
    partial.unlink(missing_ok=True)


def add_kept(kept: Path, features: Path) -> None:
    """Copy the newest snapshots of each instant from `kept` to the folder `features` of the stage."""
    newest = {of: file for of, _, file in _versions(kept)}
    for of, file in newest.items():
        shutil.copyfile(file, features / f"as-of-{of}.parquet")


def kept_files(kept: Path) -> list[Path]:
    """List the files of all snapshots that were online, the superseded ones too."""
    return sorted(kept.glob("*.parquet"))


def _versions(kept: Path) -> list[tuple[str, int, Path]]:
    """List (stamp, version, file) of the snapshots of catch-ups, in the order of versions."""
    return sorted(_parsed(kept), key=lambda version: version[:2])


def _parsed(kept: Path) -> Iterator[tuple[str, int, Path]]:
    for file in kept.glob("as-of-*.parquet"):
        if found := _AS_OF.fullmatch(file.name):
            yield found["stamp"], int(found["version"]), file


def _differ(connection: duckdb.DuckDBPyConnection, file: Path, rows: int) -> bool:
    """Return whether the relation `snapshots` of so many rows is not what the file holds."""
    stored = f"read_parquet({files_literal(file)})"
    counts = connection.execute(
        f"SELECT (SELECT count(*) FROM {stored}), (SELECT count(*) FROM (FROM snapshots EXCEPT ALL FROM {stored}))"
    ).fetchone()
    return counts != (rows, 0)
