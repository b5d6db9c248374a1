"""Reference bins, on columns small enough to bin by hand."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import BundleError, PantheraError
from core.reference import MAX_LEVELS, BinCounts, ColumnReference, Reference, build_reference


def only_column(values: pa.Array) -> ColumnReference:
    return build_reference(pa.table({"view__feature": values})).columns[0]


def test_the_deciles_of_one_to_a_hundred_are_the_tens() -> None:
    column = only_column(pa.array(range(1, 101)))
    assert column.edges == (10, 20, 30, 40, 50, 60, 70, 80, 90)
    assert column.counts == BinCounts((9, 10, 10, 10, 10, 10, 10, 10, 10, 11), other=0, missing=0)


def test_null_and_nan_are_missing_and_move_no_edge() -> None:
    column = only_column(pa.array([1.0, None, 2.0, math.nan, 3.0]))
    # Of three values the first three deciles are the first, the next three the second, the last three the third.
    above = [math.nextafter(value, math.inf) for value in (1.0, 2.0, 3.0)]
    assert column.edges == (1.0, above[0], 2.0, above[1], 3.0, above[2])
    assert column.counts == BinCounts((0, 1, 0, 1, 0, 1, 0), other=0, missing=2)


def test_a_value_that_holds_nine_tenths_of_the_rows_has_a_bin_of_its_own() -> None:
    column = only_column(pa.array([0] * 95 + [7] * 5))
    assert column.edges == (0.0, math.nextafter(0.0, math.inf))
    assert column.counts.regular == (0, 95, 5)


def test_the_largest_float_has_no_edge_above_it() -> None:
    assert only_column(pa.array([1.7976931348623157e308] * 3)).edges == (1.7976931348623157e308,)


def test_a_column_without_any_value_has_one_empty_bin() -> None:
    column = only_column(pa.array([None, None], type=pa.float64()))
    assert column.edges == ()
    assert column.counts == BinCounts((0,), other=0, missing=2)


def test_strings_are_counted_by_level_the_most_frequent_first() -> None:
    column = only_column(pa.array(["b", "a", None, "c", "b", "a", "b"]))
    assert column.levels == ("b", "a", "c")
    assert column.counts == BinCounts((3, 2, 1), other=0, missing=1)


def test_levels_beyond_the_most_frequent_are_other() -> None:
    column = only_column(pa.array([f"id-{number:03d}" for number in range(MAX_LEVELS + 20)]))
    assert len(column.levels) == MAX_LEVELS
    assert column.counts.other == 20


def test_bools_have_the_levels_that_json_writes() -> None:
    column = only_column(pa.array([True, False, True, None]))
    assert column.levels == ("true", "false")
    assert column.counts == BinCounts((2, 1), other=0, missing=1)


def test_timestamps_are_binned_as_seconds_in_utc() -> None:
    instants = [datetime(1970, 1, 1, 0, 0, second, tzinfo=UTC) for second in range(1, 11)]
    column = only_column(pa.array([*instants, None], type=pa.timestamp("us", tz="UTC")))
    assert column.kind == "timestamp"
    assert column.edges == (1, 2, 3, 4, 5, 6, 7, 8, 9)
    assert column.counts == BinCounts((0, 1, 1, 1, 1, 1, 1, 1, 1, 2), other=0, missing=1)


def test_an_infinite_value_is_refused_by_name() -> None:
    with pytest.raises(PantheraError, match="'view__feature' has an infinite value"):
        only_column(pa.array([1.0, math.inf]))


def test_a_type_without_bins_is_refused() -> None:
    with pytest.raises(PantheraError, match="has no reference bins"):
        only_column(pa.array([[1], [2]]))


def test_no_rows_are_refused() -> None:
    with pytest.raises(PantheraError, match="at least one training row"):
        build_reference(pa.table({"view__feature": pa.array([], type=pa.int64())}))


@given(
    numbers=st.lists(st.none() | st.floats(allow_infinity=False), min_size=1, max_size=30),
    words=st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=30),
)
def test_json_gives_back_exactly_what_was_written(numbers: list[float | None], words: list[str | None]) -> None:
    for values in (pa.array(numbers, type=pa.float64()), pa.array(words, type=pa.string())):
        reference = build_reference(pa.table({"view__feature": values}))
        assert Reference.from_json(reference.to_json()) == reference
        assert Reference.from_json(reference.to_json()).to_json() == reference.to_json()


@given(st.lists(st.none() | st.floats(allow_infinity=False), min_size=1, max_size=50))
def test_every_row_is_in_one_bin_and_edges_increase(numbers: list[float | None]) -> None:
    column = only_column(pa.array(numbers, type=pa.float64()))
    assert column.counts.rows == len(numbers)
    assert len(column.edges) <= 9
    assert all(low < high for low, high in zip(column.edges, column.edges[1:], strict=False))


def test_another_format_is_refused_with_its_number() -> None:
    text = build_reference(pa.table({"score": [0.5]})).to_json().replace('"format_version": 1', '"format_version": 9')
    with pytest.raises(BundleError, match="format 9, this version reads 1"):
        Reference.from_json(text)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format_version": 1, "columns": [{"kind": "pie"}]}'])
def test_what_is_not_a_reference_is_refused(text: str) -> None:
    with pytest.raises(BundleError, match="cannot be read"):
        Reference.from_json(text)
