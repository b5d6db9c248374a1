"""The snapshots that were online: those of each catch-up, and the ones that were online before the first catch-up.

The stage `build_features` recomputes its snapshots from the rows that are known now. After corrections, that differs from
what was served. So served snapshots are kept, in a folder for each version of a view. The newest snapshots of each instant
are also copied to the stage's folder, where offline retrieval reads them.
"""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

from core.files import unfinished
from feature_repo.files.datasets import files_of, write_table
from feature_repo.files.duck import files_literal, literal, open_duckdb

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime
    from pathlib import Path

    import duckdb
    import pyarrow as pa

_AS_OF = re.compile(r"as-of-(?P<stamp>\w+)-(?P<version>\d+)\.parquet")


def stamp(instant: datetime) -> str:
    """Return an instant as a part of a file's name."""
    return f"{instant:%Y%m%dT%H%M%S%f}"


def keep_snapshots(kept: Path, features: Path, rows: pa.Table, as_of: datetime) -> None:
    """Write the snapshots `rows` as of an instant to both folders; in `kept`, as a new version if they differ."""
    with open_duckdb() as connection:
        connection.register("snapshots", rows)
        _keep_version(connection, kept, len(rows), as_of)
        write_if_any(connection, features / f"as-of-{stamp(as_of)}.parquet", "FROM snapshots")


def keep_computed(kept: Path, features: Path, as_of: datetime) -> None:
    """Keep the snapshots as of an instant that the stage computed to `features`, if they differ from the last version."""
    with open_duckdb() as connection:
        connection.execute(f"CREATE TEMP VIEW snapshots AS FROM read_parquet({literal(files_of(features))})")
        found = connection.execute("SELECT count(*) FROM snapshots").fetchone()
        _keep_version(connection, kept, int(found[0]) if found else 0, as_of)


def keep_alone(kept: Path, features: Path, rows: pa.Table, as_of: datetime) -> None:
    """Write the snapshots `rows` in the place of all others in `features`, and keep them as a version."""
    earlier = list(features.glob("*.parquet"))
    keep_snapshots(kept, features, rows, as_of)
    for file in earlier:
        if file.name != f"as-of-{stamp(as_of)}.parquet":
            file.unlink()


def versions_of(files: Iterable[Path], as_of: datetime) -> list[Path]:
    """Return those of the kept `files` that are versions of all snapshots as of an instant."""
    return [file for file in files if stamp(as_of) in file.name]


def _keep_version(connection: duckdb.DuckDBPyConnection, kept: Path, rows: int, as_of: datetime) -> None:
    """Write the relation `snapshots` of so many rows as another version, unless the last one is the same."""
    versions = [version for version in _versions(kept) if version[0] == stamp(as_of)]
    if not versions or _differ(connection, versions[-1][2], rows):
        number = versions[-1][1] + 1 if versions else 1
        write_if_any(connection, kept / f"as-of-{stamp(as_of)}-{number}.parquet", "FROM snapshots")


def is_kept(kept: Path, as_of: datetime) -> bool:
    """Return whether the snapshots that were online as of an instant are kept."""
    return _online_file(kept, as_of).exists() or any(found == stamp(as_of) for found, _, _ in _versions(kept))


def keep_online(kept: Path, rows: pa.RecordBatchReader, as_of: datetime) -> None:
    """Write the snapshots `rows`, which are online as of an instant, to `kept`."""
    with open_duckdb() as connection:
        connection.register("snapshots", rows)
        write_if_any(connection, _online_file(kept, as_of), "FROM snapshots")


def _online_file(kept: Path, as_of: datetime) -> Path:
    return kept / f"online-{stamp(as_of)}.parquet"


def write_if_any(connection: duckdb.DuckDBPyConnection, file: Path, query: str) -> None:
    """Write the rows of `query`, if there are any, to `file` atomically."""
    partial = unfinished(file)
    if write_table(connection, query, partial):
        partial.replace(file)
    partial.unlink(missing_ok=True)


def add_kept(kept: Path, features: Path) -> None:
    """Copy the newest snapshots of each instant from `kept` to the folder `features` of the stage."""
    newest = {as_of: file for as_of, _, file in _versions(kept)}
    for as_of, file in newest.items():
        shutil.copyfile(file, features / f"as-of-{as_of}.parquet")


def kept_files(kept: Path) -> list[Path]:
    """Return the files of all snapshots that were online, including superseded ones."""
    return sorted(kept.glob("*.parquet"))


def _versions(kept: Path) -> list[tuple[str, int, Path]]:
    """Return (stamp, version, file) of the snapshots of catch-ups, sorted by stamp and version."""
    return sorted(_parsed(kept), key=lambda version: version[:2])


def _parsed(kept: Path) -> Iterator[tuple[str, int, Path]]:
    for file in kept.glob("as-of-*.parquet"):
        if found := _AS_OF.fullmatch(file.name):
            yield found["stamp"], int(found["version"]), file


def _differ(connection: duckdb.DuckDBPyConnection, file: Path, rows: int) -> bool:
    """Return whether the relation `snapshots`, of `rows` rows, differs from the content of the file."""
    stored = f"read_parquet({files_literal(file)})"
    counts = connection.execute(
        f"SELECT (SELECT count(*) FROM {stored}), (SELECT count(*) FROM (FROM snapshots EXCEPT ALL FROM {stored}))"
    ).fetchone()
    return counts != (rows, 0)
