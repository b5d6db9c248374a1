"""The one way from a contract's vector to the numbers that a model takes; training and serving both come through it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from core.contracts import ContractFeature, Value


def encode(vectors: Sequence[Sequence[Value]], features: Sequence[ContractFeature]) -> NDArray[np.float64]:
    """Turn vectors in the contract's order into a float64 matrix of shape (vectors, features).

    Missing is NaN. A string is the place of its level, an unseen one is NaN; a time is seconds since 1970.

    Raises
    ------
    ValueError
        If a vector has another length than the contract.

    """
    matrix = np.full((len(vectors), len(features)), np.nan)
    for column, feature in enumerate(features):
        codes = {level: float(place) for place, level in enumerate(feature.levels)}
        for row, vector in enumerate(vectors):
            if len(vector) != len(features):
                raise ValueError(f"a vector has {len(vector)} values, the contract {len(features)}")
            value = vector[column]
            if isinstance(value, str):
                matrix[row, column] = codes.get(value, np.nan)
            elif isinstance(value, datetime):
                matrix[row, column] = value.timestamp()
            elif value is not None:
                matrix[row, column] = value
    return matrix


def vectors_of(table: pa.Table, features: Sequence[ContractFeature]) -> list[tuple[Value, ...]]:
    """Read the contract's vectors from a table that has its columns."""
    return list(zip(*(table.column(feature.column).to_pylist() for feature in features), strict=True))
