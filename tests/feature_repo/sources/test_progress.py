"""A long read shows how far it is, a short one nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from feature_repo.files.duck import open_duckdb
from feature_repo.sources.progress import shown_progress

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_long_read_shows_what_it_copied_and_how_much_of_it_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (tmp_path / "copy").open("wb") as file:
        file.truncate(1_200_000_000)
    with open_duckdb(threads=1) as connection, shown_progress("sales", connection, tmp_path, seconds=0.05):
        time.sleep(0.12)
        connection.execute("SELECT sum(hash(a) % 7) FROM range(20_000_000) AS rows(a)").fetchall()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "ingest: sales: 0 s, 1.2 GB copied"
    assert lines[-1].endswith(" % read")


def test_a_short_read_shows_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_duckdb() as connection, shown_progress("sales", connection, tmp_path):
        connection.execute("SELECT 1")
    assert capsys.readouterr().err == ""
