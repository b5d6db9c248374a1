"""Encode a contract's vectors for a model; training and serving both use this module.

Serving encodes vectors of values, training encodes columns of a table. Both return the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from core.contracts import ContractFeature, Value

    Texts = NDArray[np.object_]

_MICROSECONDS = 1_000_000
#: Most trees store float32, whose maximum is 3e38, and scaling may enlarge a number.
_LARGEST = 1e30


@dataclass(frozen=True)
class Inputs:
    """Encoded rows.

    Attributes
    ----------
    matrix : shape (rows, features), in the contract's order. Missing and infinite values are NaN; numbers are clipped to
        +-1e30. A string is the index of its level, or NaN if it is unseen. A time is in seconds since 1970. A column of
        free text is all NaN.
    texts : the column of each free text by the index of its feature, shape (rows,); a missing text is empty.

    """

    matrix: NDArray[np.float64]
    texts: Mapping[int, Texts] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.matrix)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Inputs:
        """Return the rows of an array of indices, a mask or a slice."""
        return Inputs(self.matrix[rows], {index: texts[rows] for index, texts in self.texts.items()})


class Encoder:
    """Encodes vectors in the order of `features`; build it once, because it prepares the codes of levels."""

    def __init__(self, features: Sequence[ContractFeature]) -> None:
        self._width = len(features)
        self._texts = [index for index, feature in enumerate(features) if feature.dtype == "text"]
        numbers = ((index, _number_of(feature)) for index, feature in enumerate(features))
        self._numbers = [(index, number) for index, number in numbers if number]

    def __call__(self, vectors: Sequence[Sequence[Value]]) -> Inputs:
        """Return `vectors` encoded.

        Raises
        ------
        ValueError
            If the length of a vector is not the number of features.

        """
        rows: list[list[Any]] = []
        for vector in vectors:
            if len(vector) != self._width:
                raise ValueError(f"a vector has {len(vector)} values, expected the contract's {self._width} features")
            row = list(vector)
            for index, number in self._numbers:
                row[index] = number(row[index])
            rows.append(row)
        matrix = np.array(rows, dtype=np.float64).reshape(len(rows), self._width)  # None becomes NaN
        texts = {index: np.array([vector[index] or "" for vector in vectors], dtype=object) for index in self._texts}
        return Inputs(_finite(matrix), texts)


def _number_of(feature: ContractFeature) -> Callable[[Any], float] | None:
    """Return the function that encodes a text, level or time as a number; None for numbers."""
    if feature.dtype == "text":
        return lambda _: np.nan
    if feature.dtype == "string":
        codes = {level: float(code) for code, level in enumerate(feature.levels)}
        return lambda value: codes.get(value, np.nan)
    if feature.dtype == "timestamp":
        return lambda value: value.timestamp() if isinstance(value, datetime) else np.nan
    return None


def encode(vectors: Sequence[Sequence[Value]], features: Sequence[ContractFeature]) -> Inputs:
    """Return vectors encoded once; see `Encoder`."""
    return Encoder(features)(vectors)


def encode_table(table: pa.Table, features: Sequence[ContractFeature]) -> Inputs:
    """Return the rows of a table with the contract's columns encoded."""
    matrix = np.full((table.num_rows, len(features)), np.nan)
    texts: dict[int, Texts] = {}
    for index, feature in enumerate(features):
        column = table.column(feature.column)
        if feature.dtype == "text":
            texts[index] = np.asarray(column.fill_null(""), dtype=object)
        else:
            matrix[:, index] = _numbers(column, feature)
    return Inputs(_finite(matrix), texts)


def _numbers(column: pa.ChunkedArray, feature: ContractFeature) -> NDArray[np.float64]:
    import pyarrow as pa
    import pyarrow.compute as pc

    scale = 1
    if feature.dtype == "string":
        column = pc.index_in(column.cast(pa.string()), value_set=pa.array(feature.levels, pa.string()), skip_nulls=True)
    elif feature.dtype == "timestamp":
        column = column.cast(pa.timestamp("us", tz="UTC"), safe=False).cast(pa.int64())
        scale = _MICROSECONDS
    numbers: NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy()
    return numbers / scale


def _finite(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    too_large = np.abs(matrix) > _LARGEST
    if too_large.any():
        matrix[np.isinf(matrix)] = np.nan
        np.clip(matrix, -_LARGEST, _LARGEST, out=matrix)
    return matrix


def vectors_of(table: pa.Table, features: Sequence[ContractFeature]) -> list[tuple[Value, ...]]:
    """Return the rows of a table with the contract's columns as vectors of Python values; slow for many rows."""
    return list(zip(*(table.column(feature.column).to_pylist() for feature in features), strict=True))
