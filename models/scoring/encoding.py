"""The one way from a contract's vector to what a model takes; training and serving both come through it.

A request comes as vectors of values, a training set as columns of a table; both give the same numbers.
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
#: Most trees hold float32, which ends at 3e38, and scaling may make a number larger still.
_LARGEST = 1e30


@dataclass(frozen=True)
class Inputs:
    """Encoded rows.

    Attributes
    ----------
    matrix : shape (rows, features), in the contract's order. Missing is NaN, and so is an infinite value; a number
        beyond 1e30, in size, is drawn in to it. A string is the place of its level, an unseen one is NaN; a time is
        seconds since 1970; a column of free text is NaN throughout.
    texts : by the place of its feature, the column of each free text, shape (rows,); a missing one is empty.

    """

    matrix: NDArray[np.float64]
    texts: Mapping[int, Texts] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.matrix)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Inputs:
        """Choose rows by their places or by a mask."""
        return Inputs(self.matrix[rows], {place: texts[rows] for place, texts in self.texts.items()})


class Encoder:
    """Encodes vectors in the order of `features`; made once for many calls, for it has the levels' codes at hand."""

    def __init__(self, features: Sequence[ContractFeature]) -> None:
        self._width = len(features)
        self._texts = [place for place, feature in enumerate(features) if feature.dtype == "text"]
        numbers = ((place, _number_of(feature)) for place, feature in enumerate(features))
        self._numbers = [(place, number) for place, number in numbers if number]

    def __call__(self, vectors: Sequence[Sequence[Value]]) -> Inputs:
        """Encode `vectors`.

        Raises
        ------
        ValueError
            If a vector has another length than there are features.

        """
        rows: list[list[Any]] = []
        for vector in vectors:
            if len(vector) != self._width:
                raise ValueError(f"a vector has {len(vector)} values, the contract {self._width}")
            row = list(vector)
            for place, number in self._numbers:
                row[place] = number(row[place])
            rows.append(row)
        matrix = np.array(rows, dtype=np.float64).reshape(len(rows), self._width)  # None becomes NaN
        texts = {place: np.array([vector[place] or "" for vector in vectors], dtype=object) for place in self._texts}
        return Inputs(_finite(matrix), texts)


def _number_of(feature: ContractFeature) -> Callable[[Any], float] | None:
    """Say how a value that is no number becomes one; None for values that are numbers."""
    if feature.dtype == "text":
        return lambda _: np.nan
    if feature.dtype == "string":
        codes = {level: float(code) for code, level in enumerate(feature.levels)}
        return lambda value: codes.get(value, np.nan)
    if feature.dtype == "timestamp":
        return lambda value: value.timestamp() if isinstance(value, datetime) else np.nan
    return None


def encode(vectors: Sequence[Sequence[Value]], features: Sequence[ContractFeature]) -> Inputs:
    """Encode vectors once; see `Encoder`."""
    return Encoder(features)(vectors)


def encode_table(table: pa.Table, features: Sequence[ContractFeature]) -> Inputs:
    """Encode the rows of a table that has the contract's columns, column by column."""
    matrix = np.full((table.num_rows, len(features)), np.nan)
    texts: dict[int, Texts] = {}
    for place, feature in enumerate(features):
        column = table.column(feature.column)
        if feature.dtype == "text":
            texts[place] = np.asarray(column.fill_null(""), dtype=object)
        else:
            matrix[:, place] = _numbers(column, feature)
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
    beyond = np.abs(matrix) > _LARGEST
    if beyond.any():
        matrix[np.isinf(matrix)] = np.nan
        np.clip(matrix, -_LARGEST, _LARGEST, out=matrix)
    return matrix


def vectors_of(table: pa.Table, features: Sequence[ContractFeature]) -> list[tuple[Value, ...]]:
    """Read the contract's vectors from a table that has its columns, one Python object a value: for few rows."""
    return list(zip(*(table.column(feature.column).to_pylist() for feature in features), strict=True))
