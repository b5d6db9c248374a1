"""The offline store behind Feast's own client: values of every type."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import feast
import pyarrow as pa
from feast import types as feast_types

from tests.feature_repo.stores.taxi_world import DRIVER, NOON, TIMES, Taxi, drivers, instants, source, view

VALUES: dict[str, tuple[Any, pa.DataType, list[Any]]] = {
    "whole32": (feast_types.Int32, pa.int32(), [1, None, -(2**31)]),
    "whole64": (feast_types.Int64, pa.int64(), [2**63 - 1, None, 0]),
    "real32": (feast_types.Float32, pa.float32(), [0.5, None, float("inf")]),
    "real64": (feast_types.Float64, pa.float64(), [0.1, None, -0.0]),
    "text": (feast_types.String, pa.string(), ["ä", None, ""]),
    "raw": (feast_types.Bytes, pa.binary(), [b"\0\xff", None, b""]),
    "flag": (feast_types.Bool, pa.bool_(), [True, None, False]),
    "moment": (feast_types.UnixTimestamp, TIMES, [NOON, None, datetime(1969, 12, 31, 23, 59, 59, 999999, UTC)]),
    "decimal": (feast_types.Decimal, pa.string(), [str(Decimal("1.10")), None, "-3E+7"]),
    "uuid": (feast_types.Uuid, pa.string(), [str(UUID(int=7)), None, str(UUID(int=0))]),
    "json": (feast_types.Json, pa.large_string(), [json.dumps({"a": [1]}), None, "null"]),
    "map": (feast_types.Map, pa.map_(pa.string(), pa.string()), [[("a", "b")], None, []]),
    "struct": (
        feast_types.Struct({"a": feast_types.Int64}),
        pa.struct([("a", pa.int64())]),
        [{"a": 1}, None, {"a": None}],
    ),
    "whole_list": (feast_types.Array(feast_types.Int64), pa.list_(pa.int64()), [[1, 2], None, []]),
    "real_list": (feast_types.Array(feast_types.Float32), pa.list_(pa.float32()), [[0.5], None, [None]]),
    "text_list": (feast_types.Array(feast_types.String), pa.list_(pa.string()), [["a", ""], None, []]),
    "raw_list": (feast_types.Array(feast_types.Bytes), pa.list_(pa.binary()), [[b""], None, []]),
    "flag_list": (feast_types.Array(feast_types.Bool), pa.list_(pa.bool_()), [[True], None, []]),
    "moment_list": (feast_types.Array(feast_types.UnixTimestamp), pa.list_(TIMES), [[NOON], None, []]),
    "nested_list": (
        feast_types.Array(feast_types.Array(feast_types.Int64)),
        pa.list_(pa.list_(pa.int64())),
        [[[1], []], None, []],
    ),
    "text_set": (feast_types.Set(feast_types.String), pa.list_(pa.string()), [["a"], None, []]),
}


def test_values_of_every_type_come_back_as_they_are_stored(taxi: Taxi) -> None:
    stored = {name: pa.array(values, dtype) for name, (_, dtype, values) in VALUES.items()}
    taxi.write("values.parquet", {"driver_id": [1, 2, 3], "at": instants(NOON, NOON, NOON), **stored})
    schema = [feast.Field(name=name, dtype=dtype) for name, (dtype, _, _) in VALUES.items()]
    taxi.store.apply([DRIVER, view("values", [DRIVER], source("values.parquet"), schema=schema)])
    job = taxi.store.get_historical_features(
        drivers([3, 2, 1, 4], *[NOON] * 4), [f"values:{name}" for name in VALUES], full_feature_names=True
    )
    found = job.to_arrow()
    for name, (_, dtype, values) in VALUES.items():
        column = found.column(f"values__{name}")
        assert column.type == dtype, name
        assert column.to_pylist() == [*reversed(values), None], name
    assert len(job.to_df()) == 4


def test_a_missing_number_and_one_that_is_not_a_number_are_told_apart(taxi: Taxi) -> None:
    taxi.write("values.parquet", {"driver_id": [1, 2], "at": instants(NOON, NOON), "x": pa.array([float("nan"), None])})
    fields = [feast.Field(name="x", dtype=feast_types.Float64)]
    taxi.store.apply([DRIVER, view("values", [DRIVER], source("values.parquet"), schema=fields)])
    found = taxi.store.get_historical_features(drivers([1, 2], NOON, NOON), ["values:x"]).to_arrow().column("x")
    assert found.is_null().to_pylist() == [False, True]
