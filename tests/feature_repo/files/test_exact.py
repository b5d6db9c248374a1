"""A value becomes what its dtype says exactly, or nothing: no fraction is rounded, by no door."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import PlanError
from core.plan.plan import View
from feature_repo.files.duck import fetch, literal, open_duckdb
from feature_repo.files.exact import exact_or_error, exact_or_null
from feature_repo.views.existence import asked_in
from feature_repo.views.rows import compute_snapshots, compute_view

if TYPE_CHECKING:
    from collections.abc import Iterator

_WIDTH = {"int32": 32, "int64": 64}


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with open_duckdb() as opened:
        yield opened


def typed(connection: duckdb.DuckDBPyConnection, value: str, dtype: str) -> object:
    """Type the value of an SQL expression as validation types a source's."""
    (found,) = connection.execute(f"SELECT typeof({value})").fetchall()[0]
    sql = exact_or_null("value", found, dtype)
    return connection.execute(f"SELECT {sql} FROM (SELECT {value} AS value)").fetchall()[0][0]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("'7'", 7),
        ("' 7 '", 7),
        ("'007'", 7),
        ("'+7'", 7),
        ("'3.0'", 3),
        ("'1e3'", 1000),
        ("'1.5e1'", 15),
        ("'9007199254740993'", 2**53 + 1),
        ("'9007199254740993.0'", 2**53 + 1),
        ("'9223372036854775807'", 2**63 - 1),
        ("3.0::DOUBLE", 3),
        ("3.00::DECIMAL(9, 2)", 3),
        ("9007199254740991::DOUBLE", 2**53 - 1),
        ("'1.6'", None),
        ("'1e-1'", None),
        ("'1.55e1'", None),
        ("'1.00000000000000000001'", None),
        ("'1,000'", None),
        ("'1_000'", None),
        ("'0x10'", None),
        ("'true'", None),
        ("'nan'", None),
        ("'9223372036854775808'", None),
        ("true", None),
        ("3.5::DOUBLE", None),
        ("'nan'::DOUBLE", None),
        ("'inf'::DOUBLE", None),
        ("9007199254740992::DOUBLE", None),  # it may have been 2**53 + 1
        ("16777216::FLOAT", None),
        ("2.5::DECIMAL(9, 1)", None),
        ("18446744073709551615::UBIGINT", None),
        ("DATE '2020-01-01'", None),
    ],
)
def test_an_int64_is_what_is_exactly_an_integer(
    connection: duckdb.DuckDBPyConnection, value: str, expected: int | None
) -> None:
    assert typed(connection, value, "int64") == expected


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        ("int32", "'2147483647'", 2**31 - 1),
        ("int32", "'2147483648'", None),
        ("int32", "2147483648::BIGINT", None),
        ("float64", "'0.1'", 0.1),
        ("float64", "'-inf'", float("-inf")),
        ("float64", "'1e400'", None),
        ("float64", "9007199254740993::BIGINT", None),
        ("float64", "'9007199254740993'", None),
        ("float64", "'1_000'", None),
        ("float64", "true", None),
        ("float32", "'16777217'", None),
        ("float32", "'16777216'", 2.0**24),
        ("float32", "'1e39'", None),
        ("float32", "1e39::DOUBLE", None),
        ("bool", "1", True),
        ("bool", "0::DOUBLE", False),
        ("bool", "2", None),
        ("bool", "0.5::DOUBLE", None),
        ("bool", "'2'", None),
        ("string", "'007'", "007"),
        ("string", "7", "7"),
        ("string", "encode('é')", "é"),
        ("string", "'\\xff'::BLOB", None),
    ],
)
def test_each_dtype_keeps_a_value_or_refuses_it(
    connection: duckdb.DuckDBPyConnection, dtype: str, value: str, expected: object
) -> None:
    assert typed(connection, value, dtype) == expected


_NUMBERS = st.one_of(
    st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**20), max_value=10**20),
    st.integers(-(2**66), 2**66).map(Decimal),
    st.builds(lambda digits, exponent: Decimal(f"{digits}e{exponent}"), st.integers(-9999, 9999), st.integers(-3, 20)),
)


