"""Stage `ingest`: bring every source of the plan into parquet, unaltered but for the names of its columns."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from core.entry import run
from core.errors import SourceError
from core.files import whole_folder
from core.plan_file import read_plan
from core.settings import read_settings
from feature_repo.datasets import raw_file, write_table
from feature_repo.duck import open_duckdb
from feature_repo.readers import read_source

if TYPE_CHECKING:
    from core.plan import Source


def ingest(name: str, source: Source, folder: Path, downloads: Path) -> int:
    """Write the rows of `source`, numbered in their order from 1, to its file in `folder`; return how many there are."""
    with open_duckdb() as connection:
        query = read_source(connection, name, source, downloads)
        try:
            numbered = f"SELECT row_number() OVER () AS source_row, * FROM ({query})"
            rows = write_table(connection, numbered, raw_file(folder, name))
        except duckdb.Error as error:
            raise SourceError(f"ingest.{name}: the source is corrupt: {' '.join(str(error).split())}") from None
    if rows == 0:
        raise SourceError(f"ingest.{name}: the source has no row; expected at least one below the header")
    return rows


def main() -> None:
    """Run the stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--raw", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    settings = read_settings()
    plan = read_plan(settings.plan)
    with whole_folder(arguments.raw) as fresh:
        for name, source in plan.ingest.items():
            rows = ingest(name, source, fresh, settings.state / "downloads")
            print(f"ingest: {name}: {rows:,} rows")


if __name__ == "__main__":
    run(main)
