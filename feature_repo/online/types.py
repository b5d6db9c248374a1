"""The types of the online tables' columns: each dtype with its PostgreSQL type.

A dtype with `[]` is a list. `message` is a value without an exact SQL type, stored as the bytes of Feast's protobuf message.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, LiteralString
from uuid import UUID

from psycopg import adapters, sql
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import Format

from core.dtypes import DTYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LIST = "[]"
#: The bytes that a value of varying length may take in its row even when PostgreSQL moves long values out of it.
_BYTES_KEPT_IN_A_ROW = 24
#: The most bytes of a name in PostgreSQL.
LONGEST_NAME = 63
_HASH_LENGTH = 12
#: Column names that every online table uses, and PostgreSQL's system columns.
_RESERVED_NAMES = {"event_timestamp", "created_timestamp", "tableoid", "xmin", "xmax", "cmin", "cmax", "ctid"}


def postgres_type(dtype: str) -> sql.SQL:
    """Return the PostgreSQL type of `dtype`."""
    return sql.SQL(_type_name(dtype))


def _type_name(dtype: str) -> LiteralString:
    scalar = DTYPES[dtype.removesuffix(LIST)].postgres
    return f"{scalar}[]" if dtype.endswith(LIST) else scalar


def most_bytes(dtype: str) -> int:
    """Return the most bytes of a page that a value of `dtype` needs; PostgreSQL moves long values out of the row."""
    return (DTYPES[dtype].width if dtype in DTYPES else None) or _BYTES_KEPT_IN_A_ROW


def type_oid(dtype: str) -> int:
    """Return the OID of the PostgreSQL type of `dtype`."""
    return adapters.types.get_oid(_type_name(dtype))


def dump_values(values: Sequence[object], dtype: str) -> list[bytes | bytearray | memoryview | None]:
    """Return Python values in PostgreSQL's binary format of `dtype`; None stays None.

    UUIDs and decimals may be given as text.

    Raises
    ------
    ValueError
        If a text is not a UUID or a decimal number.

    """
    parse = _PARSERS.get(dtype.removesuffix(LIST))
    if parse:
        values = [_parsed(value, parse) for value in values]
    transformer = Transformer()
    transformer.set_dumper_types([type_oid(dtype)], Format.BINARY)
    return [transformer.dump_sequence([value], [PyFormat.BINARY])[0] for value in values]


def _parsed(value: object, parse: Callable[[str], object]) -> object:
    if isinstance(value, list):
        return [_parsed(item, parse) for item in value]
    return parse(value) if isinstance(value, str) else value


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a decimal number") from None


_PARSERS: dict[str, Callable[[str], object]] = {"uuid": UUID, "decimal": _decimal}


def short_name(name: str, longest: int = LONGEST_NAME) -> str:
    """Return `name` if it has at most `longest` bytes, else a prefix of it and a hash of the whole name."""
    if len(name.encode()) <= longest:
        return name
    kept = name.encode()[: longest - _HASH_LENGTH - 1].decode(errors="ignore")
    return f"{kept}_{name_hash(name)}"


def name_hash(text: str) -> str:
    """Return the first twelve hexadecimal digits of the sha256 of `text`."""
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_LENGTH]


def column_name(name: str) -> str:
    """Return the column name of the key or feature `name`: `name` itself unless it is reserved or too long."""
    return f"{name}_{name_hash(name)}" if name in _RESERVED_NAMES else short_name(name)
