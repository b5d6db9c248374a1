"""Which values a contract takes for each dtype, and what is said of the others."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from core.contracts import ContractFeature
from models.bundles.conformance import Conformance
from tests.models.bundles.test_contract_format import CONTRACT

if TYPE_CHECKING:
    from core.contracts import UnseenLevel, Value

TIME = datetime(2026, 1, 1, tzinfo=UTC)


def fault(dtype: str, value: Value, unseen_level: UnseenLevel = "as_missing") -> str | None:
    features = (ContractFeature("v", "f", dtype, ("a", "b") if dtype == "string" else ()),)
    return Conformance(replace(CONTRACT, features=features, unseen_level=unseen_level)).fault([value])


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("int32", -(2**31)),
        ("int32", 2**31 - 1),
        ("int64", 2**63 - 1),
        ("float32", 3.0e38),
        ("float64", 1.7e308),
        ("float64", 3),
        ("bool", True),
        ("string", "a"),
        ("text", "anything"),
        ("timestamp", TIME),
        # The encoding takes what is no finite number for missing, in training as in serving.
        *((dtype, value) for dtype in ("float32", "float64") for value in (math.nan, math.inf, -math.inf)),
    ],
)
def test_a_value_of_the_dtype_conforms_and_so_does_a_missing_one(dtype: str, value: Value) -> None:
    assert fault(dtype, value) is None
    assert fault(dtype, None) is None


@pytest.mark.parametrize(
    ("dtype", "value", "shown"),
    [
        ("int32", 2**31, "2147483648"),
        ("int32", -(2**31) - 1, "-2147483649"),
        ("int64", 2**63, "9223372036854775808"),
        ("int64", 1.5, "1.5"),
        ("int64", True, "True"),
        ("float32", 3.5e38, "3.5e+38"),
        ("float64", "1", "'1'"),
        ("bool", 1, "1"),
        ("string", 1, "1"),
        ("timestamp", "2026-01-01", "'2026-01-01'"),
    ],
)
def test_a_value_of_another_dtype_or_a_wider_integer_is_named_in_one_line(dtype: str, value: Value, shown: str) -> None:
    assert fault(dtype, value) == f"v.f is {shown}, expected {dtype}"


def test_an_unseen_level_is_missing_or_refused_as_the_contract_says() -> None:
    assert fault("string", "c") is None
    assert fault("string", "c", "refuse") == ("v.f is 'c', expected one of the 2 levels that it had in training")
    assert fault("string", "b", "refuse") is None


def test_a_long_value_is_cut() -> None:
    assert "…" in (fault("float64", "x" * 1000) or "")
    assert len(fault("float64", "x" * 1000) or "") < 100


def test_a_vector_of_another_length_does_not_conform() -> None:
    assert Conformance(CONTRACT).fault([1.0]) == "a vector has 1 values, expected the contract's 2 features"
