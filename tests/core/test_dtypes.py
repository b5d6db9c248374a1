"""The one table of dtypes, against the plan that names them and against the systems whose types it names."""

from __future__ import annotations

from typing import get_args

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from psycopg import adapters

from core.dtypes import DTYPES, FLOATS, INTEGERS, NUMERIC, TEXTS
from core.plan.ingest import DType
from core.plan.plan import FeatureDType


def test_every_dtype_of_a_plan_is_in_the_table() -> None:
    assert {*get_args(DType), *get_args(FeatureDType)} <= set(DTYPES)


@pytest.mark.parametrize("name", DTYPES)
def test_each_system_knows_the_type_that_the_table_names(name: str) -> None:
    dtype = DTYPES[name]
    assert isinstance(pa.type_for_alias(dtype.arrow), pa.DataType)
    assert adapters.types.get(dtype.postgres) is not None
    if dtype.duckdb:
        assert duckdb.execute(f"SELECT CAST(NULL AS {dtype.duckdb})").fetchall() == [(None,)]


@pytest.mark.parametrize("name", ["int32", "int64"])
def test_the_bounds_of_an_integer_are_those_of_numpy(name: str) -> None:
    limits, bounds = np.iinfo(name), DTYPES[name].bounds
    assert bounds is not None
    assert (bounds.start, bounds.stop - 1) == (limits.min, limits.max)


@pytest.mark.parametrize("name", ["float32", "float64"])
def test_the_largest_float_is_that_of_numpy(name: str) -> None:
    assert DTYPES[name].largest == float(np.finfo(name).max)


def test_the_groups_of_dtypes() -> None:
    assert {"int32", "int64"} == INTEGERS
    assert {"float32", "float64"} == FLOATS
    assert {"int32", "int64", "float32", "float64", "bool"} == NUMERIC
    assert {"string", "text"} == TEXTS
