"""Encode Arrow columns in PostgreSQL's binary COPY format, column by column, without a Python object for each row.

The format ("COPY", File Formats, Binary Format, in PostgreSQL's manual): a signature; for every row the number of its
fields as int16, then each field as its length in bytes (int32, -1 for NULL) and its bytes in network order; at the end -1.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.errors import SourceError
from feature_repo.online.types import dump_values, type_oid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    Bytes: TypeAlias = npt.NDArray[np.uint8]
    Offsets: TypeAlias = npt.NDArray[np.int64]

HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
TRAILER = struct.pack(">h", -1)
#: Rows of one chunk; their bytes fit into a processor's cache.
_CHUNK_ROWS = 16_384
#: PostgreSQL counts microseconds from 2000-01-01, Arrow from 1970-01-01.
EPOCH_SHIFT = 946_684_800_000_000
_LENGTH = 4

#: dtypes of a fixed width: the Arrow type to cast to, and the type of the bytes in network order.
_FIXED = {
    "int32": (pa.int32(), ">i4"),
    "int64": (pa.int64(), ">i8"),
    "float32": (pa.float32(), ">f4"),
    "float64": (pa.float64(), ">f8"),
    "bool": (pa.uint8(), "u1"),
    "timestamp": (pa.timestamp("us", tz="UTC"), ">i8"),
}
_BYTES = {"string": pa.large_string(), "text": pa.large_string(), "bytes": pa.large_binary()}


@dataclass(frozen=True)
class _Fields:
    """The fields of one column.

    Attributes
    ----------
    valid : whether each row has a value.
    lengths : the bytes of each row's value; 0 for NULL.
    content : the bytes of the valid values, concatenated.

    """

    valid: npt.NDArray[np.bool_]
    lengths: Offsets
    content: Bytes

    @property
    def sizes(self) -> Offsets:
        """The bytes of each row, including the length field."""
        return self.lengths + _LENGTH


@dataclass(frozen=True)
class _Array:
    """The elements of a one-dimensional array in each row, and the header of the array."""

    head: bytes
    elements: tuple[_Fields, ...]

    @property
    def sizes(self) -> Offsets:
        """The bytes of each row, including the length field."""
        sizes: Offsets = np.sum([element.sizes for element in self.elements], axis=0)
        return sizes + len(self.head) + _LENGTH


def encode(
    rows: pa.RecordBatch, dtypes: Sequence[str], arrays: Mapping[str, int] | None = None
) -> Iterator[memoryview]:
    """Yield `rows` as chunks of a binary COPY, without header and trailer.

    Null becomes NULL. NaN, negative zero and the empty string are kept.

    Parameters
    ----------
    dtypes : the dtype of each column.
    arrays : for the first column of each array of the table, the number of its columns, which have one dtype.

    Raises
    ------
    SourceError
        If a column cannot be converted to its dtype, or has times without a zone.

    """
    for start in range(0, rows.num_rows, _CHUNK_ROWS):
        batch = rows.slice(start, _CHUNK_ROWS)
        fields = [
            _fields(name, column, dtype)
            for name, column, dtype in zip(batch.schema.names, batch.columns, dtypes, strict=True)
        ]
        yield _assemble(batch.num_rows, _packed(batch.schema.names, dtypes, fields, arrays or {})).data


def _packed(
    names: Sequence[str], dtypes: Sequence[str], fields: Sequence[_Fields], arrays: Mapping[str, int]
) -> list[_Fields | _Array]:
    columns: list[_Fields | _Array] = []
    index = 0
    while index < len(names):
        count = arrays.get(names[index])
        columns.append(_array(dtypes[index], fields[index : index + count]) if count else fields[index])
        index += count or 1
    return columns


def _array(dtype: str, elements: Sequence[_Fields]) -> _Array:
    """Return an array; its header has the dimensions, 1 (may have NULLs), the element type, the length, the first index."""
    return _Array(struct.pack(">iiIii", 1, 1, type_oid(dtype), len(elements), 1), tuple(elements))


def _fields(name: str, column: pa.Array, dtype: str) -> _Fields:
    try:
        return _encoder(dtype)(column, dtype)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, TypeError, ValueError) as error:
        raise SourceError(f"the column {name!r} is {column.type} and cannot be stored as {dtype}: {error}") from None


def _encoder(dtype: str) -> Callable[[pa.Array, str], _Fields]:
    if dtype in _FIXED:
        return _fixed
    return _variable if dtype in _BYTES else _dumped


def _valid(column: pa.Array) -> npt.NDArray[np.bool_]:
    valid: npt.NDArray[np.bool_] = column.is_valid().to_numpy(zero_copy_only=False)
    return valid


def _fixed(column: pa.Array, dtype: str) -> _Fields:
    arrow, network = _FIXED[dtype]
    if dtype == "timestamp":
        column = _microseconds(column)
    elif column.type != arrow:
        column = column.cast(arrow)
    valid = _valid(column)
    numbers = column.drop_null().to_numpy(zero_copy_only=False).astype(network)
    return _Fields(valid, np.where(valid, numbers.itemsize, 0), np.ascontiguousarray(numbers).view(np.uint8))


def _microseconds(column: pa.Array) -> pa.Array:
    if not pa.types.is_timestamp(column.type) or column.type.tz is None:
        raise ValueError("expected times with a time zone, UTC for example")
    # PostgreSQL's resolution is a microsecond.
    column = column.cast(pa.timestamp("us", tz="UTC"), safe=False)
    return pc.subtract_checked(column.cast(pa.int64()), EPOCH_SHIFT)


def _variable(column: pa.Array, dtype: str) -> _Fields:
    valid = _valid(column)
    present = column.cast(_BYTES[dtype]).drop_null()
    lengths = np.zeros(len(column), np.int64)
    if not len(present):
        return _Fields(valid, lengths, np.empty(0, np.uint8))
    offsets = np.frombuffer(present.buffers()[1], np.int64)[present.offset : present.offset + len(present) + 1]
    lengths[valid] = np.diff(offsets)
    content = present.buffers()[2]
    data = np.frombuffer(content, np.uint8) if content is not None else np.empty(0, np.uint8)
    return _Fields(valid, lengths, data[offsets[0] : offsets[-1]])


def _dumped(column: pa.Array, dtype: str) -> _Fields:
    """Encode values without a flat layout (lists, decimals, UUIDs) one by one with the driver's dumpers."""
    pieces = dump_values(column.to_pylist(), dtype)
    valid = np.array([piece is not None for piece in pieces], np.bool_)
    lengths = np.array([len(piece) if piece is not None else 0 for piece in pieces], np.int64)
    return _Fields(valid, lengths, np.frombuffer(b"".join(piece for piece in pieces if piece is not None), np.uint8))


