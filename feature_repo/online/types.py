"""The types of the online tables' columns: a dtype of ours, and PostgreSQL's word for it.

A dtype with `[]` is a list of it. `message` is what has no exact counterpart in SQL, kept as the bytes that Feast gives it.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, LiteralString
from uuid import UUID

from psycopg import adapters, sql
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import Format

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SCALARS: dict[str, LiteralString] = {
    "int32": "int4",
    "int64": "int8",
    "float32": "float4",
    "float64": "float8",
    "string": "text",
    "text": "text",
    "bool": "bool",
    "timestamp": "timestamptz",
    "bytes": "bytea",
    "uuid": "uuid",
    "decimal": "numeric",
    "message": "bytea",
}
LIST = "[]"
#: The bytes of what is of fixed width, with those that may be left out before the next column.
_FIXED_BYTES = {"int32": 8, "int64": 8, "float32": 8, "float64": 8, "bool": 8, "timestamp": 8, "uuid": 16}
#: Of a value of varying length, what is no longer than this stays in its row however full that is.
_BYTES_KEPT_IN_A_ROW = 24
#: The bytes of a name that PostgreSQL keeps.
LONGEST_NAME = 63
_HASH_LENGTH = 12
#: Names that every online table has for itself, or every table in PostgreSQL.
_TAKEN = {"event_timestamp", "created_timestamp", "tableoid", "xmin", "xmax", "cmin", "cmax", "ctid"}


def postgres_type(dtype: str) -> sql.SQL:
    """Give PostgreSQL's word for `dtype`."""
    return sql.SQL(_type_name(dtype))


def _type_name(dtype: str) -> LiteralString:
    scalar = _SCALARS[dtype.removesuffix(LIST)]
    return f"{scalar}[]" if dtype.endswith(LIST) else scalar


def most_bytes(dtype: str) -> int:
    """Say how many bytes of a row's page a value of `dtype` takes at most: PostgreSQL can keep a long one elsewhere."""
    return _FIXED_BYTES.get(dtype, _BYTES_KEPT_IN_A_ROW)


def type_oid(dtype: str) -> int:
    """Give the number of the type in PostgreSQL."""
    return adapters.types.get_oid(_type_name(dtype))


def dump_values(values: Sequence[object], dtype: str) -> list[bytes | bytearray | memoryview | None]:
    """Encode Python values as PostgreSQL's binary form of `dtype`; None stays None, and text is read where it must be.

    Raises
    ------
    ValueError
        If a text is not a UUID or a decimal number.

    """
    read = _READ.get(dtype.removesuffix(LIST))
    if read:
        values = [_read(value, read) for value in values]
    transformer = Transformer()
    transformer.set_dumper_types([type_oid(dtype)], Format.BINARY)
    return [transformer.dump_sequence([value], [PyFormat.BINARY])[0] for value in values]


def _read(value: object, read: Callable[[str], object]) -> object:
    if isinstance(value, list):
        return [_read(item, read) for item in value]
    return read(value) if isinstance(value, str) else value


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a decimal number") from None


_READ: dict[str, Callable[[str], object]] = {"uuid": UUID, "decimal": _decimal}


def short_name(name: str, longest: int = LONGEST_NAME) -> str:
    """Give `name` itself if it has at most `longest` bytes, else its beginning and a hash of the whole."""
    if len(name.encode()) <= longest:
        return name
    kept = name.encode()[: longest - _HASH_LENGTH - 1].decode(errors="ignore")
    return f"{kept}_{name_hash(name)}"


def name_hash(text: str) -> str:
    """Give twelve hexadecimal digits that stand for `text`."""
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_LENGTH]


def column_name(name: str) -> str:
    """Name the column that holds the key or feature `name`: almost always `name` itself."""
    return f"{name}_{name_hash(name)}" if name in _TAKEN else short_name(name)
