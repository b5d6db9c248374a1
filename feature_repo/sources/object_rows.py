"""Rows of Python values, from databases and workbooks: written as text, which the stage `validate` types row by row."""

from __future__ import annotations

import json
from datetime import date, datetime, time
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import SourceError
from feature_repo.sources.files import listed_files
from feature_repo.sources.parts import Part, by_position, position

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_BATCH = 50_000


def object_part(header: Sequence[str], rows: Iterable[Sequence[object]], what: str, scratch: Path) -> Part:
    """Write rows to a file in `scratch`, each value as text; return them as a part, named `what` in messages."""
    scratch.mkdir(parents=True, exist_ok=True)
    file, left = scratch / f"rows-{len(list(scratch.glob('rows-*')))}.parquet", iter(rows)
    schema = pa.schema([(position(number), pa.string()) for number in range(len(header))])
    with pq.ParquetWriter(file, schema, compression="lz4") as writer:
        while batch := list(islice(left, _BATCH)):
            columns = [
                pa.array([_text(row[number], name, what) for row in batch], pa.string())
                for number, name in enumerate(header)
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema))
    names = by_position(header)
    return Part(f"read_parquet({listed_files([file])})", names.columns, what, doubled=names.doubled)


def _text(value: object, column: str, what: str) -> str | None:
    """Return a value as text in the same form for all readers: a number with all digits, a time in ISO 8601.

    Raises
    ------
    SourceError
        If bytes are not UTF-8.

    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, (bytes, memoryview)):
        return _decoded(bytes(value), column, what)
    return json.dumps(value, default=str) if isinstance(value, (list, tuple, dict)) else str(value)


def _decoded(value: bytes, column: str, what: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise SourceError(
            f"the column {column!r} of {what} holds bytes that are not UTF-8 text; convert it in a query, or leave it out"
        ) from None
