"""The files of a folder that are parts of one table, because their columns are the same."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_START = 1 << 16
_PACKED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}


def kind_of_parts(files: Sequence[Path], kind_of: Callable[[Path], str | None]) -> str | None:
    """Return the kind of the files of a folder if they are parts of one table; None if they are several tables."""
    kinds = {kind for file in files if (kind := kind_of(file))}
    able = [file for file in files if file.is_file() and kind_of(file)]
    if len(able) < 2 or len(kinds) != 1 or any(file.is_dir() for file in files):  # noqa: PLR2004 - one file is no part
        return None
    (kind,) = kinds
    if kind not in {"csv", "parquet", "jsonl"}:
        return None
    headers = {_header(kind, file) for file in able}
    return kind if len(headers) == 1 and None not in headers else None


def _header(kind: str, file: Path) -> tuple[str, ...] | None:
    """Return the names of a file's columns, or the first line of a text; None if it cannot be read."""
    try:
        if kind == "parquet":
            return tuple(pq.read_schema(file).names)
        first = _first_line(file)
        return tuple(json.loads(first)) if kind == "jsonl" else (first.decode("latin-1"),)
    except (OSError, ValueError, pa.ArrowException):
        return None


def _first_line(file: Path) -> bytes:
    with pa.input_stream(str(file), compression=_PACKED.get(file.suffix.lower())) as content:
        start: bytes = content.read(_START)
    return start.splitlines()[0] if start else b""
