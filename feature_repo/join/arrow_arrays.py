"""Arrays in Arrow's memory pool, which keeps the memory of one for the next.

What numpy allocates for a long array goes back to the system when the array ends. The next one is of pages that the system
first clears, which takes longer than most of what is computed here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    import numpy.typing as npt

    Integers = npt.NDArray[np.int64]


def blank(length: int) -> Integers:
    """Make an array of `length` integers, of which each is to be set yet."""
    return np.frombuffer(pa.allocate_buffer(length * np.dtype(np.int64).itemsize), np.int64)


def gather(values: Integers, places: Integers) -> Integers:
    """Give `values[places]` for places that are all in the array: one before it gives the first, one beyond it the last."""
    # numpy would first write into a copy of `out` if it checked the places.
    return np.take(values, places, mode="clip", out=blank(len(places)))
