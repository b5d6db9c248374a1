"""Convert Feast's values (protobuf messages) to and from the values of an online table's columns."""

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

#: For a field of Feast's message, other fields in which clients send its values: numbers of another width, and older forms.
_COMPATIBLE_FIELDS = {
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
    """The conversion of one of Feast's value types.

    Attributes
    ----------
    dtype : the dtype of the column.
    field : the field of Feast's message `Value` with the value; empty if the column stores the whole message.
    to_column, from_column : the conversions from the field to the driver's value and back.

    """

    dtype: str
    field: str
    to_column: ToColumn
    from_column: FromColumn

    def store(self, message: Value) -> object:
        """Return the driver's value for a message; None if the message is empty.

        Raises
        ------
        SourceError
            If the value is of another type, or if PostgreSQL cannot store it.

        """
        field = message.WhichOneof("val")
        if field is None or field == "null_val":
            return None
        if not self.field:
            return message.SerializeToString(deterministic=True)
        if field != self.field and field not in _COMPATIBLE_FIELDS.get(self.field, ()):
            raise SourceError(f"found a value of the field {field!r} of Feast's message; expected {self.field!r}")
        return self.to_column(getattr(message, field))

    def load(self, stored: Any) -> Value:
        """Return the message for the driver's value; an empty message for None."""
        if stored is None:
            return Value()
        if not self.field:
            message: Value = Value.FromString(bytes(stored))
            return message
        return Value(**{self.field: self.from_column(stored)})


def _identity(value: Any) -> Any:
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
        # Feast writes an empty string for a missing element of a list.
        return UUID(text) if text else None
    except ValueError:
        raise SourceError(f"found {text[:60]!r}; expected a UUID") from None


def _decimal(text: str) -> Decimal | None:
    try:
        return Decimal(text) if text else None
    except ArithmeticError:
        raise SourceError(f"found {text[:60]!r}; expected a decimal number") from None


def _text_of(value: UUID | Decimal | None) -> str:
    return "" if value is None else str(value)


#: By the name of a value type: the dtype of its column, and the conversions of one value (or list element) to it and back.
_SCALARS: dict[str, tuple[str, ToColumn, FromColumn]] = {
    "INT32": ("int32", _identity, _identity),
    "INT64": ("int64", _identity, _identity),
    "FLOAT": ("float32", _identity, _identity),
    "DOUBLE": ("float64", _identity, _identity),
    "BOOL": ("bool", _identity, _identity),
    "STRING": ("string", _text, _identity),
    "BYTES": ("bytes", _identity, bytes),
    "UNIX_TIMESTAMP": ("timestamp", _instant, _seconds),
    "UUID": ("uuid", _uuid, _text_of),
    "TIME_UUID": ("uuid", _uuid, _text_of),
    "DECIMAL": ("decimal", _decimal, _text_of),
    "JSON": ("string", _text, _identity),
}
#: Types without an exact counterpart in SQL, stored as Feast's serialized message.
_MESSAGES = ("MAP", "MAP_LIST", "STRUCT", "STRUCT_LIST", "SCALAR_MAP", "VALUE_LIST", "VALUE_SET", "ZONED_TIMESTAMP")
_SAME_AS_BYTES = ("PDF_BYTES", "IMAGE_BYTES")
_MESSAGE_CODEC = Codec("message", "", _identity, _identity)


def _elements(store: ToColumn) -> ToColumn:
    return lambda repeated: [store(value) for value in repeated.val]


def _repeated(load: FromColumn) -> FromColumn:
    return lambda values: {"val": [load(value) for value in values]}


def _codecs() -> dict[ValueType, Codec]:
    codecs = {ValueType[name]: _MESSAGE_CODEC for name in _MESSAGES}
    for name, (dtype, store, load) in _SCALARS.items():
        codecs[ValueType[name]] = Codec(dtype, f"{name.lower()}_val", store, load)
        for kind in ("LIST", "SET"):
            if f"{name}_{kind}" in ValueType.__members__:
                field = f"{name.lower()}_{kind.lower()}_val"
                codecs[ValueType[f"{name}_{kind}"]] = Codec(f"{dtype}[]", field, _elements(store), _repeated(load))
    return codecs | {ValueType[name]: codecs[ValueType.BYTES] for name in _SAME_AS_BYTES}


CODECS = _codecs()
#: The dtypes of keys: those that PostgreSQL can compare and index.
_KEY_DTYPES = {"int32", "int64", "float32", "float64", "bool", "string", "bytes", "timestamp", "uuid", "decimal"}


def codec(field: Field, view: str) -> Codec:
    """Return the codec of a feature.

    Raises
    ------
    SourceError
        If the feature's type does not define its values.

    """
    kind = field.dtype.to_value_type()
    if kind not in CODECS:
        raise SourceError(
            f"the feature {field.name!r} of the view {view!r} has the type {field.dtype}, which the online store cannot "
            "store; declare a type that defines its values, such as Float64 or String"
        )
    return CODECS[kind]


def key_codec(field: Field, view: str) -> Codec:
    """Return the codec of a join key.

    Raises
    ------
    SourceError
        If the type cannot be a key.

    """
    found = CODECS.get(field.dtype.to_value_type())
    if found is None or found.dtype not in _KEY_DTYPES:
        raise SourceError(
            f"the join key {field.name!r} of the view {view!r} has the type {field.dtype}, which cannot be a key online; "
            "expected a number, a text, bytes, a time or a UUID"
        )
    return found