def _assemble(rows: int, columns: Sequence[_Fields | _Array]) -> Bytes:
    """Return the bytes of all fields, row after row."""
    sizes = np.sum([column.sizes for column in columns], axis=0) + 2
    ends = np.cumsum(sizes)
    out = np.empty(ends[-1] if rows else 0, np.uint8)
    offsets = ends - sizes
    _scatter(out, offsets, np.full(rows, len(columns), ">i2").view(np.uint8))
    offsets = offsets + 2
    for column in columns:
        if isinstance(column, _Array):
            _scatter(out, offsets, (column.sizes - _LENGTH).astype(">i4").view(np.uint8))
            _scatter(out, offsets + _LENGTH, np.tile(np.frombuffer(column.head, np.uint8), rows))
            offsets = offsets + _LENGTH + len(column.head)
        for field in column.elements if isinstance(column, _Array) else (column,):
            offsets = _copy_fields(out, offsets, field)
    return out


def _copy_fields(out: Bytes, offsets: Offsets, field: _Fields) -> Offsets:
    """Copy the fields of a column to `out` at `offsets`; return the offsets after them."""
    _scatter(out, offsets, np.where(field.valid, field.lengths, -1).astype(">i4").view(np.uint8))
    _scatter_ragged(out, offsets[field.valid] + _LENGTH, field.lengths[field.valid], field.content)
    return offsets + field.sizes


def _scatter(out: Bytes, offsets: Offsets, content: Bytes) -> None:
    """Copy pieces of equal length to `out` at `offsets`."""
    if len(offsets):
        width = content.size // len(offsets)
        out[offsets[:, np.newaxis] + np.arange(width)] = content.reshape(len(offsets), width)


def _scatter_ragged(out: Bytes, offsets: Offsets, lengths: Offsets, content: Bytes) -> None:
    """Copy pieces of any lengths to `out` at `offsets`."""
    if not content.size:
        return
    if lengths[0] == lengths[-1] and (lengths == lengths[0]).all():
        _scatter(out, offsets, content)
        return
    begins = np.cumsum(lengths) - lengths
    out[np.repeat(offsets - begins, lengths) + np.arange(content.size)] = content
