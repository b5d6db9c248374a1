"""Read the keys of entities from a file: one key a line, or the key's column of a CSV or Parquet file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from core.contracts import LONGEST_KEY
from core.errors import SourceError

if TYPE_CHECKING:
    from serving.wire.values import EntityKey

#: The name of a file that means the standard input.
STANDARD_INPUT = Path("-")
_MOST_SHOWN = 60


def read_keys(path: Path, key: EntityKey) -> pa.Array:
    """Return the distinct keys of a file in their order; `-` is the standard input, one key a line.

    Raises
    ------
    SourceError
        If the file cannot be read, lacks the key's column, is empty, or has a value that is not a key.

    """
    try:
        column = _column(path, key.name)
    except (OSError, pa.ArrowInvalid, pa.ArrowKeyError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: the keys cannot be read ({error}); correct the file or its name") from None
    if not len(column):
        raise SourceError(f"{path}: found no entity; expected at least one {key.name}")
    return pc.unique(_keys(path, column, key))


def _column(path: Path, name: str) -> pa.Array:
    if path.suffix == ".parquet":
        table = pq.read_table(path)
    elif path.suffix == ".csv":
        as_text = pa_csv.ConvertOptions(column_types={name: pa.string()}, strings_can_be_null=True)
        table = pa_csv.read_csv(path, convert_options=as_text)
    else:
        content = sys.stdin.buffer.read() if path == STANDARD_INPUT else path.read_bytes()
        return pa.array([line.strip() for line in content.decode().split("\n") if line.strip()], pa.string())
    if name not in table.column_names:
        raise SourceError(f"{path}: found the columns {', '.join(table.column_names)}; expected {name}")
    return table.column(name).combine_chunks()


def _keys(path: Path, column: pa.Array, key: EntityKey) -> pa.Array:
    wanted = pa.int64() if key.dtype == "int64" else pa.string()
    try:
        keys = column.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise _wrong(path, _first_wrong(column, wanted), column, key) from None
    unfit = pc.is_null(keys)
    if key.dtype == "string":
        outside = pc.or_(pc.greater(pc.utf8_length(keys), LONGEST_KEY), pc.equal(pc.utf8_length(keys), 0))
        unfit = pc.or_(unfit, pc.or_(outside, pc.match_substring(keys, "\0")).fill_null(False))
    if pc.any(unfit).as_py():
        raise _wrong(path, pc.index(unfit, pa.scalar(True)).as_py(), column, key)
    return keys


def _first_wrong(column: pa.Array, wanted: pa.DataType) -> int:
    """Return the index of the first value that cannot be cast, found by halves."""
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            column.slice(low, middle - low).cast(wanted)
            low = middle
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            high = middle
    return low


def _wrong(path: Path, index: int, column: pa.Array, key: EntityKey) -> SourceError:
    shown = repr(column[index].as_py())[:_MOST_SHOWN]
    expected = "an integer of 64 bits" if key.dtype == "int64" else f"a text of 1 to {LONGEST_KEY} characters"
    return SourceError(
        f"{path}: found {shown} as entity {index + 1}; expected {expected}, as {key.name} is {key.dtype}"
    )
