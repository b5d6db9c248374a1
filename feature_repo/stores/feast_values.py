"""Feast's value types in the columns of an online table, and its messages to and from what the driver takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import NULL_TIMESTAMP_INT_VALUE
from feast.value_type import ValueType

from core.errors import SourceError

if TYPE_CHECKING:
    from feast import Field

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)

#: Fields in which clients send values of another field's type: wider or narrower numbers, and Feast's own older forms.
_KIN = {
    "int32_val": ("int64_val",),
    "int64_val": ("int32_val",),
    "float_val": ("double_val",),
    "double_val": ("float_val", "int32_val", "int64_val"),
    "unix_timestamp_val": ("int64_val",),
    "unix_timestamp_list_val": ("int64_list_val",),
    "uuid_val": ("string_val",),
    "time_uuid_val": ("string_val",),
}

ToColumn = Callable[[Any], object]
FromColumn = Callable[[Any], Any]


@dataclass(frozen=True)
class Codec:
    """How a value type of Feast is stored.

    Attributes
    ----------
    dtype : of the column.
    field : the field of Feast's message `Value` that holds it; empty where the column holds the whole message.

    """

    dtype: str
    field: str
    to_column: ToColumn
    from_column: FromColumn

    def store(self, message: Value) -> object:
        """Turn a message into what the driver takes; None where it holds no value.

        Raises
        ------
        SourceError
            If it holds a value of another type, or one that PostgreSQL cannot hold.

        """
        found = message.WhichOneof("val")
        if found is None or found == "null_val":
            return None
        if not self.field:
            return message.SerializeToString(deterministic=True)
        if found != self.field and found not in _KIN.get(self.field, ()):
            raise SourceError(f"found a value of the field {found!r} of Feast's message; expected {self.field!r}")
        return self.to_column(getattr(message, found))

    def load(self, stored: Any) -> Value:
        """Turn what the driver gives into a message, which is empty for None."""
        if stored is None:
            return Value()
        if not self.field:
            whole: Value = Value.FromString(bytes(stored))
            return whole
        return Value(**{self.field: self.from_column(stored)})


def _same(value: Any) -> Any:
    return value


def _text(value: str) -> str:
    if "\0" in value:
        raise SourceError(f"found a text with a NUL character, which PostgreSQL cannot hold: {value[:40]!r}")
    return value


def _instant(seconds: int) -> datetime | None:
    if seconds == NULL_TIMESTAMP_INT_VALUE:
        return None
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        raise SourceError(
            f"found the time {seconds} seconds after 1970; expected one between the years 1 and 9999"
        ) from None


def _seconds(time: datetime | None) -> int:
    return NULL_TIMESTAMP_INT_VALUE if time is None else (time - _EPOCH) // _SECOND


def _uuid(text: str) -> UUID | None:
    try:
        # Feast writes an empty text for a missing element of a list.
        return UUID(text) if text else None
    except ValueError:
        raise SourceError(f"found {text[:60]!r}; expected a UUID") from None


def _decimal(text: str) -> Decimal | None:
    try:
        return Decimal(text) if text else None
    except ArithmeticError:
        raise SourceError(f"found {text[:60]!r}; expected a decimal number") from None


def _written(value: UUID | Decimal | None) -> str:
    return "" if value is None else str(value)


#: By the name of a value type: the dtype of its column, and how one value (or one element of a list) gets there and back.
_SCALARS: dict[str, tuple[str, ToColumn, FromColumn]] = {
    "INT32": ("int32", _same, _same),
    "INT64": ("int64", _same, _same),
    "FLOAT": ("float32", _same, _same),
    "DOUBLE": ("float64", _same, _same),
    "BOOL": ("bool", _same, _same),
    "STRING": ("string", _text, _same),
    "BYTES": ("bytes", _same, bytes),
    "UNIX_TIMESTAMP": ("timestamp", _instant, _seconds),
    "UUID": ("uuid", _uuid, _written),
    "TIME_UUID": ("uuid", _uuid, _written),
    "DECIMAL": ("decimal", _decimal, _written),
    "JSON": ("string", _text, _same),
}
#: What has no exact counterpart in SQL is stored as Feast's own message.
_MESSAGES = ("MAP", "MAP_LIST", "STRUCT", "STRUCT_LIST", "SCALAR_MAP", "VALUE_LIST", "VALUE_SET", "ZONED_TIMESTAMP")
_SAME_AS_BYTES = ("PDF_BYTES", "IMAGE_BYTES")
_WHOLE = Codec("message", "", _same, _same)


def _elements(store: ToColumn) -> ToColumn:
    return lambda repeated: [store(value) for value in repeated.val]


def _repeated(load: FromColumn) -> FromColumn:
    return lambda values: {"val": [load(value) for value in values]}


def _codecs() -> dict[ValueType, Codec]:
    found = {ValueType[name]: _WHOLE for name in _MESSAGES}
    for name, (dtype, store, load) in _SCALARS.items():
        found[ValueType[name]] = Codec(dtype, f"{name.lower()}_val", store, load)
        for kind in ("LIST", "SET"):
            if f"{name}_{kind}" in ValueType.__members__:
                field = f"{name.lower()}_{kind.lower()}_val"
                found[ValueType[f"{name}_{kind}"]] = Codec(f"{dtype}[]", field, _elements(store), _repeated(load))
    return found | {ValueType[name]: found[ValueType.BYTES] for name in _SAME_AS_BYTES}


CODECS = _codecs()
#: The dtypes that may be a key: what PostgreSQL can compare and index.
_KEY_DTYPES = {"int32", "int64", "float32", "float64", "bool", "string", "bytes", "timestamp", "uuid", "decimal"}


def codec(field: Field, view: str) -> Codec:
    """Say how the values of a feature are stored.

    Raises
    ------
    SourceError
        If Feast's type of it says nothing about its values.

    """
    kind = field.dtype.to_value_type()
    if kind not in CODECS:
        raise SourceError(
            f"the feature {field.name!r} of the view {view!r} has the type {field.dtype}, which the online store cannot "
            "hold; give it one that says what its values are, such as Float64 or String"
        )
    return CODECS[kind]


def key_codec(field: Field, view: str) -> Codec:
    """Say how the values of a join key are stored.

    Raises
    ------
    SourceError
        If they cannot be a key.

    """
    found = CODECS.get(field.dtype.to_value_type())
    if found is None or found.dtype not in _KEY_DTYPES:
        raise SourceError(
            f"the join key {field.name!r} of the view {view!r} has the type {field.dtype}, which cannot be a key online; "
            "expected a number, a text, bytes, a time or a UUID"
        )
    return found
