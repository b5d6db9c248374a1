"""Parquet files, grouped into parts by their schemas."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb

from core.errors import SourceError
from feature_repo.files.duck import identifier
from feature_repo.sources.faults import without_rows
from feature_repo.sources.files import listed_files, shown
from feature_repo.sources.parts import Part

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def parquet_parts(files: Iterable[Path], connection: duckdb.DuckDBPyConnection) -> list[Part]:
    """Return parquet files as parts; files with the same columns and types are one part.

    Raises
    ------
    SourceError
        If a file is truncated, or is not a parquet file.

    """
    by_schema: dict[tuple[tuple[str, str], ...], list[Path]] = {}
    for file in files:
        by_schema.setdefault(_schema(file, connection), []).append(file)
    return [
        Part(
            f"read_parquet({listed_files(alike)})",
            {name: identifier(name) for name, _ in schema},
            shown(alike[0]),
            dict(schema),
        )
        for schema, alike in by_schema.items()
    ]


def _schema(file: Path, connection: duckdb.DuckDBPyConnection) -> tuple[tuple[str, str], ...]:
    try:
        described = connection.execute(f"DESCRIBE FROM read_parquet({listed_files([file])})").fetchall()
    except duckdb.Error as error:
        raise SourceError(f"the parquet file {shown(file)} cannot be read: {without_rows(error)}") from None
    return tuple((str(row[0]), str(row[1])) for row in described)
