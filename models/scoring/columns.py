"""Operations on column matrices, dense or sparse; text features become many sparse columns."""

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


def stack_columns(blocks: Sequence[Columns]) -> Columns:
    """Return blocks of columns joined side by side; sparse if one of them is."""
    if len(blocks) == 1:
        return blocks[0]
    if all(isinstance(block, np.ndarray) for block in blocks):
        return np.hstack(blocks)
    from scipy import sparse

    return sparse.hstack(blocks, format="csr")


def dense(columns: Columns) -> NDArray[np.float64]:
    """Return columns as a dense matrix."""
    return columns if isinstance(columns, np.ndarray) else np.asarray(columns.toarray())


def evenly_spaced(rows: int, wanted: int) -> NDArray[np.int64]:
    """Return `wanted` row indices at equal steps over `rows`; all indices if there are no more."""
    return np.unique(np.linspace(0, rows - 1, min(rows, wanted)).astype(np.int64))
