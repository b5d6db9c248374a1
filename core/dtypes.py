"""The dtypes of columns and features: what each holds, and its type in Python, DuckDB, PostgreSQL and Arrow."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import LiteralString


@dataclass(frozen=True)
class Dtype:
    """One dtype.

    Attributes
    ----------
    python : the type of its values.
    duckdb, postgres : the name of its type in SQL; empty where it cannot occur.
    arrow : the alias of its Arrow type, as `pyarrow.type_for_alias` takes it; `timestamp` is in microseconds and UTC.
    bounds : the integers that it holds; None for other dtypes.
    largest : the largest finite magnitude of a float; None for other dtypes.
    width : bytes in a row of PostgreSQL, with the padding before the next column; None if it varies.

    """

    python: type
    duckdb: LiteralString
    postgres: LiteralString
    arrow: str
    bounds: range | None = None
    largest: float | None = None
    width: int | None = None


INT32: Final = range(-(2**31), 2**31)
INT64: Final = range(-(2**63), 2**63)
DTYPES: Final[Mapping[str, Dtype]] = {
    "int32": Dtype(int, "INTEGER", "int4", "int32", bounds=INT32, width=8),
    "int64": Dtype(int, "BIGINT", "int8", "int64", bounds=INT64, width=8),
    "float32": Dtype(float, "FLOAT", "float4", "float32", largest=3.4028234663852886e38, width=8),
    "float64": Dtype(float, "DOUBLE", "float8", "float64", largest=sys.float_info.max, width=8),
    "bool": Dtype(bool, "BOOLEAN", "bool", "bool", width=8),
    "string": Dtype(str, "VARCHAR", "text", "large_string"),
    "text": Dtype(str, "VARCHAR", "text", "large_string"),
    "date": Dtype(date, "DATE", "date", "date32"),
    "timestamp": Dtype(datetime, "TIMESTAMPTZ", "timestamptz", "timestamp[us]", width=8),
    # Those of Feast alone: no plan declares them. A `message` has no counterpart in SQL and is kept as Feast's bytes.
    "bytes": Dtype(bytes, "BLOB", "bytea", "large_binary"),
    "uuid": Dtype(UUID, "UUID", "uuid", "large_string", width=16),
    "decimal": Dtype(Decimal, "", "numeric", "large_string"),
    "message": Dtype(bytes, "", "bytea", "large_binary"),
}
INTEGERS: Final = frozenset(name for name, dtype in DTYPES.items() if dtype.bounds)
FLOATS: Final = frozenset(name for name, dtype in DTYPES.items() if dtype.largest)
#: The dtypes that a model takes as a number.
NUMERIC: Final = INTEGERS | FLOATS | {"bool"}
#: The dtypes that hold characters.
TEXTS: Final = frozenset({"string", "text"})