@given(number=_NUMBERS, dtype=st.sampled_from(sorted(_WIDTH)))
@settings(max_examples=150, deadline=None)
def test_the_text_of_a_number_is_that_very_integer_or_none(
    connection: duckdb.DuckDBPyConnection, number: Decimal, dtype: str
) -> None:
    found = typed(connection, literal(str(number)), dtype)
    assert found is None or found == number
    plain = "e" not in str(number).lower()
    if plain and number == number.to_integral_value() and abs(number) < 2 ** (_WIDTH[dtype] - 1):
        assert found == number


@given(number=st.floats(), dtype=st.sampled_from(sorted(_WIDTH)))
@settings(max_examples=100, deadline=None)
def test_a_float_is_that_very_integer_or_none(connection: duckdb.DuckDBPyConnection, number: float, dtype: str) -> None:
    found = typed(connection, f"{literal(repr(number))}::DOUBLE", dtype)
    assert found is None or found == number
    if number.is_integer() and abs(number) < min(2**53, 2 ** (_WIDTH[dtype] - 1)):
        assert found == number


def view(sql: str, dtype: str, over: str = "rows") -> View:
    features = {"n": {"sql": "count(*)", "dtype": "int64", "meaning": "rows"}}
    features["asked"] = {"sql": sql, "dtype": dtype, "meaning": "what is asked", "over": over}
    return View.model_validate({"source": "s", "ttl": "9d", "every": "1 day", "features": features})


def computed(asked: View) -> list[tuple[object, object]]:
    """Compute the feature of an entity with the amounts 1 and 2, by both ways."""
    day = datetime(2024, 1, 1, tzinfo=UTC)
    with open_duckdb() as opened:
        rows = {
            "who": [1, 1],
            "x": [1.0, 2.0],
            "word": ["1", "1.6"],
            "event_time": [day] * 2,
            "created_time": [day] * 2,
        }
        opened.register("rows", pa.table(rows))
        opened.register("grid", pa.table({"who": [1, 2], "as_of": [day] * 2}))
        one = compute_view(opened, asked, "who", {"s": "rows"}, "grid")
        (other,) = compute_snapshots(opened, asked, {"s": "rows"}, asked_in(opened, "who", "grid"))
        pairs = zip(one.column("asked").to_pylist(), other.column("asked").to_pylist(), strict=True)
        return list(pairs)


@pytest.mark.parametrize(
    ("sql", "dtype", "over"),
    [
        ("avg(x)", "int64", "rows"),
        ("avg(x)", "int32", "rows"),
        ("max(word)", "int64", "rows"),
        ("sum(x)", "bool", "rows"),
        ("n / 4", "int64", "features"),
        ("n", "bool", "features"),
    ],
)
def test_feature_sql_that_gives_no_value_of_its_dtype_is_refused_by_its_name(sql: str, dtype: str, over: str) -> None:
    with pytest.raises(PlanError, match=r"'asked' over 's' has an SQL that fails: .* the value .* is n"):
        computed(view(sql, dtype, over))


@pytest.mark.parametrize(
    ("sql", "dtype", "over", "expected"),
    [
        ("sum(x)", "int64", "rows", [3, None]),
        ("count(*) -- all of them", "int32", "rows", [2, 0]),
        ("max(x > 1)", "int64", "rows", [1, None]),
        ("count(*) / 2", "bool", "rows", [True, False]),
        ("n * 2.0 -- twice", "int64", "features", [4, 0]),
        ("avg(x)", "float64", "rows", [1.5, None]),
    ],
)
def test_feature_sql_that_gives_it_exactly_is_taken(sql: str, dtype: str, over: str, expected: list[object]) -> None:
    assert computed(view(sql, dtype, over)) == [(value, value) for value in expected]


def test_what_is_beyond_64_bits_is_refused(connection: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(duckdb.Error, match="out of range"):
        fetch(connection, f"SELECT {exact_or_error('9223372036854775808', 'int64')}")
