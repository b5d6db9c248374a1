"""A request's vectors and a training set's columns become the same numbers."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.contracts import ContractFeature
from models.scoring.encoding import encode, encode_table

if TYPE_CHECKING:
    from core.contracts import Value

_ARROW = {
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "text": pa.string(),
}
FEATURES = tuple(ContractFeature("v", f"a_{dtype}", dtype, ("a", "b") if dtype == "string" else ()) for dtype in _ARROW)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
_VALUES: dict[str, st.SearchStrategy[Value]] = {
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float32": st.floats(width=32),
    "float64": st.floats(),
    "bool": st.booleans(),
    "string": st.sampled_from(["a", "b", "c", ""]),
    "timestamp": st.datetimes(datetime(1700, 1, 1), datetime(2199, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001
    "text": _TEXT,
}
_VECTORS = st.lists(st.tuples(*(st.none() | _VALUES[feature.dtype] for feature in FEATURES)), max_size=8)


def _table(vectors: list[tuple[Value, ...]]) -> pa.Table:
    columns = {
        feature.column: pa.array([vector[place] for vector in vectors], _ARROW[feature.dtype])
        for place, feature in enumerate(FEATURES)
    }
    return pa.table(columns)


@given(_VECTORS)
def test_a_table_and_its_vectors_are_encoded_alike(vectors: list[tuple[Value, ...]]) -> None:
    of_vectors, of_table = encode(vectors, FEATURES), encode_table(_table(vectors), FEATURES)
    np.testing.assert_array_equal(of_vectors.matrix, of_table.matrix)
    assert of_vectors.matrix.shape == (len(vectors), len(FEATURES))
    assert {place: list(texts) for place, texts in of_vectors.texts.items()} == {
        place: list(texts) for place, texts in of_table.texts.items()
    }


def test_every_dtype_has_its_number() -> None:
    noon = datetime(1970, 1, 2, 12, tzinfo=UTC)
    inputs = encode([(1, 2, 0.5, 0.25, True, "b", noon, "so it is")], FEATURES)
    assert inputs.matrix[0, :7].tolist() == [1, 2, 0.5, 0.25, 1, 1, 129_600]
    assert math.isnan(inputs.matrix[0, 7])
    assert inputs.texts[7].tolist() == ["so it is"]


def test_missing_unseen_and_infinite_values_are_missing() -> None:
    inputs = encode([(None, None, -math.inf, math.inf, None, "c", None, None)], FEATURES)
    assert np.isnan(inputs.matrix).all()
    assert inputs.texts[7].tolist() == [""]


def test_columns_of_dictionaries_and_nanoseconds_are_read_as_well() -> None:
    times = pa.array([1_500, None], pa.timestamp("ns", tz="UTC"))
    levels = pa.array(["b", "c"]).dictionary_encode()
    table = pa.table({"v__a_string": levels, "v__a_timestamp": times})
    features = [feature for feature in FEATURES if feature.column in table.column_names]
    np.testing.assert_array_equal(encode_table(table, features).matrix, [[1, 1e-6], [np.nan, np.nan]])


def test_rows_are_taken_with_their_texts() -> None:
    inputs = encode([(n, n, 0.0, 0.0, False, "a", None, f"row {n}") for n in range(4)], FEATURES)
    taken = inputs.take(np.array([3, 1]))
    assert taken.matrix[:, 0].tolist() == [3, 1]
    assert taken.texts[7].tolist() == ["row 3", "row 1"]
    assert len(taken) == 2


def test_a_vector_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="a vector has 1 values, expected the contract's 8 features"):
        encode([(1,)], FEATURES)
