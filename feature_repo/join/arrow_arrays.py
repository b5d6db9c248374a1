"""NumPy arrays in Arrow's memory pool, which reuses the memory of freed arrays.

NumPy returns the memory of a long array to the system, which clears the pages of the next one. Clearing takes longer than
most computations of the join.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    import numpy.typing as npt

    Integers = npt.NDArray[np.int64]


def empty(length: int) -> Integers:
    """Return an uninitialized array of `length` integers."""
    return np.frombuffer(pa.allocate_buffer(length * np.dtype(np.int64).itemsize), np.int64)


def gather(values: Integers, index: Integers) -> Integers:
    """Return `values[index]` without bounds checks: out-of-range indices are clipped."""
    # With bounds checks, NumPy would first write into a copy of `out`.
    return np.take(values, index, mode="clip", out=empty(len(index)))
