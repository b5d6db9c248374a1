"""Columns as an estimator takes them: dense, or sparse where text has become many of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Labels = NDArray[Any]
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: A float64 matrix, or scipy's CSR.
Columns: TypeAlias = Any


def beside(blocks: Sequence[Columns]) -> Columns:
    """Put blocks of columns beside one another; sparse if one of them is."""
    if len(blocks) == 1:
        return blocks[0]
    if all(isinstance(block, np.ndarray) for block in blocks):
        return np.hstack(blocks)
    from scipy import sparse

    return sparse.hstack(blocks, format="csr")


def dense(columns: Columns) -> NDArray[np.float64]:
    """Write sparse columns out."""
    return columns if isinstance(columns, np.ndarray) else np.asarray(columns.toarray())


def spread(rows: int, wanted: int) -> NDArray[np.int64]:
    """Choose `wanted` places, spread evenly over `rows`; all of them if there are no more."""
    return np.unique(np.linspace(0, rows - 1, min(rows, wanted)).astype(np.int64))
