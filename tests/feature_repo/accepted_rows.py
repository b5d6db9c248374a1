"""Accepted rows as `validate` writes them: in buckets by a hash of their entity's key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_repo.files.datasets import BUCKETS, bucket_file, bucket_of, write_table
from feature_repo.files.duck import open_duckdb

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa


def write_accepted(folder: Path, source: str, key: str, rows: pa.Table) -> None:
    """Write the accepted rows of a source below `folder`, every bucket, also those without a row."""
    with open_duckdb() as connection:
        connection.register("accepted_rows", rows)
        for bucket in range(BUCKETS):
            query = f"FROM accepted_rows WHERE {bucket_of(key)} = {bucket}"
            write_table(connection, query, bucket_file(folder, source, bucket))
