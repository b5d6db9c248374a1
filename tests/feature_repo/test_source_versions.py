"""A source with another content has another version, and so is read again; one that nobody touched keeps its own."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from core.errors import SourceError
from feature_repo.source_versions import source_versions
from feature_repo.sources.versions import Digests
from tests.feature_repo.sources.stranger import stranger

if TYPE_CHECKING:
    from pathlib import Path


def versions(
    folder: Path, *readers: dict[str, Any], earlier: dict[str, str] | None = None
) -> tuple[list[str], list[str]]:
    digests = Digests(folder / "state" / "digests.json")
    sources = {f"s{number}": stranger(reader) for number, reader in enumerate(readers)}
    found, untold = source_versions(sources, digests, earlier or {})
    digests.write()
    return list(found.values()), untold


def test_another_content_of_the_same_size_and_time_is_another_version(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("id,1")
    reader = {"kind": "csv", "path": str(file)}
    first = versions(tmp_path, reader)
    assert versions(tmp_path, reader) == first
    status = file.stat()
    file.write_text("id,2")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert versions(tmp_path, reader) != first
    file.write_text("id,1")
    assert versions(tmp_path, reader) == first


@pytest.mark.parametrize("path", ["", "*.csv"])
def test_a_file_that_comes_or_goes_changes_the_version_of_its_folder(tmp_path: Path, path: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("id,1")
    reader = {"kind": "csv", "path": f"{tmp_path}/in/{path}"}
    first = versions(tmp_path, reader)
    (tmp_path / "in" / "README").write_text("no table")
    assert versions(tmp_path, reader) == first
    (tmp_path / "in" / "b.csv").write_text("id,2")
    assert versions(tmp_path, reader) != first
    (tmp_path / "in" / "b.csv").unlink()
    assert versions(tmp_path, reader) == first


def test_what_a_database_has_not_yet_moved_into_its_file_counts(tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    reader = {"kind": "sqlite", "path": str(file), "table": "t"}
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("CREATE TABLE t (id)")
        connection.commit()
        first = versions(tmp_path, reader)
        connection.execute("INSERT INTO t VALUES (1)")
        connection.commit()
        assert versions(tmp_path, reader) != first


def test_a_query_cannot_tell_its_version_and_is_named(tmp_path: Path) -> None:
    query = {"kind": "sql", "query": "SELECT 1"}
    nowhere = {"kind": "csv", "path": "http://127.0.0.1:9/a.csv"}
    assert versions(tmp_path, query, nowhere, earlier={"s1": "etag 7"}) == (["cannot be told", "etag 7"], ["s0", "s1"])


def test_a_file_that_is_gone_is_named_with_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"ingest.s0: there is no file gone.csv in /"):
        versions(tmp_path, {"kind": "csv", "path": "gone.csv"})
