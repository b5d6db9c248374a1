"""Every type of value that Feast has comes back from the online store as it went in, null among them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import feast
import pytest
from feast.field import Field
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Map, MapKey, ScalarMap, ScalarMapEntry, Value, ZonedTimestamp
from feast.types import from_value_type
from feast.value_type import ValueType

from core.errors import SourceError
from feature_repo.stores.feast_values import CODECS
from tests.feature_repo.stores.feast_shop import CUSTOMER, CUSTOMER_ID, opened_store, source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def message(field: str, content: Any) -> Value:
    return Value(**{field: content})


NOW = datetime(2026, 1, 1, tzinfo=UTC)
NO_TIME = -(2**63)
UUIDS = ["6ba7b810-9dad-11d1-80b4-00c04fd430c8", "00000000-0000-0000-0000-000000000000"]
MAP = {"a": Value(int64_val=1), "b": Value(bytes_val=b"\0"), "c": Value()}
ENTRY = ScalarMapEntry(key=MapKey(int64_key=5), value=Value(string_val="five"))
#: Values that are hard to keep, by the name of their type; lists and sets are made of them too.
SCALARS: dict[str, list[Any]] = {
    "INT32": [0, -(2**31), 2**31 - 1],
    "INT64": [0, -(2**63), 2**63 - 1],
    "FLOAT": [0.0, -0.0, 0.10000000149011612, float("inf"), 1.401298464324817e-45],
    "DOUBLE": [0.1, -0.0, float("-inf"), 5e-324, 1.7976931348623157e308],
    "BOOL": [True, False],
    "STRING": ["", "é\n'\"\\{},NULL", "😀"],
    "BYTES": [b"", b"\0\xff"],
    "UNIX_TIMESTAMP": [0, -1, 253402300799],
    "UUID": UUIDS,
    "TIME_UUID": UUIDS,
    "DECIMAL": ["0", "-1.10", "123456789012345678901234567890.000000000000000000001"],
    "JSON": ["{}", '{"b": [1, null],  "a": NaN}'],
}
WHOLE: dict[str, list[Any]] = {
    "MAP": [Value(map_val=Map(val=MAP)), Value(map_val=Map())],
    "MAP_LIST": [message("map_list_val", {"val": [Map(val=MAP), Map()]})],
    "STRUCT": [Value(struct_val=Map(val=MAP))],
    "STRUCT_LIST": [message("struct_list_val", {"val": [Map(val=MAP)]})],
    "SCALAR_MAP": [Value(scalar_map_val=ScalarMap(val=[ENTRY]))],
    "VALUE_LIST": [message("list_val", {"val": [message("int64_list_val", {"val": [1]}), Value()]})],
    "VALUE_SET": [message("set_val", {"val": [message("int64_list_val", {"val": [1]})]})],
    "ZONED_TIMESTAMP": [Value(zoned_timestamp_val=ZonedTimestamp(unix_timestamp=5, zone="Asia/Kolkata"))],
    "PDF_BYTES": [Value(bytes_val=b"%PDF")],
    "IMAGE_BYTES": [Value(bytes_val=b"\x89PNG")],
}


def messages(kind: ValueType) -> list[Value]:
    """Give values of `kind`, an empty list or set among them."""
    scalar, _, collection = kind.name.rpartition("_")
    if kind.name in WHOLE:
        return WHOLE[kind.name]
    if collection in {"LIST", "SET"}:
        field = f"{kind.name.lower()}_val"
        missing = {"UNIX_TIMESTAMP": NO_TIME, "UUID": "", "TIME_UUID": "", "DECIMAL": ""}.get(scalar)
        elements = SCALARS[scalar] if missing is None else [*SCALARS[scalar], missing]
        return [message(field, {"val": elements}), message(field, {"val": []})]
    return [message(f"{kind.name.lower()}_val", value) for value in SCALARS[kind.name]]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, module_database_url: str) -> Iterator[feast.FeatureStore]:
    folder: Path = tmp_path_factory.mktemp("values")
    with opened_store(folder, module_database_url) as opened:
        empty = source(folder, "empty", {"customer_id": [0], "event_timestamp": [NOW], "created": [NOW]})
        fields = [Field(name=kind.name, dtype=from_value_type(kind)) for kind in CODECS]
        everything = feast.FeatureView(
            name="everything", entities=[CUSTOMER], schema=[CUSTOMER_ID, *fields], source=empty
        )
        opened.apply([CUSTOMER, everything])
        yield opened


def key(customer: int) -> EntityKey:
    return EntityKey(join_keys=["customer_id"], entity_values=[Value(int64_val=customer)])


def written_and_read(store: feast.FeatureStore, kind: ValueType, values: list[Value]) -> list[Value]:
    everything, provider = store.get_feature_view("everything"), store._get_provider()
    batch = [(key(place), {kind.name: value}, datetime.now(UTC), None) for place, value in enumerate(values)]
    provider.online_write_batch(store.config, everything, batch, None)
    keys = [key(place) for place in range(len(values))]
    found = provider.online_read(store.config, everything, keys, [kind.name])
    return [row[kind.name] for _, row in found]


def test_every_type_of_feast_that_has_values_can_be_stored() -> None:
    assert set(ValueType) - set(CODECS) == {ValueType.UNKNOWN, ValueType.NULL}


@pytest.mark.parametrize("kind", CODECS, ids=lambda kind: kind.name)
def test_a_value_comes_back_as_it_went_in(store: feast.FeatureStore, kind: ValueType) -> None:
    values = [*messages(kind), Value()]
    found = written_and_read(store, kind, values)
    assert [value.SerializeToString(deterministic=True) for value in found] == [
        value.SerializeToString(deterministic=True) for value in values
    ]


def test_a_missing_time_is_null(store: feast.FeatureStore) -> None:
    assert written_and_read(store, ValueType.UNIX_TIMESTAMP, [Value(unix_timestamp_val=NO_TIME)]) == [Value()]


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        (ValueType.INT64, Value(string_val="1"), "string_val"),
        (ValueType.UUID, Value(uuid_val="not one"), "not one"),
        (ValueType.DECIMAL, Value(decimal_val="1,5"), "1,5"),
        (ValueType.STRING, Value(string_val="a\0"), "NUL"),
        (ValueType.UNIX_TIMESTAMP, Value(unix_timestamp_val=2**62), "years 1 and 9999"),
    ],
)
def test_a_value_that_is_not_of_its_type_is_refused(
    store: feast.FeatureStore, kind: ValueType, value: Value, reason: str
) -> None:
    with pytest.raises(SourceError, match=f"'{kind.name}' of the view 'everything'.*{reason}"):
        written_and_read(store, kind, [value])
